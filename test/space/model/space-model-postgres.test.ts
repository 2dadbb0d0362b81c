import { after, before, test } from 'node:test'
import { type Postgres, skipWithoutPostgres, startPostgres } from '../../real/postgres.ts'
import { Place } from './place.ts'
import { checkRuns, SEEDS } from './space-model.ts'

/** Of each seed. */
const runs = 4

const skip = skipWithoutPostgres()
let postgres: Postgres | undefined

before(async () => {
  if (skip === false) postgres = await startPostgres()
})
after(() => postgres?.stop())

for (const seed of SEEDS) {
  test(`space is accounted for on PostgreSQL whatever happens, in ${runs} runs from seed ${seed}`, {
    skip,
  }, async (t) => {
    const place = await Place.open(await postgres?.createDatabase())
    t.after(() => place.close())
    await checkRuns(place, seed, runs)
  })
}
