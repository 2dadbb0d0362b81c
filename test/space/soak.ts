/**
 * Runs of the model of space for a given time, from random seeds; or one that failed, again.
 * `node test/space/soak.ts [--minutes N] [--seed N [--path P]] [--runs N] [--quick] [--postgres]`: quick shows a failure as it came.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { monotonicMs } from '../../src/base/clock.ts'
import { MINUTE_MS } from '../../src/base/units.ts'
import { startPostgres } from '../real/postgres.ts'
import { Place } from './model/place.ts'
import { checkRuns } from './model/space-model.ts'

const runsPerSeed = 100

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string' },
    path: { type: 'string' },
    quick: { type: 'boolean', default: false },
    runs: { type: 'string', default: String(runsPerSeed) },
    postgres: { type: 'boolean', default: false },
  },
})
const postgres = values.postgres ? await startPostgres() : undefined
const place = await Place.open(await postgres?.createDatabase())
const endMs = monotonicMs() + Number(values.minutes) * MINUTE_MS
try {
  for (let seed = Number(values.seed ?? randomInt(2 ** 31)); ; seed = randomInt(2 ** 31)) {
    const beganMs = monotonicMs()
    await checkRuns(place, seed, Number(values.runs), { path: values.path, isQuick: values.quick })
    const seconds = ((monotonicMs() - beganMs) / 1000).toFixed(1)
    process.stdout.write(`ok  seed ${seed}, ${values.runs} runs, ${seconds} s\n`)
    if (values.seed !== undefined || monotonicMs() >= endMs) break
  }
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : error}\n`)
  if (error instanceof Error && error.cause instanceof Error) process.stdout.write(`${error.cause.stack}\n`)
  process.exitCode = 1
} finally {
  await place.close()
  await postgres?.stop()
}
