import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Sqlite from 'better-sqlite3'
import { SqliteCheckpointer } from './sqlite-checkpointer.ts'

const walBytesMax = 100_000

/** A database whose log is longer than its bound, and the checkpointer that has not seen it yet. */
async function openLong(t: TestContext, betweenTransactions: (work: () => Promise<void>) => Promise<void>) {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-checkpointer-'))
  const path = join(folder, 'test.db')
  const writer = new Sqlite(path)
  writer.exec('pragma journal_mode = wal; pragma wal_autocheckpoint = 0; create table t (x blob)')
  const stuck = Promise.withResolvers<number>()
  const failed = Promise.withResolvers<unknown>()
  const fill = () => writer.exec('insert into t values (randomblob(200000))')
  fill()
  const checkpointer = new SqliteCheckpointer(path, {
    betweenTransactions,
    onFailure: failed.resolve,
    onStuck: stuck.resolve,
    walBytesMax,
  })
  t.after(async () => {
    await checkpointer.close()
    writer.close()
    await rm(folder, { recursive: true })
  })
  return {
    path,
    writer,
    walSize: async () => (await stat(`${path}-wal`)).size,
    stuck: stuck.promise,
    failed: failed.promise,
  }
}

test('a log beyond its bound is emptied between transactions', async (t) => {
  const done = Promise.withResolvers<void>()
  const opened = await openLong(t, async (work) => {
    await work()
    done.resolve()
  })
  assert.ok((await opened.walSize()) > walBytesMax)
  await keepAlive(done.promise)
  assert.equal(await opened.walSize(), 0)
  assert.equal(opened.writer.prepare('select count(*) from t').pluck().get(), 1)
})

test('a log that somebody holds open is said to grow, and writers are not held up for it again', async (t) => {
  let times = 0
  const opened = await openLong(t, async (work) => {
    times++
    await work()
  })
  const reader = new Sqlite(opened.path)
  reader.exec('begin; select count(*) from t')
  t.after(() => reader.close())
  opened.writer.exec('insert into t values (randomblob(10000))')
  assert.ok((await keepAlive(opened.stuck)) > walBytesMax)
  assert.equal(times, 1)
})

/** The checkpointer does not keep the process alive by itself. */
async function keepAlive<Value>(promise: Promise<Value>): Promise<Value> {
  const timer = setInterval(() => {}, 1000)
  try {
    return await promise
  } finally {
    clearInterval(timer)
  }
}
