/** What an organization's bytes are charged to, and what may go first: ledger, roots, reservations, quotas, pins. */
import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import type { Capabilities } from './capabilities.ts'
import { createIndexes, createTables, type Index, type Table } from './tables.ts'

const TABLES: Readonly<Record<string, Table>> = {
  usage: {
    columns: {
      organization_id: 'integer',
      charge_bytes: { integer: 0 },
      warned_percent: { integer: 0 },
    },
    primaryKey: ['organization_id'],
    references: { organization_id: 'organization.id' },
    isByKey: true,
  },
  ledger: {
    columns: { organization_id: 'integer', kind: 'text', digest: 'text', size_bytes: 'integer', stored_at: 'integer?' },
    primaryKey: ['organization_id', 'kind', 'digest'],
    references: { organization_id: 'organization.id' },
    isByKey: true,
  },
  root: {
    columns: {
      manifest_id: 'integer',
      organization_id: 'integer',
      repository_id: 'integer',
      last_used_at: 'integer',
      expires_at: 'integer?',
      is_pinned: 'flag',
    },
    primaryKey: ['manifest_id'],
    references: { manifest_id: 'manifest.id' },
    isByKey: true,
  },
  reservation: {
    columns: { manifest_id: 'integer', organization_id: 'integer', created_at: 'integer', touched_at: 'integer' },
    primaryKey: ['manifest_id'],
    references: { manifest_id: 'manifest.id' },
    isByKey: true,
  },
  garbage: {
    columns: { digest: 'text', size_bytes: 'integer', created_at: 'integer' },
    primaryKey: ['digest'],
    isByKey: true,
  },
  pin: {
    columns: {
      id: 'identity',
      organization_id: 'integer',
      repository_id: 'integer',
      kind: 'text',
      reference: 'text',
      created_at: 'integer',
    },
    references: { repository_id: 'repository.id' },
  },
  quota: {
    columns: { id: 'identity', organization_id: 'integer', limit_bytes: 'integer', created_at: 'integer' },
    references: { organization_id: 'organization.id' },
  },
  quota_limit: {
    columns: { id: 'identity', quota_id: 'integer', type: 'text', percent: 'integer' },
    references: { quota_id: 'quota.id' },
  },
  log_entry: {
    columns: {
      id: 'identity',
      organization_id: 'integer?',
      kind: 'text',
      created_at: 'integer',
      account_id: 'integer?',
      address: 'text?',
      metadata: 'text',
    },
    references: { organization_id: 'organization.id' },
  },
  notification: {
    columns: {
      id: 'identity',
      organization_id: 'integer',
      kind: 'text',
      created_at: 'integer',
      metadata: 'text',
    },
    references: { organization_id: 'organization.id' },
  },
  store_usage: { columns: { id: 'integer', blob_bytes: { integer: 0 } }, primaryKey: ['id'], isByKey: true },
}

const INDEXES: Readonly<Record<string, Index>> = {
  manifest_organization_digest: { table: 'manifest', columns: ['organization_id', 'digest'] },
  manifest_blob_organization_digest: {
    table: 'manifest_blob',
    columns: ['organization_id', 'digest', 'manifest_id'],
  },
  tag_ended: {
    table: 'tag',
    columns: ['organization_id', 'ended_at'],
    where: sql<boolean>`ended_at is not null`,
  },
  ledger_blob: { table: 'ledger', columns: ['digest'], where: sql<boolean>`kind = 'blob'` },
  ledger_reserved: {
    table: 'ledger',
    columns: ['organization_id', 'size_bytes'],
    where: sql<boolean>`stored_at is null`,
  },
  root_expiry: { table: 'root', columns: ['organization_id', 'expires_at', 'manifest_id'] },
  root_expiry_of_all: { table: 'root', columns: ['expires_at', 'manifest_id'] },
  root_last_use: {
    table: 'root',
    columns: ['organization_id', 'last_used_at', 'manifest_id', 'expires_at'],
    where: sql<boolean>`is_pinned = 0`,
  },
  root_last_use_of_all: {
    table: 'root',
    columns: ['last_used_at', 'manifest_id', 'expires_at'],
    where: sql<boolean>`is_pinned = 0`,
  },
  root_pinned: { table: 'root', columns: ['organization_id'], where: sql<boolean>`is_pinned = 1` },
  root_repository: { table: 'root', columns: ['repository_id'] },
  reservation_organization: { table: 'reservation', columns: ['organization_id'] },
  reservation_touched: { table: 'reservation', columns: ['touched_at'] },
  pin_reference: { table: 'pin', columns: ['repository_id', 'kind', 'reference'], isUnique: true },
  quota_organization: { table: 'quota', columns: ['organization_id'], isUnique: true },
  quota_limit_percent: { table: 'quota_limit', columns: ['quota_id', 'type', 'percent'], isUnique: true },
  log_entry_organization: { table: 'log_entry', columns: ['organization_id', 'id'] },
  notification_organization: { table: 'notification', columns: ['organization_id', 'id'] },
}

/** Add the tables, and fill them from what is cached. */
export function spaceMigration(capabilities: Capabilities): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      const { integer } = capabilities
      const number = (name: string, table: string) =>
        db.schema
          .alterTable(table)
          .addColumn(name, integer, (column) => column.notNull().defaultTo(0))
          .execute()
      for (const table of ['manifest', 'manifest_blob', 'tag']) await number('organization_id', table)
      await number('is_expiry_set', 'tag')
      await number('is_restored', 'tag')
      await number('passes_too_large', 'organization')
      await db.schema.alterTable('tag').addColumn('evicted_at', integer).execute()
      await createTables(db, capabilities, TABLES)
      await fillOrganizations(db)
      await createIndexes(db, INDEXES) // The rest asks by them.
      await fillLedger(db)
      await fillRoots(db)
      await db.schema.dropTable('organization_blob').execute()
      await abandonUnheld(db)
    },
  }
}

async function fillOrganizations(db: Kysely<unknown>): Promise<void> {
  for (const table of ['manifest', 'manifest_blob', 'tag']) {
    await sql`
      update ${sql.table(table)} set organization_id =
        (select organization_id from repository where repository.id = ${sql.table(table)}.repository_id)
    `.execute(db)
  }
}

/** What each organization is charged for, and the sums. */
async function fillLedger(db: Kysely<unknown>): Promise<void> {
  await sql`
    insert into ledger (organization_id, kind, digest, size_bytes, stored_at)
    select organization_id, 'blob', digest, size_bytes, stored_at from organization_blob
    where exists (
      select 1 from manifest_blob
      where manifest_blob.organization_id = organization_blob.organization_id
        and manifest_blob.digest = organization_blob.digest
    )
  `.execute(db)
  await sql`
    insert into ledger (organization_id, kind, digest, size_bytes, stored_at)
    select organization_id, 'manifest', digest, max(size_bytes), min(created_at) from manifest
    group by organization_id, digest
  `.execute(db)
  await sql`
    insert into usage (organization_id, charge_bytes)
    select id, coalesce((select sum(size_bytes) from ledger where ledger.organization_id = organization.id), 0)
    from organization
  `.execute(db)
}

/** Blobs that no organization holds with a manifest are garbage; the rest is what the store is used for. */
async function abandonUnheld(db: Kysely<unknown>): Promise<void> {
  const isHeld = sql`exists (select 1 from ledger where ledger.kind = 'blob' and ledger.digest = blob.digest)`
  await sql`
    insert into garbage (digest, size_bytes, created_at)
    select digest, size_bytes, stored_at from blob where not ${isHeld}
  `.execute(db)
  await sql`delete from blob where not ${isHeld}`.execute(db)
  await sql`insert into store_usage (id, blob_bytes) select 1, coalesce(sum(size_bytes), 0) from blob`.execute(db)
}

/** Every manifest that a tag points or pointed at, or that was asked for by digest. */
async function fillRoots(db: Kysely<unknown>): Promise<void> {
  await sql`
    insert into root (manifest_id, organization_id, repository_id, last_used_at, expires_at, is_pinned)
    select manifest.id, manifest.organization_id, manifest.repository_id,
      max(case when manifest.last_used_at > coalesce(tag.last_used_at, 0)
        then manifest.last_used_at else tag.last_used_at end),
      case when (manifest.is_by_digest = 1 and manifest.expires_at is null)
          or max(case when tag.id is not null and tag.ended_at is null and tag.expires_at is null then 1 else 0 end) = 1
        then null
        else max(case when coalesce(tag.ended_at, tag.expires_at, 0) > coalesce(manifest.expires_at, 0)
          then coalesce(tag.ended_at, tag.expires_at, 0) else coalesce(manifest.expires_at, 0) end)
      end,
      0
    from manifest left join tag
      on tag.repository_id = manifest.repository_id and tag.digest = manifest.digest
    where manifest.is_by_digest = 1 or tag.id is not null
    group by manifest.id, manifest.organization_id, manifest.repository_id, manifest.is_by_digest,
      manifest.expires_at, manifest.last_used_at
  `.execute(db)
}
