/** Which repositories of its upstream an organization lets through. */
import { posix } from 'node:path'
import { RegistryError } from '../errors.ts'

export type RepositoryRules = { allowed: readonly string[]; denied: readonly string[] }

/**
 * The refusal for a repository, or undefined when it may be pulled. `name` is without the organization.
 * Globs: `*` stands for one component or a part of it, `**` for any number of components. A denial wins.
 */
export function findRefusal(rules: RepositoryRules, name: string): RegistryError | undefined {
  const denied = rules.denied.find((glob) => posix.matchesGlob(name, glob))
  if (denied !== undefined) {
    return new RegistryError('DENIED', {
      message: `the organization's denied_repositories has the rule "${denied}", which matches ${name}`,
      detail: { rule: denied },
    })
  }
  if (rules.allowed.length === 0 || rules.allowed.some((glob) => posix.matchesGlob(name, glob))) return undefined
  return new RegistryError('DENIED', {
    message: `no rule of the organization's allowed_repositories (${rules.allowed.join(', ')}) matches ${name}`,
    detail: { allowed: rules.allowed },
  })
}
