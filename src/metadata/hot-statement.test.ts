import assert from 'node:assert/strict'
import { test } from 'node:test'
import Sqlite from 'better-sqlite3'
import { Kysely, SqliteDialect, sql } from 'kysely'
import { HotStatement, readDirectly } from './hot-statement.ts'
import type { Database } from './schema.ts'

test('a hot statement is compiled once and read directly, but not in a transaction', async (t) => {
  const db = new Kysely<Database>({ dialect: new SqliteDialect({ database: new Sqlite(':memory:') }) })
  t.after(() => db.destroy())
  let built = 0
  const statement = new HotStatement('sum', (left: number, right: number) => {
    built++
    return sql<{ sum: number }>`select ${left} + ${right} as sum`
  })
  const direct: unknown[] = []
  readDirectly(db, async (...call) => {
    direct.push(call)
    return [{ sum: -1 }]
  })
  for (const right of [2, 3]) assert.deepEqual(await statement.runFirst(db, 1, right), { sum: -1 })
  assert.deepEqual(direct, [
    ['sum', 'select ? + ? as sum', [1, 2]],
    ['sum', 'select ? + ? as sum', [1, 3]],
  ])
  assert.equal(built, 1)
  assert.deepEqual(await db.transaction().execute((tx) => statement.runFirst(tx, 1, 2)), { sum: 3 })
})

test('a hot statement that would mix up its parameters is refused', async (t) => {
  const db = new Kysely<Database>({ dialect: new SqliteDialect({ database: new Sqlite(':memory:') }) })
  t.after(() => db.destroy())
  readDirectly(db, async () => [])
  const swapped = new HotStatement('swapped', (left: number, right: number) => sql`select ${right}, ${left}`)
  await assert.rejects(swapped.run(db, 1, 2), /cannot prepare swapped/)
})
