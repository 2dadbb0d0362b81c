import assert from 'node:assert/strict'
import { test } from 'node:test'
import Sqlite from 'better-sqlite3'
import { StatementCache } from './statement-cache.ts'

test('a statement is prepared once while it is in use, and the least recently used ones go', (t) => {
  const database = new Sqlite(':memory:')
  t.after(() => database.close())
  const cache = new StatementCache(database)
  const [kept, dropped] = [cache.prepare('select 1 as kept'), cache.prepare('select 1 as dropped')]
  for (let count = 0; count < 300; count++) {
    cache.prepare(`select ${count}`)
    assert.equal(cache.prepare('select 1 as kept'), kept)
  }
  assert.notEqual(cache.prepare('select 1 as dropped'), dropped)
})

test('a long text is never kept, so that batches do not push out the rest', (t) => {
  const database = new Sqlite(':memory:')
  t.after(() => database.close())
  const cache = new StatementCache(database)
  const long = `select 1 -- ${'x'.repeat(5000)}`
  assert.notEqual(cache.prepare(long), cache.prepare(long))
})
