/**
 * The whole test run: checks first, then the suites in two lanes, since a run has two cores.
 * `--quick` leaves out what needs more than npm. With CI=true whatever was skipped counts as failed.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, globSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { SHARED_POSTGRES, skipWithoutPostgres, startPostgres } from '../test/real/postgres.ts'
import { installDebianPackages } from './debian.ts'
import { runSuite, type Suite, type Tally } from './suite.ts'

const RUN_SECONDS_MAX = 12 * 60
const QUICK_SECONDS_MAX = 2 * 60

type Check = { name: string; command: readonly string[]; onlyIf?: string }

const CHECKS: readonly Check[] = [
  { name: 'format and lint', command: ['biome', 'check', '--error-on-warnings', '.'] },
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'tidy', command: ['node', 'scripts/tidy.ts'] },
  {
    name: 'generated documents',
    command: ['node', 'scripts/generate-docs.ts', '--check'],
    onlyIf: 'scripts/generate-docs.ts',
  },
]

/** Beside the sources, without the tests of the API, which sign in often and so take long. */
const UNIT_FILES = [
  'src/*.test.ts',
  'src/!(http)/**/*.test.ts',
  'src/http/*.test.ts',
  'src/http/registry/*.test.ts',
  'test/fakes/*.test.ts',
  'scripts/*.test.ts',
]

/** A lane runs its suites one after the other; lanes run side by side. The slow clients have one to themselves. */
const LANES: readonly (readonly Suite[])[] = [
  [
    { name: 'unit', files: UNIT_FILES, secondsMax: 300 },
    { name: 'contract', files: ['test/contracts/*.test.ts'], secondsMax: 120, fileSecondsMax: 100 },
    { name: 'api', files: ['src/http/api/*.test.ts', 'test/api/*.test.ts'], secondsMax: 300 },
    { name: 'protocol', files: ['test/protocol/*.test.ts'], secondsMax: 60 },
    { name: 'pull-through', files: ['test/pull-through/*.test.ts'], secondsMax: 240 },
    { name: 'crash', files: ['test/crash/*.test.ts'], secondsMax: 120, fileSecondsMax: 120 },
    { name: 'fuzz', files: ['test/fuzz/*.test.ts'], secondsMax: 60 },
  ],
  [
    { name: 'real', files: ['test/real/*.test.ts'], secondsMax: 540, fileSecondsMax: 480 },
    { name: 'space', files: ['test/space/*.test.ts'], secondsMax: 240, fileSecondsMax: 120 },
    { name: 'model', files: ['test/space/model/*.test.ts'], secondsMax: 240, fileSecondsMax: 120 },
    { name: 'permissions', files: ['test/permissions/*.test.ts', 'test/secrets/*.test.ts'], secondsMax: 180 },
  ],
]

/** What needs nothing but npm, and little time. */
const QUICK_SUITES = ['unit', 'protocol']

const isQuick = process.argv.includes('--quick')
const isCi = process.env['CI'] === 'true'
const startedMs = performance.now()

function seconds(): number {
  return (performance.now() - startedMs) / 1000
}

async function runCheck(check: Check): Promise<Tally> {
  const beganMs = performance.now()
  const [command = '', ...args] = check.command
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), closed])
  const hasPassed = child.exitCode === 0
  if (!hasPassed) process.stdout.write(`${stdout}${stderr}`)
  say(hasPassed, check.name, performance.now() - beganMs, hasPassed ? '' : `\`${check.command.join(' ')}\` failed`)
  return { passed: hasPassed ? 1 : 0, failed: hasPassed ? 0 : 1, skipped: [] }
}

async function runLane(suites: readonly Suite[], lanes: number): Promise<Tally[]> {
  const tallies: Tally[] = []
  for (const suite of suites) {
    const files = globSync([...suite.files]).sort()
    if (files.length === 0) continue
    const beganMs = performance.now()
    const { tally, report } = await runSuite(suite, files, lanes)
    if (tally.failed > 0) process.stdout.write(report)
    const counts = `${tally.passed} passed, ${tally.failed} failed, ${tally.skipped.length} skipped`
    say(tally.failed === 0, suite.name, performance.now() - beganMs, `${counts} (budget ${suite.secondsMax} s)`)
    tallies.push(tally)
  }
  return tallies
}

function say(hasPassed: boolean, name: string, ms: number, details: string): void {
  const line = `${hasPassed ? 'ok    ' : 'FAILED'} ${name.padEnd(20)} ${(ms / 1000).toFixed(1).padStart(6)} s  ${details}`
  process.stdout.write(`${line.trimEnd()}\n`)
}

async function runAll(): Promise<Tally[]> {
  if (!isQuick) installDebianPackages()
  const checks = await Promise.all(
    CHECKS.filter(({ onlyIf }) => onlyIf === undefined || existsSync(onlyIf)).map(runCheck),
  )
  if (isQuick) {
    const suites = LANES.flat().filter(({ name }) => QUICK_SUITES.includes(name))
    return [...checks, ...(await runLane(suites, 1))]
  }
  const postgres = skipWithoutPostgres() === false ? await startPostgres() : undefined
  if (postgres !== undefined) process.env[SHARED_POSTGRES] = postgres.uri
  try {
    const lanes = await Promise.all(LANES.map((lane) => runLane(lane, LANES.length)))
    return [...checks, ...lanes.flat()]
  } finally {
    await postgres?.stop()
  }
}

/** Everything that the tests leave in the system's temporary folder goes with this one. */
function enterTemporaryFolder(): void {
  const folder = mkdtempSync(path.join(tmpdir(), 'entrepot-'))
  chmodSync(folder, 0o711)
  process.env['TMPDIR'] = folder
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  // The kernel stops the daemons of this process when it ends.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
}

process.chdir(path.join(import.meta.dirname, '..'))
enterTemporaryFolder()
const tallies = await runAll()
const skipped = tallies.flatMap((tally) => tally.skipped)
if (skipped.length > 0) process.stdout.write(`\nSKIPPED, so nothing is known of:\n${skipped.join('\n')}\n`)
if (skipped.length > 0 && isCi) process.stdout.write('CI=true: what is skipped counts as failed\n')
const secondsMax = isQuick ? QUICK_SECONDS_MAX : RUN_SECONDS_MAX
const isLate = seconds() > secondsMax
if (isLate) process.stdout.write(`the run took ${seconds().toFixed(0)} s, more than its ${secondsMax} s\n`)

const passedCount = tallies.reduce((sum, tally) => sum + tally.passed, 0)
const failedCount = tallies.reduce((sum, tally) => sum + tally.failed, 0)
process.stdout.write(
  `${seconds().toFixed(0)} s\n${passedCount} passed, ${failedCount} failed, ${skipped.length} skipped\n`,
)
process.exitCode = failedCount > 0 || isLate || (isCi && skipped.length > 0) ? 1 : 0
