/** The command line `entrepot`. */
import { Command, CommanderError } from 'commander'
import { delayMs } from '../base/timers.ts'
import { addConfigCommand } from './config-command.ts'
import { CommandFailure, EXIT_CODES } from './failure.ts'
import { addOrganizationCommand } from './organization-command.ts'
import { addPurgeCommand } from './purge-command.ts'
import { addQuotaCommand } from './quota-command.ts'
import { addSecretsCommand, type RotateSecrets } from './secrets-command.ts'
import { printable, type Terminal } from './terminal.ts'
import { addUpstreamCommand } from './upstream-command.ts'
import { addUserCommand } from './user-command.ts'
import { addVerifyCommand } from './verify-command.ts'

export type ServeOptions = { testClock?: string }

export type ProgramOptions = {
  terminal: Terminal
  version: string
  /** Runs the server until it is told to stop. */
  serve: (options: ServeOptions) => Promise<void>
  /** Seals the secrets in the database with another key. */
  rotateSecrets?: RotateSecrets
  /** How commands wait between two looks at something; for tests. */
  delayMs?: (ms: number) => Promise<void>
}

const overview = `
The first pull, from the beginning (the server runs in a terminal of its own):
  entrepot serve
  entrepot user create admin
  entrepot organization create cache-quayio --user admin
  entrepot organization set-upstream cache-quayio quay.io --user admin
  podman login --tls-verify=false -u admin localhost:8080
  podman pull --tls-verify=false localhost:8080/cache-quayio/prometheus/busybox

Every command has its own help: entrepot user create --help`

/** Runs one command line (without node and script). Resolves to the exit code; never rejects. */
export async function runProgram(args: readonly string[], options: ProgramOptions): Promise<number> {
  const { terminal } = options
  let exitCode: number = EXIT_CODES.done
  const setExitCode = (code: number) => {
    exitCode = code
  }
  try {
    await createProgram(options, setExitCode).parseAsync([...args], { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.done : EXIT_CODES.usage
    return reportFailure(error, args.includes('--json'), terminal)
  } finally {
    terminal.close()
  }
}

function createProgram(options: ProgramOptions, setExitCode: (code: number) => void): Command {
  const { terminal } = options
  const program = new Command('entrepot')
    .description('A pull-through container registry cache: organizations stand for upstream registries.')
    .version(options.version)
    .exitOverride()
    .configureOutput({ writeOut: (text) => terminal.writeOut(text), writeErr: (text) => terminal.writeError(text) })
    .showHelpAfterError('(add --help for the usage)')
    .addHelpText('after', overview)
  program
    .command('serve')
    .description('run the server; configured by config.yaml and the environment')
    .option('--test-clock <file>', 'for tests: take the time from a file of milliseconds; only with a loopback HOST')
    .addHelpText('after', serveHelp)
    .action(options.serve)
  addUserCommand(program, terminal)
  addOrganizationCommand(program, terminal)
  addUpstreamCommand(program, terminal)
  addConfigCommand(program, terminal)
  const watching = { terminal, setExitCode, delayMs: options.delayMs ?? waitMs }
  addVerifyCommand(program, watching)
  addPurgeCommand(program, watching)
  addQuotaCommand(program, terminal)
  if (options.rotateSecrets !== undefined) {
    addSecretsCommand(program, { terminal, setExitCode, rotate: options.rotateSecrets })
  }
  return program
}

const serveHelp = `
It works without any configuration: it listens on 127.0.0.1:8080 and keeps everything in ./data.
The environment names the essentials: HOST, PORT, ENTREPOT_DATA (the data folder), ENTREPOT_CONFIG (the file).
Every setting of the file can also be given as ENTREPOT_<KEY>. docs/configuration.md lists them all.
SIGTERM stops it: running pulls may finish, for SHUTDOWN_GRACE_SECONDS at most; a second signal ends it at once.

Examples:
  entrepot serve
  HOST=0.0.0.0 PORT=5000 ENTREPOT_DATA=/srv/entrepot entrepot serve`

function reportFailure(error: unknown, asJson: boolean, terminal: Terminal): number {
  const failure =
    error instanceof CommandFailure
      ? error
      : new CommandFailure('refused', error instanceof Error ? error.message : 'unknown error', { cause: error })
  const { message, hint, status } = failure
  terminal.writeError(
    asJson
      ? `${JSON.stringify({ error: { message, hint, status } })}\n`
      : `entrepot: ${printable(message)}\n${hint === undefined ? '' : `  ${printable(hint)}\n`}`,
  )
  return EXIT_CODES[failure.kind]
}

/** Nothing else may be under way while a command waits for the server. */
function waitMs(ms: number): Promise<void> {
  return delayMs(ms, { keepsAlive: true })
}
