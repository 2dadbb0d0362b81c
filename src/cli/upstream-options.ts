/** The options that describe an upstream, shared by the commands that set one and that test one. */
import type { Command } from 'commander'
import { isOrganizationName } from '../oci/repository-name.ts'
import { type ApiClient, refusal } from './api-client.ts'
import { CommandFailure } from './failure.ts'
import { printable, type Terminal } from './terminal.ts'

export type UpstreamOptions = { upstreamUser?: string; insecure?: boolean }

/** What Quay's GET says: empty text where there is no upstream. */
export type CurrentUpstream = { upstream: string; insecure: boolean }

/** `accepted`: with the credentials that the organization has, or without any. */
export type TestResult = 'signed in' | 'accepted' | 'anonymous'

/** Quay's fields of a proxy configuration; a field that is left out stays as it is. */
export type UpstreamFields = {
  upstream_registry: string
  upstream_registry_username?: string | null
  upstream_registry_password?: string | null
  expiration_s?: number
  insecure?: boolean
}

export function addUpstreamOptions(command: Command): Command {
  return command
    .option('--upstream-user <name>', 'sign in to the upstream as this user')
    .option('--insecure', 'speak plain HTTP to the upstream (never: TLS that is not verified)')
    .option('--no-insecure', 'speak HTTPS to the upstream (so it is unless --insecure was said)')
}

/**
 * The fields as the options give them; asks for the upstream's password where there is a user. What is not said stays
 * as it is in `current`, unless the host changes: a password never goes to another host than it was given for.
 */
export async function readUpstream(
  upstream: string,
  current: CurrentUpstream,
  options: UpstreamOptions,
  terminal: Terminal,
): Promise<UpstreamFields> {
  const isSame = upstream === current.upstream
  const fields = { upstream_registry: upstream, insecure: options.insecure ?? (isSame && current.insecure) }
  const user = options.upstreamUser
  if (user === undefined && isSame) return fields
  if (user === undefined) return { ...fields, upstream_registry_username: null, upstream_registry_password: null }
  const question = `Password of ${printable(user)} at ${printable(upstream)}`
  const password = terminal.env['ENTREPOT_UPSTREAM_PASSWORD'] || (await terminal.readSecret(question))
  if (!password) {
    const hint = 'type it at the terminal, set ENTREPOT_UPSTREAM_PASSWORD, or write it to standard input'
    throw new CommandFailure('usage', `there is no password for ${printable(user)} at ${printable(upstream)}`, { hint })
  }
  return { ...fields, upstream_registry_username: user, upstream_registry_password: password }
}

/** The upstream that an organization has; `upstream` is empty where it has none. Errors: CommandFailure. */
export async function findCurrentUpstream(client: ApiClient, organization: string): Promise<CurrentUpstream> {
  const answer = await client.send('GET', organizationPath(organization, 'proxycache'))
  if (answer.status !== 200) throw refusal(`read the upstream of ${organization}`, answer)
  const body = typeof answer.body === 'object' && answer.body !== null ? answer.body : {}
  const upstream: unknown = Reflect.get(body, 'upstream_registry')
  return { upstream: typeof upstream === 'string' ? upstream : '', insecure: Reflect.get(body, 'insecure') === true }
}

/** The path of an organization's API. Errors: CommandFailure for a name that would lead elsewhere. */
export function organizationPath(
  organization: string,
  rest?: 'proxycache' | 'validateproxycache' | 'purge' | 'quota/preview',
): string {
  if (isOrganizationName(organization))
    return ['', 'organization', organization, ...(rest === undefined ? [] : [rest])].join('/')
  const hint = 'a name has 2 to 255 lower-case letters and digits, with single . _ or - inside'
  throw new CommandFailure('usage', `cannot use ${organization} as the name of an organization`, { hint })
}

/**
 * Has the server ask the upstream, with the organization's own credentials where the fields name none. Resolves to how
 * it answered. Errors: CommandFailure when it is no registry, or does not take the credentials.
 */
export async function testUpstream(
  client: ApiClient,
  organization: string,
  fields: UpstreamFields,
): Promise<TestResult> {
  const answer = await client.send('POST', organizationPath(organization, 'validateproxycache'), fields)
  if (answer.status !== 202) throw refusal(`use ${fields.upstream_registry}`, answer)
  if (answer.body !== 'Valid' || fields.upstream_registry_username === null) return 'anonymous'
  return fields.upstream_registry_username === undefined ? 'accepted' : 'signed in'
}
