/** `entrepot verify`: the server verifies what it has stored, and repairs what it can. */
import { type Command, InvalidArgumentError } from 'commander'
import { MiB, SECOND_MS } from '../base/units.ts'
import { type ApiClient, messageOf, refusal } from './api-client.ts'
import { addConnectionOptions, type ConnectionOptions, connect } from './connection.ts'
import { CommandFailure } from './failure.ts'
import { printable, report, type Terminal } from './terminal.ts'
import { readVerification, type Verification } from './verification-answer.ts'

/** Scripts tell them apart; in the help and in docs/operations.md. */
export const VERIFY_EXIT_CODES = { well: 0, notRun: 1, repaired: 3, remaining: 4 } as const

/** What a command that watches something is handed. */
export type Watching = {
  terminal: Terminal
  setExitCode: (code: number) => void
  delayMs: (ms: number) => Promise<void>
}

type VerifyOptions = ConnectionOptions & { sample?: number; repair: boolean }

const path = '/superuser/verification'
const pollMs = SECOND_MS
/** Looks at the server between two plain lines, when nobody watches. */
const looksPerLine = 30
/** Looks that may fail in a row: the server may be busy, or being restarted. */
const failedLooksMax = 5
/** Findings of one kind that are printed; `--json` has them all. */
const printedMax = 20

const exitCodes =
  'Exit codes: 0 all well, 1 it could not run or did not finish, 2 wrong usage,\n' +
  '3 damage was found and repaired, 4 damage remains.'

export function addVerifyCommand(program: Command, watching: Watching): void {
  addConnectionOptions(program.command('verify'), exitCodes)
    .description('verify what the server has stored, and repair it from the upstreams; superusers only')
    .option(
      '--sample <percent>',
      'hash only so many of the stored blobs, chosen at random: over 0, to 100',
      readPercent,
    )
    .option('--no-repair', 'fetch nothing again and correct no charge; what is damaged is still never served again')
    .addHelpText('after', help)
    .action((options: VerifyOptions) => verify(options, watching))
}

const help = `
The server reads every stored blob and compares it with its digest, beside the traffic and behind it. What is damaged
or missing is forgotten at once, so that nobody gets it, and fetched again from the upstream of each organization that
had it. Then rows are compared with files, and each organization's charge is counted anew. Ctrl-C cancels it.

Examples:
  entrepot verify                      everything
  entrepot verify --sample 5           one blob of twenty, such as every night
  entrepot verify --no-repair --json   look only, for a program`

function readPercent(text: string): number {
  const percent = /^\d{1,3}(?:\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN
  if (!(percent > 0 && percent <= 100)) throw new InvalidArgumentError('expected a number over 0, to 100')
  return percent
}

async function verify(options: VerifyOptions, watching: Watching): Promise<void> {
  const { terminal, setExitCode } = watching
  try {
    const client = await connect(options, terminal)
    const body = { repair: options.repair, ...(options.sample === undefined ? {} : { sample_percent: options.sample }) }
    const answer = await client.send('POST', path, body)
    if (answer.status !== 202) throw refusal('verify the store', answer)
    const end = await watch(client, readVerification(answer.body), watching)
    report(terminal, options.json, end.body, describe(end))
    setExitCode(exitCodeOf(end))
  } catch (error) {
    // 3 means something else here than that the server cannot be reached.
    if (!(error instanceof CommandFailure) || error.kind !== 'unreachable') throw error
    throw new CommandFailure('refused', error.message, { hint: error.hint, cause: error })
  }
}

/** Resolves when the verification that was started has ended. Errors: CommandFailure when it is lost. */
async function watch(client: ApiClient, started: Verification, watching: Watching): Promise<Verification> {
  const { terminal, delayMs } = watching
  let cancelling: Promise<unknown> | undefined
  const release = terminal.onInterrupt(() => {
    cancelling ??= client.send('DELETE', path).catch(() => undefined)
  })
  try {
    let seen = started
    let failed = 0
    for (let look = 0; seen.state === 'running'; look++) {
      showProgress(terminal, seen, look)
      await delayMs(pollMs)
      await cancelling
      try {
        seen = await lookAt(client)
        failed = 0
      } catch (error) {
        failed += 1
        if (failed > failedLooksMax || (error instanceof CommandFailure && error.kind !== 'unreachable')) throw error
        continue
      }
      if (seen.started === started.started) continue
      const hint = 'run it again; what was repaired stays repaired'
      throw new CommandFailure('refused', 'the server was restarted, which ended the verification', { hint })
    }
    return seen
  } finally {
    release()
    if (terminal.isWatched) terminal.writeError('\r\x1b[K')
  }
}

async function lookAt(client: ApiClient): Promise<Verification> {
  const answer = await client.send('GET', path)
  if (answer.status === 200) return readVerification(answer.body)
  if (answer.status < 500) throw refusal('watch the verification', answer)
  throw new CommandFailure('unreachable', `cannot watch the verification: ${messageOf(answer)}`)
}

function showProgress(terminal: Terminal, seen: Verification, look: number): void {
  const mebibytes = Math.floor(seen.bytesChecked / MiB)
  const phases = { hash: 'hashing', rows: 'comparing rows with files', charge: 'recounting the charges' } as const
  const text = `${phases[seen.phase ?? 'hash']}: ${seen.checked} of ${seen.total} blobs, ${mebibytes} MiB, ${found(seen)}`
  if (terminal.isWatched) terminal.writeError(`\r\x1b[K${text}`)
  else if (look % looksPerLine === 0) terminal.writeError(`${text}\n`)
}

function found({ counts }: Verification): string {
  return `${counts.damaged} damaged, ${counts.missing} missing, ${counts.repaired} repaired`
}

function exitCodeOf({ state, counts }: Verification): number {
  if (counts.not_repaired > 0 || counts.drift_not_repaired > 0) return VERIFY_EXIT_CODES.remaining
  if (state !== 'done') return VERIFY_EXIT_CODES.notRun
  const isRepaired = counts.damaged + counts.missing + counts.drift > 0
  return isRepaired ? VERIFY_EXIT_CODES.repaired : VERIFY_EXIT_CODES.well
}

function describe(end: Verification): string[] {
  const { state, counts } = end
  const sample = end.samplePercent === 100 ? '' : ` (a sample of ${end.samplePercent} %)`
  const lines = [
    ...(state === 'cancelled' ? ['Cancelled before everything was seen.'] : []),
    ...(state === 'failed' ? [`It ended with an error: ${end.message}`] : []),
    `Hashed ${end.checked} blobs${sample}, ${Math.floor(end.bytesChecked / MiB)} MiB; recounted ${counts.organizations} organizations.`,
    `Found ${counts.damaged} damaged and ${counts.missing} missing; ${counts.repaired} repaired, ${counts.not_repaired} not.`,
    ...list('not repaired', end.notRepaired),
    ...list('damaged', end.damaged),
    ...list('missing', end.missing),
    ...end.drift.slice(0, printedMax).map(describeDrift),
  ]
  if (counts.files_without_row > 0) {
    lines.push(`${counts.files_without_row} files belong to nothing that is cached: they are collected by themselves.`)
  }
  return [...lines, ...whatToDo(end)]
}

function list(what: string, findings: Verification['damaged']): string[] {
  const lines = findings
    .slice(0, printedMax)
    .map(({ digest, organization, reason }) =>
      [`  ${what} ${digest}`, organization && `of ${organization}`, reason && `(${reason})`].filter(Boolean).join(' '),
    )
  return findings.length > printedMax ? [...lines, `  and more that are ${what}: see --json`] : lines
}

function describeDrift(drift: Verification['drift'][number]): string {
  const { organization, charge_bytes: charge, ledger_bytes: ledger, recount_bytes: recounted, roots, repaired } = drift
  const what = `charged ${charge} bytes, its ledger says ${ledger}, a recount ${recounted}; ${roots} roots were wrong`
  return `  ${printable(organization)}: ${what}; ${repaired ? 'corrected' : 'not corrected'}`
}

function whatToDo({ counts, repairs }: Verification): string[] {
  if (counts.not_repaired + counts.drift_not_repaired > 0) {
    return repairs
      ? ['What was not repaired is fetched by the next pull of it, if its upstream still has it. Check the disk.']
      : ['Run it again without --no-repair.']
  }
  return counts.damaged + counts.missing > 0
    ? ['All is well again. Check the disk: bytes do not change by themselves.']
    : []
}
