/** The options that describe an upstream, shared by the commands that set one and that test one. */
import type { Command } from 'commander'
import type { ApiClient } from './api-client.ts'
import { refusal } from './api-client.ts'
import { CommandFailure } from './failure.ts'
import { printable, type Terminal } from './terminal.ts'

export type UpstreamOptions = { upstreamUser?: string; insecure?: true }

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
}

/** The fields as the options give them; asks for the upstream's password where there is a user. */
export async function readUpstream(
  upstream: string,
  options: UpstreamOptions,
  terminal: Terminal,
): Promise<UpstreamFields> {
  const fields: UpstreamFields = { upstream_registry: upstream, insecure: options.insecure ?? false }
  const user = options.upstreamUser
  if (user === undefined) return fields
  const question = `Password of ${printable(user)} at ${printable(upstream)}`
  const password = terminal.env['ENTREPOT_UPSTREAM_PASSWORD'] || (await terminal.readSecret(question))
  if (!password) {
    const hint = 'type it at the terminal, set ENTREPOT_UPSTREAM_PASSWORD, or write it to standard input'
    throw new CommandFailure('usage', `there is no password for ${printable(user)} at ${printable(upstream)}`, { hint })
  }
  return { ...fields, upstream_registry_username: user, upstream_registry_password: password }
}

/** Has the server ask the upstream. Resolves to how it answered. Errors: CommandFailure when it does not take us. */
export async function testUpstream(
  client: ApiClient,
  organization: string,
  fields: UpstreamFields,
): Promise<'signed in' | 'anonymous'> {
  const path = `/organization/${encodeURIComponent(organization)}/validateproxycache`
  const answer = await client.send('POST', path, fields)
  if (answer.status !== 202) throw refusal(`use ${printable(fields.upstream_registry)}`, answer)
  return answer.body === 'Valid' && fields.upstream_registry_username ? 'signed in' : 'anonymous'
}
