/** `entrepot secrets rotate`: another key for the secrets in the database. It runs here, without the server. */
import { type Command, Option } from 'commander'
import { CommandFailure } from './failure.ts'
import { report, type Terminal } from './terminal.ts'

/** Scripts tell them apart; in the help and in docs/operations.md. 1 and 2 are those of every command. */
export const SECRETS_EXIT_CODES = { done: 0, unopened: 4 } as const

export type KeyKind = 'file' | 'text'

export type RotationSeen = {
  seen: number
  total: number
  resealed: number
  unopenedCount: number
  unopened: readonly { table: string; column: string; id: string | number }[]
}

/** What runs the rotation: the configuration and the database are not known here. */
export type RotateSecrets = (request: {
  /** Undefined: the kind that is configured. */
  to: KeyKind | undefined
  readNewKey: () => Promise<string>
  onProgress: (seen: RotationSeen) => void
}) => Promise<RotationSeen & { wasUnderWay: boolean; to: KeyKind }>

type Options = { to?: KeyKind; json?: true }
type Running = { terminal: Terminal; setExitCode: (code: number) => void; rotate: RotateSecrets }

export function addSecretsCommand(program: Command, running: Running): void {
  const secrets = program
    .command('secrets')
    .description('the secrets in the database, and the key they are sealed with')
  secrets
    .command('rotate')
    .description('seal every secret in the database with another key; the server must be stopped')
    .addOption(
      new Option(
        '--to <kind>',
        'file: a new secret.key; text: a new DATABASE_SECRET_KEY (default: as it is now)',
      ).choices(['file', 'text']),
    )
    .option('--json', 'print JSON')
    .addHelpText('after', help)
    .action((options: Options) => rotateSecrets(options, running))
}

const help = `
It reads the configuration that the server reads, and must run as the server's user, where its data folder is. The new
DATABASE_SECRET_KEY is asked for, or is ENTREPOT_NEW_SECRET_KEY or a line of standard input. It can be ended at any
moment: run it again, or start the server with the new key, which then finishes it. Registry tokens end.
Exit codes: 0 done, 1 it could not run or did not finish, 2 wrong usage, 4 done, but some values no key opens.

Examples:
  systemctl stop entrepot && entrepot secrets rotate && systemctl start entrepot
  entrepot secrets rotate --to text      then set DATABASE_SECRET_KEY to what was given`

async function rotateSecrets({ to, json }: Options, { terminal, setExitCode, rotate }: Running): Promise<void> {
  let lines = 0
  const end = await rotate({
    to,
    readNewKey: () => readNewKey(terminal),
    onProgress: ({ seen, total }) => {
      if (terminal.isWatched) terminal.writeError(`\r\x1b[K${seen} of ${total} secrets`)
      else if (lines++ % 100 === 0) terminal.writeError(`${seen} of ${total} secrets\n`)
    },
  })
  if (terminal.isWatched) terminal.writeError('\r\x1b[K')
  const { wasUnderWay, resealed, unopened, unopenedCount } = end
  report(terminal, json, { key: end.to, finished: wasUnderWay, resealed, unopened, unopened_count: unopenedCount }, [
    wasUnderWay
      ? `Finished the rotation that was under way: sealed the last ${resealed} secrets with the new key.`
      : `Sealed ${resealed} secrets with the new key. The old one opens nothing any more.`,
    ...(unopenedCount > 0 ? [`${unopenedCount} values could not be opened, and stay as they are; set them anew:`] : []),
    ...unopened.map(({ table, column, id }) => `  ${table} ${id}, ${column}`),
    ...(end.to === 'text' ? ['Next: set DATABASE_SECRET_KEY to the new key, then start the server.'] : []),
    'Back up the database and the key now: neither is of use with an older one.',
  ])
  if (unopenedCount > 0) setExitCode(SECRETS_EXIT_CODES.unopened)
}

/** Errors: CommandFailure when none is given. */
async function readNewKey(terminal: Terminal): Promise<string> {
  const given = terminal.env['ENTREPOT_NEW_SECRET_KEY']
  const key = given !== undefined && given !== '' ? given : await terminal.readSecret('New DATABASE_SECRET_KEY')
  if (key === undefined || key === '') {
    const hint = 'type it, or set ENTREPOT_NEW_SECRET_KEY'
    throw new CommandFailure('usage', 'no new key was given', { hint })
  }
  if (given !== undefined && given !== '') return key
  // A slip of the hand would seal everything with a key that nobody knows.
  const again = await terminal.readSecret('The same again')
  if (again === key || (again === undefined && !terminal.isWatched)) return key
  throw new CommandFailure('usage', 'the new key was not the same twice; nothing was changed')
}
