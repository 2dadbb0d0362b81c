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
  /** What one of its files may take; so that one that hangs does not spend the budget of all. */
  fileSecondsMax?: number
}

const FILE_SECONDS_MAX = 60

/** `skipped`: each test that did not run, with its reason. */
export type Tally = { passed: number; failed: number; skipped: string[] }

/** Run `files`, each in a process of its own. `report` is what a person reads when something failed. */
export async function runSuite(suite: Suite, files: readonly string[]): Promise<{ tally: Tally; report: string }> {
  const tally: Tally = { passed: 0, failed: 0, skipped: [] }
  const concurrency = Math.max(1, Math.floor(availableParallelism() / 2))
  const timeout = (suite.fileSecondsMax ?? FILE_SECONDS_MAX) * 1000
  const signal = AbortSignal.timeout(suite.secondsMax * 1000)
  const stream = run({ files: [...files], concurrency, timeout, signal })
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
  let report = ''
  for await (const part of stream.compose(new spec())) report += part
  // A hook that fails outside any test.
  if (!hasSucceeded && tally.failed === 0) return { tally: { ...tally, failed: 1 }, report }
  if (tally.passed + tally.failed + tally.skipped.length > 0) return { tally, report }
  return { tally: { ...tally, failed: 1 }, report: `${report}${suite.name}: no test ran\n` }
}
