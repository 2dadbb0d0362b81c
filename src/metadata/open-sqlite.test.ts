import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Sqlite from 'better-sqlite3'
import { sql } from 'kysely'
import { findInstanceValue, insertInstanceValue } from './instance.ts'
import { type Metadata, openMetadata } from './open.ts'
import { sqliteFileName } from './open-sqlite.ts'

type Opened = { metadata: Metadata; path: string; events: string[] }

async function openIn(t: TestContext): Promise<Opened> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'entrepot-sqlite-'))
  const events: string[] = []
  const metadata = await openMetadata({ uri: undefined, dataFolder, onEvent: (event) => events.push(event) })
  t.after(async () => {
    await metadata.close()
    await rm(dataFolder, { recursive: true })
  })
  return { metadata, path: join(dataFolder, sqliteFileName), events }
}

test('nobody but its owner can read the database or its log, also when the file was there before', async (t) => {
  const { metadata, path } = await openIn(t)
  await insertInstanceValue(metadata.db, 'secret', 'x')
  for (const file of [path, `${path}-wal`, `${path}-shm`]) assert.equal((await stat(file)).mode & 0o777, 0o600, file)

  const other = await mkdtemp(join(tmpdir(), 'entrepot-sqlite-'))
  t.after(() => rm(other, { recursive: true }))
  const wide = join(other, sqliteFileName)
  new Sqlite(wide).close()
  await chmod(wide, 0o644).catch(() => {})
  await (await openMetadata({ uri: undefined, dataFolder: other })).close()
  assert.equal((await stat(wide)).mode & 0o777, 0o600)
})

test('the writer keeps a log, checks foreign keys, and leaves checkpoints to the worker', async (t) => {
  const { metadata } = await openIn(t)
  const settings = await metadata.transaction(async (tx) => {
    const pragma = async (name: string) => {
      const { rows } = await sql<Record<string, unknown>>`pragma ${sql.raw(name)}`.execute(tx)
      return Object.values(rows[0] ?? {})[0]
    }
    return [
      await pragma('journal_mode'),
      await pragma('foreign_keys'),
      await pragma('synchronous'),
      await pragma('wal_autocheckpoint'),
    ]
  })
  assert.deepEqual(settings, ['wal', 1, 1, 0])
})

test('reading does not wait for a transaction, and does not see it before it ends', async (t) => {
  const { metadata } = await openIn(t)
  await metadata.transaction(async (tx) => {
    await insertInstanceValue(tx, 'key', 'written')
    assert.equal(await findInstanceValue(metadata.db, 'key'), undefined)
    assert.equal(await findInstanceValue(tx, 'key'), 'written')
  })
  assert.equal(await findInstanceValue(metadata.db, 'key'), 'written')
})

test('a database that another process has locked makes writers wait, not fail, and stops nothing else', async (t) => {
  const { metadata, path } = await openIn(t)
  const other = new Sqlite(path)
  t.after(() => other.close())
  other.exec('begin immediate')
  const written = Promise.all([
    insertInstanceValue(metadata.db, 'one', '1'),
    metadata.transaction((tx) => insertInstanceValue(tx, 'two', '2')),
  ])
  // Turns of the event loop in which the writers have met the lock; reading goes on.
  for (let turn = 0; turn < 20; turn++) {
    assert.equal(await findInstanceValue(metadata.db, 'one'), undefined)
    await new Promise((resolve) => setImmediate(resolve))
  }
  other.exec('rollback')
  assert.deepEqual(await written, ['1', '2'])
})

test('a transaction that fails in the middle, or whose statement is refused, gives the writer free', async (t) => {
  const { metadata } = await openIn(t)
  await assert.rejects(
    metadata.transaction((tx) => sql`insert into nowhere values (1)`.execute(tx)),
    /nowhere/,
  )
  await assert.rejects(
    metadata.transaction(() => Promise.reject(new Error('no'))),
    /no/,
  )
  await assert.rejects(
    metadata.transaction(async (tx) => {
      await sql`rollback`.execute(tx) // As SQLite itself does when the disk is full.
      await insertInstanceValue(tx, 'lost', 'x')
    }),
    /rolled back/,
  )
  assert.equal(await findInstanceValue(metadata.db, 'lost'), undefined)
  assert.equal(await insertInstanceValue(metadata.db, 'kept', 'x'), 'x')
})

test('a long row of writes leaves the event loop its turns', async (t) => {
  const { metadata } = await openIn(t)
  let turns = 0
  let isCounting = true
  const count = () => {
    turns++
    if (isCounting) setImmediate(count)
  }
  setImmediate(count)
  for (let write = 0; write < 50; write++) await insertInstanceValue(metadata.db, `loop-${write}`, 'x')
  const transactions = Array.from({ length: 50 }, (_, write) =>
    metadata.transaction((tx) => insertInstanceValue(tx, `row-${write}`, 'x')),
  )
  await Promise.all(transactions)
  isCounting = false
  assert.ok(turns >= 100, `${turns} turns beside 100 writes`)
})

test('a file that is no database is refused and left as it is', async (t) => {
  const dataFolder = await mkdtemp(join(tmpdir(), 'entrepot-sqlite-'))
  t.after(() => rm(dataFolder, { recursive: true }))
  const { writeFile, readFile } = await import('node:fs/promises')
  const text = 'not a database, but long enough to be looked at as if it were one'.repeat(20)
  await writeFile(join(dataFolder, sqliteFileName), text)
  await assert.rejects(openMetadata({ uri: undefined, dataFolder }), /not a database/)
  assert.equal(await readFile(join(dataFolder, sqliteFileName), 'utf8'), text)
})
