/** Which server a command talks to, and as whom. */
import type { Command } from 'commander'
import { ApiClient } from './api-client.ts'
import { CommandFailure } from './failure.ts'
import { printable, type Terminal } from './terminal.ts'

export type ConnectionOptions = { server?: string; token?: string; user?: string; json?: true }

const serverDefault = 'http://localhost:8080'

const usualExitCodes = 'Exit codes: 0 done, 1 refused, 2 wrong usage, 3 the server cannot be reached.'

/** The options that every command has that talks to a server. */
export function addConnectionOptions(command: Command, exitCodes = usualExitCodes): Command {
  return command
    .option('--server <url>', `the server (or ENTREPOT_SERVER; default ${serverDefault})`)
    .option('--token <token>', 'an API token; better in ENTREPOT_TOKEN, where the process list does not show it')
    .option('--user <name>', 'sign in as this user (or ENTREPOT_USER)')
    .option('--json', 'print the result, or the error, as JSON')
    .addHelpText(
      'after',
      '\nPasswords are asked for at a terminal. Elsewhere they come from ENTREPOT_PASSWORD (of --user),\n' +
        `or from standard input, one a line.\n${exitCodes}`,
    )
}

/** Whether the caller has said who they are. */
export function hasCredentials(options: ConnectionOptions, terminal: Terminal): boolean {
  return Boolean(options.token ?? options.user ?? (terminal.env['ENTREPOT_TOKEN'] || terminal.env['ENTREPOT_USER']))
}

/** A client without credentials. `headers` are sent with each request. */
export function connectAnonymously(
  options: ConnectionOptions,
  terminal: Terminal,
  headers: Readonly<Record<string, string>> = {},
): ApiClient {
  return new ApiClient(serverOf(options, terminal), undefined, headers)
}

/** A client that signs in as the options and the environment say, asking for a password where need be. */
export async function connect(options: ConnectionOptions, terminal: Terminal): Promise<ApiClient> {
  return new ApiClient(serverOf(options, terminal), await authorizationOf(options, terminal))
}

function serverOf(options: ConnectionOptions, terminal: Terminal): string {
  return options.server ?? (terminal.env['ENTREPOT_SERVER'] || serverDefault)
}

/** What is said on the command line comes before what the environment says; a token comes before a user. */
async function authorizationOf(options: ConnectionOptions, terminal: Terminal): Promise<string | undefined> {
  const { env } = terminal
  const token = options.token ?? (options.user === undefined ? env['ENTREPOT_TOKEN'] : undefined)
  if (token) {
    if (!/^[\x21-\x7e]+$/.test(token)) throw new CommandFailure('usage', 'the token holds characters that no token has')
    return `Bearer ${token}`
  }
  const user = options.user ?? env['ENTREPOT_USER']
  if (!user) return undefined
  const password = env['ENTREPOT_PASSWORD'] || (await terminal.readSecret(`Password of ${printable(user)}`))
  if (!password)
    throw new CommandFailure('usage', `there is no password for ${printable(user)}`, { hint: passwordHint })
  return `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`
}

const passwordHint = 'type it at the terminal, set ENTREPOT_PASSWORD, or write it to standard input'
