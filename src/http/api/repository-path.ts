/**
 * Paths below `/repository/`, where names contain slashes: read from the right-hand end, as the last components say
 * what is meant. `org/a/tag/v1/restore` is to restore the tag `v1` of `a`; a name keeps at least two components.
 */
import { isOrganizationName, parseRepositoryName, type RepositoryName } from '../../oci/repository-name.ts'

export type RepositoryPath = {
  organization: string
  /** Without the organization. */
  repository: RepositoryName
  /** What the pattern's `:name` components stand for, decoded; they hold no slash and no control character. */
  params: Readonly<Record<string, string>>
}

/** Organization and repository, of 255 characters each, some of which may be written in three. */
const pathCharactersMax = 2048

/**
 * What `path` (below `/repository/`, as it was sent, without a query) says when its end is `pattern`: components
 * separated by slashes, `:name` for any one; empty for the repository itself. Undefined when it is something else: each
 * component is decoded once and by itself, so that an encoded slash separates nothing.
 */
export function matchRepositoryPath(path: string, pattern: string): RepositoryPath | undefined {
  const components = decodeComponents(path)
  if (components === undefined) return undefined
  const expected = partsOf(pattern)
  const nameLength = components.length - expected.length
  if (nameLength < 2) return undefined
  const params: Record<string, string> = {}
  for (const [index, part] of expected.entries()) {
    const component = components[nameLength + index] ?? ''
    if (part.startsWith(':')) params[part.slice(1)] = component
    else if (part !== component) return undefined
  }
  const [organization = '', ...rest] = components.slice(0, nameLength)
  const repository = parseRepositoryName(rest.join('/'))
  if (repository === undefined || !isOrganizationName(organization)) return undefined
  return { organization, repository, params }
}

/** The longest that fits comes first: `tag/:tag/restore` before `tag/:tag` of a repository that ends in `tag`. */
export function byLength(left: string, right: string): number {
  return partsOf(right).length - partsOf(left).length || (left < right ? -1 : 1)
}

function partsOf(pattern: string): string[] {
  return pattern === '' ? [] : pattern.split('/')
}

function decodeComponents(path: string): string[] | undefined {
  if (path.length > pathCharactersMax) return undefined
  const components = path.replace(/\/$/, '').split('/').map(decodeComponent)
  return components.every((component) => component !== undefined) ? components : undefined
}

function decodeComponent(text: string): string | undefined {
  try {
    const decoded = decodeURIComponent(text)
    return /^[^/\\\0-\x1f\x7f]+$/.test(decoded) ? decoded : undefined
  } catch {
    return undefined // Not UTF-8, or a stray percent sign.
  }
}
