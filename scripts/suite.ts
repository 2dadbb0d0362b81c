/** One suite of test files, run within its budget. */
import { availableParallelism } from 'node:os'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

export type Suite = {
  name: string
  /** Globs. */
  files: readonly string[]
  /** Its budget; it is ended when that is spent. */
  secondsMax: number
  /** What one of its files may take; so that one that hangs does not spend the budget of all. Default 60. */
  fileSecondsMax?: number
}

/** `skipped`: each test that did not run, with its reason. */
export type Tally = { passed: number; failed: number; skipped: string[] }

/** `report`: what a person reads of a file in which something failed; empty otherwise. */
export type Result = { tally: Tally; report: string }

const FILE_SECONDS_MAX = 60

/** Run `files`, each in a process of its own. `lanes`: how many suites run side by side, this one included. */
export async function runSuite(suite: Suite, files: readonly string[], lanes: number): Promise<Result> {
  const budget = AbortSignal.timeout(suite.secondsMax * 1000)
  const filesAtOnce = Math.max(1, Math.floor(availableParallelism() / lanes))
  const waiting = [...files]
  const results: Result[] = []
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      results.push(await runFile(suite, file, budget))
    }
  }
  await Promise.all(Array.from({ length: filesAtOnce }, work))
  const tallies = results.map(({ tally }) => tally)
  return {
    tally: {
      passed: tallies.reduce((sum, { passed }) => sum + passed, 0),
      failed: tallies.reduce((sum, { failed }) => sum + failed, 0),
      skipped: tallies.flatMap(({ skipped }) => skipped),
    },
    report: results.map(({ report }) => report).join(''),
  }
}

async function runFile(suite: Suite, file: string, budget: AbortSignal): Promise<Result> {
  const tally: Tally = { passed: 0, failed: 0, skipped: [] }
  const fileTime = AbortSignal.timeout((suite.fileSecondsMax ?? FILE_SECONDS_MAX) * 1000)
  // When it fires, the file's process is ended, and the file counts as failed.
  const stream = run({ files: [file], signal: AbortSignal.any([budget, fileTime]) })
  const skipped = (name: string, reason: string | true) =>
    tally.skipped.push(`  ${suite.name}: ${name}${typeof reason === 'string' ? `: ${reason}` : ''}`)
  stream.on('test:pass', ({ name, skip, todo, details }) => {
    const reason = skip ?? todo
    if (reason !== undefined && reason !== false) skipped(name, reason)
    else if (details.type !== 'suite') tally.passed += 1
  })
  stream.on('test:fail', ({ name, todo, details }) => {
    if (todo !== undefined && todo !== false) skipped(name, todo)
    else if (details.type !== 'suite') tally.failed += 1
  })
  let hasSucceeded = true
  stream.on('test:summary', ({ success }) => {
    hasSucceeded &&= success
  })
  let report = `${file}\n`
  for await (const part of stream.compose(new spec())) report += part
  // A hook that fails outside any test, or a file without tests.
  const isEmpty = tally.passed + tally.failed + tally.skipped.length === 0
  if (tally.failed === 0 && (isEmpty || !hasSucceeded)) tally.failed = 1
  return { tally, report: tally.failed === 0 ? '' : report }
}
