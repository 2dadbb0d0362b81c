import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { sql } from 'kysely'
import pg from 'pg'
import { findInstanceValue, insertInstanceValue } from '../../src/metadata/instance.ts'
import { type Db, openMetadata } from '../../src/metadata/open.ts'
import { type Postgres, skipWithoutPostgres, startPostgres } from '../real/postgres.ts'
import { type MetadataPlace, metadataContract } from './metadata-contract.ts'

const skip = skipWithoutPostgres()
let postgres: Postgres | undefined

before(async () => {
  if (skip === false) postgres = await startPostgres()
})
after(() => postgres?.stop())

metadataContract('PostgreSQL', makePlace, skip)

test('two transactions that wait for each other both succeed in the end', { skip }, async () => {
  const place = await makePlace()
  const metadata = await place.open()
  try {
    for (const key of ['a', 'b']) await insertInstanceValue(metadata.db, key, '')
    const append = (tx: Db, key: string) =>
      tx.updateTable('instance').set({ value: sql`value || 'x'` }).where('key', '=', key).execute()
    // Both hold their first row before either asks for its second: a deadlock, at the first try.
    const holding = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const orders = [
      ['a', 'b'],
      ['b', 'a'],
    ]
    let tries = 0
    await Promise.all(
      orders.map(([first = '', second = ''], index) =>
        metadata.transaction(async (tx) => {
          tries++
          await append(tx, first)
          holding[index]?.resolve()
          await Promise.all(holding.map(({ promise }) => promise))
          await append(tx, second)
        }),
      ),
    )
    assert.ok(tries > 2, 'there was no deadlock')
    assert.deepEqual(
      [await findInstanceValue(metadata.db, 'a'), await findInstanceValue(metadata.db, 'b')],
      ['xx', 'xx'],
    )
  } finally {
    await metadata.close()
    assert.deepEqual(await place.leftovers(), [])
  }
})

test('connections that the server ends are said to be lost, and replaced', { skip }, async () => {
  const uri = await postgres?.createDatabase()
  const lost = Promise.withResolvers<string>()
  const metadata = await openMetadata({ uri, dataFolder: '/nonexistent', onEvent: (event) => lost.resolve(event) })
  try {
    await insertInstanceValue(metadata.db, 'key', 'x')
    const client = new pg.Client({ connectionString: postgres?.uri })
    await client.connect()
    const name = new URL(uri ?? '').pathname.slice(1)
    await client.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])
    await client.end()
    assert.equal(await lost.promise, 'postgres_connection_lost')
    assert.equal(await findInstanceValue(metadata.db, 'key'), 'x')
  } finally {
    await metadata.close()
  }
})

test('a wrong password is refused without being printed', { skip }, async () => {
  const uri = new URL(postgres?.uri ?? '')
  uri.password = 'not-the-password'
  const opening = openMetadata({ uri: uri.href, dataFolder: '/nonexistent' })
  await assert.rejects(opening, (error: Error) => {
    assert.match(error.message, /^cannot use the database postgres at 127\.0\.0\.1:\d+: password authentication failed/)
    assert.doesNotMatch(error.message, /not-the-password/)
    return true
  })
})

async function makePlace(): Promise<MetadataPlace> {
  if (postgres === undefined) throw new Error('the cluster has not been started')
  const { uri: adminUri } = postgres
  const uri = await postgres.createDatabase()
  return {
    open: () => openMetadata({ uri, dataFolder: '/nonexistent' }),
    async leftovers() {
      const database = new URL(uri).pathname.slice(1)
      const client = new pg.Client({ connectionString: adminUri })
      await client.connect()
      try {
        // PostgreSQL itself waits a moment for sessions that are ending, and refuses while others are there.
        await client.query(`drop database if exists ${database}`)
        return []
      } catch (error) {
        return [String(error)]
      } finally {
        await client.end()
      }
    },
    remove: async () => {}, // The database is gone; the cluster goes with the suite.
  }
}
