/**
 * `npm run test:scale [-- TAGS]`: what evicting, expiring and collecting cost with 200,000 tags and 2,000,000 blob
 * links, beside a tenth of it, on both databases. None may grow with the store.
 */
import { skipWithoutPostgres, startPostgres } from '../real/postgres.ts'
import { BLOBS_PER_IMAGE, fillStore } from './filled-store.ts'
import { type Figures, measure } from './measures.ts'

const TAGS = Number(process.argv[2] ?? 200_000)
/** Of the times of ten times the store. Trees grow by a level, and pages fall out of caches. */
const RATIO_MAX = 2

async function measureOf(tags: number, uri: string | undefined): Promise<Figures> {
  const startedMs = performance.now()
  const filled = await fillStore(tags, uri)
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(0)
  process.stdout.write(`  ${tags} tags, ${tags * BLOBS_PER_IMAGE} blob links, filled in ${seconds} s\n`)
  try {
    return await measure(filled)
  } finally {
    await filled.close()
  }
}

/** Whether no figure grows with the store. */
async function compare(name: string, makeUri: () => Promise<string | undefined>): Promise<boolean> {
  process.stdout.write(`\n${name}\n`)
  const small = await measureOf(TAGS / 10, await makeUri())
  const large = await measureOf(TAGS, await makeUri())
  let isFlat = true
  for (const [what, ms] of large) {
    const before = small.get(what) ?? Number.NaN
    const ratio = ms / before
    const isBounded = ratio <= RATIO_MAX
    isFlat &&= isBounded
    const cells = [what.padEnd(42), format(before), format(ms), `${ratio.toFixed(2).padStart(7)}`]
    process.stdout.write(`  ${cells.join(' ')}${isBounded ? '' : `  more than ${RATIO_MAX}`}\n`)
  }
  return isFlat
}

function format(ms: number): string {
  return `${ms.toFixed(ms < 100 ? 2 : 0).padStart(10)} ms`
}

const isFlatOnSqlite = await compare('SQLite', async () => undefined)
let isFlatOnPostgres = true
const skip = skipWithoutPostgres()
if (skip === false) {
  const postgres = await startPostgres()
  try {
    isFlatOnPostgres = await compare('PostgreSQL', () => postgres.createDatabase())
  } finally {
    await postgres.stop()
  }
} else {
  process.stdout.write(`\nPostgreSQL: skipped, ${skip}\n`)
}
process.exitCode = isFlatOnSqlite && isFlatOnPostgres ? 0 : 1
