import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Sqlite from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import { findStoreUsage, listGarbage } from '../blobs.ts'
import type { Db } from '../db.ts'
import { recountUsage } from '../ledger.ts'
import { refreshRoots } from '../roots.ts'
import type { Database } from '../schema.ts'
import { initialMigration } from './0001-initial.ts'
import { spaceMigration } from './0002-space.ts'
import { CAPABILITIES } from './capabilities.ts'

type Row = Record<string, string | number | null | Buffer>

test('what was cached before is charged and has its roots; what nobody holds becomes garbage', async (t) => {
  const { sqlite, db } = await openFirst(t)
  const insert = (table: string, row: Row) => {
    const columns = Object.keys(row)
    const places = columns.map(() => '?').join(', ')
    sqlite.prepare(`insert into ${table} (${columns.join(', ')}) values (${places})`).run(...Object.values(row))
  }
  for (const id of [1, 2, 3]) insertOrganization(insert, id)
  insertRepository(insert, 1)
  insertRepository(insert, 2)
  // Of a former generation: the organization has no right to what it names any more.
  insert('repository', { id: 3, organization_id: 2, generation: 0, name: 'old', created_at: 0 })
  insertManifest(insert, { id: 1, repository: 1, digest: 'm1', blobs: ['shared', 'own', 'missing'] })
  insertManifest(insert, { id: 2, repository: 2, digest: 'm1', blobs: ['shared'] })
  insertManifest(insert, { id: 3, repository: 1, digest: 'm3', isByDigest: 1, expires: 70 })
  insertManifest(insert, { id: 4, repository: 1, digest: 'child' })
  insertManifest(insert, { id: 5, repository: 3, digest: 'old', blobs: ['former'] })
  for (const digest of ['shared', 'own', 'unnamed', 'former']) {
    insert('blob', { digest, size_bytes: 100, stored_at: 5 })
  }
  for (const [organization, digest] of [
    [1, 'shared'],
    [1, 'own'],
    [1, 'unnamed'],
    [2, 'shared'],
  ] as const) {
    insert('organization_blob', { organization_id: organization, digest, size_bytes: 100, stored_at: 6 })
  }
  insertTag(insert, 1, 'm1', { expires_at: null, last_used_at: 40 })
  insertTag(insert, 1, 'm3', { expires_at: 90, ended_at: 60, last_used_at: 9 })
  insertTag(insert, 2, 'm1', { expires_at: 30, last_used_at: 9 })

  await spaceMigration(CAPABILITIES.sqlite).up(db as unknown as Kysely<unknown>)

  const charges = [10 * 3 + 200, 10 * 2 + 100, 0]
  for (const [index, chargeBytes] of charges.entries()) {
    const recount = await recountUsage(db, index + 1)
    assert.deepEqual(recount, { chargeBytes, ledgerBytes: chargeBytes, trueBytes: chargeBytes })
  }
  assert.deepEqual(await findStoreUsage(db), { blobBytes: 200, reservedBytes: 0 })
  const garbage = await listGarbage(db, 9)
  assert.deepEqual(
    garbage.map(({ digest }) => digest as string),
    ['former', 'unnamed'],
  )
  const roots = () => db.selectFrom('root').selectAll().orderBy('manifest_id').execute()
  const migrated = await roots()
  assert.deepEqual(
    migrated.map((row) => [row.manifest_id, row.organization_id, row.last_used_at, row.expires_at, row.is_pinned]),
    [
      [1, 1, 40, null, 0],
      [2, 2, 20, 30, 0],
      [3, 1, 20, 70, 0],
    ],
  )
  await refreshRoots(db, [1, 2, 3, 4, 5])
  assert.deepEqual(await roots(), migrated, 'they are what is derived later on')
  assert.deepEqual(sqlite.pragma('foreign_key_check'), [])
})

async function openFirst(t: TestContext): Promise<{ sqlite: Sqlite.Database; db: Db }> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-migration-'))
  const sqlite = new Sqlite(join(folder, 'test.db'))
  sqlite.pragma('foreign_keys = on')
  const db = new Kysely<Database>({ dialect: new SqliteDialect({ database: sqlite }) })
  t.after(async () => {
    await db.destroy()
    await rm(folder, { recursive: true })
  })
  await initialMigration(CAPABILITIES.sqlite).up(db as unknown as Kysely<unknown>)
  return { sqlite, db }
}

type Insert = (table: string, row: Row) => void

function insertOrganization(insert: Insert, id: number): void {
  insert('organization', {
    id,
    name: `name-${id}`,
    created_at: 0,
    tag_expiration_s: 5,
    allowed_repositories: '[]',
    denied_repositories: '[]',
  })
}

function insertRepository(insert: Insert, id: number): void {
  insert('repository', { id, organization_id: id, generation: 1, name: 'library/x', created_at: 0 })
}

function insertManifest(
  insert: Insert,
  fields: { id: number; repository: number; digest: string; blobs?: string[]; isByDigest?: 0 | 1; expires?: number },
): void {
  const { id, repository, digest, blobs = [] } = fields
  insert('manifest', {
    id,
    repository_id: repository,
    digest,
    media_type: 'x',
    size_bytes: 10,
    depth: 1,
    created_at: 0,
    last_used_at: 20,
    is_by_digest: fields.isByDigest ?? 0,
    expires_at: fields.expires ?? null,
    bytes: Buffer.from('x'),
  })
  for (const [position, blob] of blobs.entries()) {
    insert('manifest_blob', {
      manifest_id: id,
      repository_id: repository,
      position,
      digest: blob,
      media_type: 'x',
      size_bytes: 100,
      kind: 'layer',
    })
  }
}

function insertTag(insert: Insert, repository: number, digest: string, more: Row): void {
  insert('tag', { repository_id: repository, name: `tag-${digest}`, digest, started_at: 1, confirmed_at: 1, ...more })
}
