/** `entrepot user`: the people who may use the server. */
import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { type ApiAnswer, messageOf, refusal } from './api-client.ts'
import {
  addConnectionOptions,
  type ConnectionOptions,
  connect,
  connectAnonymously,
  hasCredentials,
} from './connection.ts'
import { CommandFailure } from './failure.ts'
import { printable, report, type Terminal } from './terminal.ts'

type CreateOptions = ConnectionOptions & { email?: string; setupToken?: string; saveToken?: string }

/** Where the server looks for the one-time token that it printed at its start (DESIGN part 6). */
export const setupTokenHeader = 'x-entrepot-setup-token'

export function addUserCommand(program: Command, terminal: Terminal): void {
  const user = program.command('user').description('create the users of the server')
  addConnectionOptions(user.command('create').argument('<name>', 'the name to sign in with'))
    .description('create a user: the first one, who is a superuser, or (as a superuser) another')
    .option('--email <address>', 'where the user can be written to')
    .option(
      '--setup-token <token>',
      'for the first user from another machine: the token the server printed (or ENTREPOT_SETUP_TOKEN)',
    )
    .option('--save-token <file>', 'write the first user’s API token to this file (mode 0600) instead of the terminal')
    .addHelpText('after', createExamples)
    .action((name: string, options: CreateOptions) => createUser(name, options, terminal))
}

const createExamples = `
The new user's password is asked for first, or is ENTREPOT_NEW_PASSWORD or the first line of standard input.

Examples:
  entrepot user create admin                          the first user, on the server's machine
  entrepot user create alice --user admin             another user, made by admin
  pwgen 20 1 | entrepot user create ci --token "$T"   without a terminal`

async function createUser(name: string, options: CreateOptions, terminal: Terminal): Promise<void> {
  const password =
    terminal.env['ENTREPOT_NEW_PASSWORD'] || (await terminal.readSecret(`New password for ${printable(name)}`))
  const details = { username: name, ...(options.email === undefined ? {} : { email: options.email }) }
  if (!password && !hasCredentials(options, terminal)) {
    const hint = 'type it, set ENTREPOT_NEW_PASSWORD, or write it to standard input'
    throw new CommandFailure('usage', `there is no password for ${printable(name)}`, { hint })
  }
  if (password) {
    const first = await createFirst({ ...details, password }, options, terminal)
    if (first.status === 200) return await reportFirst(name, first, options, terminal)
    if (!hasCredentials(options, terminal)) throw notFirst(name, first)
  }
  const client = await connect(options, terminal)
  const answer = await client.send('POST', '/superuser/users/', { ...details, ...(password ? { password } : {}) })
  if (answer.status !== 200 && answer.status !== 201) throw refusal(`create user ${name}`, answer)
  reportOther(
    name,
    password === undefined || password === '' ? textOf(answer, 'password') : undefined,
    options,
    terminal,
  )
}

/** A server that has users refuses this whoever asks, so it needs no credentials and does no harm. */
async function createFirst(
  details: Readonly<Record<string, string>>,
  options: CreateOptions,
  terminal: Terminal,
): Promise<ApiAnswer> {
  const setupToken = options.setupToken ?? terminal.env['ENTREPOT_SETUP_TOKEN']
  const headers = setupToken ? { [setupTokenHeader]: setupToken } : {}
  const client = connectAnonymously(options, terminal, headers)
  return await client.send('POST', '/user/initialize', { ...details, access_token: true })
}

function notFirst(name: string, answer: ApiAnswer): CommandFailure {
  const hint =
    answer.status === 400
      ? 'if the server has users already, sign in as a superuser: --user NAME, or --token'
      : 'if the server has no user yet, run this on its own machine or with --setup-token (the server printed it at its start); otherwise sign in as a superuser: --user NAME, or --token'
  return new CommandFailure('refused', `cannot create user ${printable(name)}: ${messageOf(answer)}`, {
    hint,
    status: answer.status,
  })
}

async function reportFirst(name: string, answer: ApiAnswer, options: CreateOptions, terminal: Terminal): Promise<void> {
  const token = textOf(answer, 'access_token')
  const file = token === undefined ? undefined : await saveToken(token, options.saveToken, terminal)
  const shown = file === undefined ? token : undefined
  const result = { username: name, superuser: true, access_token: shown, token_file: file }
  report(terminal, options.json, result, [
    `Created ${name}, the first user and a superuser.`,
    ...(shown === undefined ? [] : ['API token (shown only now):', shown]),
    ...(file === undefined ? [] : [`The API token is in ${file}.`]),
    'Next: export ENTREPOT_TOKEN=<token>; entrepot organization create cache-quayio',
  ])
}

/** Resolves to the file; undefined when there is none, and the token must be shown: it cannot be had again. */
async function saveToken(token: string, file: string | undefined, terminal: Terminal): Promise<string | undefined> {
  if (file === undefined) return undefined
  try {
    await writeFile(file, `${token}\n`, { mode: 0o600, flag: 'wx' })
    return file
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown error'
    terminal.writeError(`entrepot: cannot write ${printable(file)}: ${reason}\n`)
    return undefined
  }
}

function reportOther(name: string, password: string | undefined, options: CreateOptions, terminal: Terminal): void {
  report(terminal, options.json, { username: name, superuser: false, password }, [
    `Created user ${name}.`,
    ...(password === undefined ? [] : ['Password (shown only now):', password]),
  ])
}

function textOf(answer: ApiAnswer, key: string): string | undefined {
  if (typeof answer.body !== 'object' || answer.body === null) return undefined
  const value: unknown = Reflect.get(answer.body, key)
  return typeof value === 'string' && value !== '' ? value : undefined
}
