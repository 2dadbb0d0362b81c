import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import pg from 'pg'
import { skipWithoutPostgres, startPostgres } from './postgres.ts'

test('each database is new, empty and apart from the others', { skip: skipWithoutPostgres() }, async () => {
  const postgres = await startPostgres()
  after(() => postgres.stop())
  const uris = [await postgres.createDatabase(), await postgres.createDatabase()]
  for (const uri of uris) {
    const client = new pg.Client({ connectionString: uri })
    await client.connect()
    await client.query('CREATE TABLE only_here (name text)')
    const sorted = await client.query<{ name: string }>("SELECT name FROM (VALUES ('B'), ('a')) AS t (name) ORDER BY 1")
    assert.deepEqual(sorted.rows, [{ name: 'a' }, { name: 'B' }], 'it must not sort by code unit unless told to')
    await client.end()
  }
})
