/**
 * What an organization is charged for (DESIGN part 5, the ledger): one row per digest, and their sum beside them. Every
 * change begins by locking the usage row, so that changes of one organization's charge come one after the other.
 */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'

export type LedgerItem = { kind: 'blob' | 'manifest'; digest: Digest; sizeBytes: number }

/** Rows of one statement: SQLite takes 32766 parameters, PostgreSQL 65535. */
const rowsPerStatement = 500

/** An organization under its lock. */
export type LockedUsage = { chargeBytes: number; generation: number }

/**
 * Lock the organization's usage row until the transaction ends. Undefined when the organization is being deleted or
 * is gone: then nothing may be charged to it.
 */
export async function lockUsage(tx: Db, organizationId: number): Promise<LockedUsage | undefined> {
  const usage = await tx
    .updateTable('usage') // An update locks on both databases.
    .set((eb) => ({ charge_bytes: eb.ref('charge_bytes') }))
    .where('organization_id', '=', organizationId)
    .returning('charge_bytes')
    .executeTakeFirst()
  if (usage === undefined) return undefined
  const organization = await tx
    .selectFrom('organization')
    .select(['generation', 'deleted_at'])
    .where('id', '=', organizationId)
    .executeTakeFirst()
  if (organization === undefined || organization.deleted_at !== null) return undefined
  return { chargeBytes: usage.charge_bytes, generation: organization.generation }
}

/** The same lock, also of an organization that is being deleted: its charge may fall. False when its row is gone. */
export async function lockCharge(tx: Db, organizationId: number): Promise<boolean> {
  const locked = await tx
    .updateTable('usage')
    .set((eb) => ({ charge_bytes: eb.ref('charge_bytes') }))
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return locked.numUpdatedRows > 0n
}

/** The charge as it stands, without a lock. */
export async function findChargeBytes(db: Db, organizationId: number): Promise<number> {
  const row = await db
    .selectFrom('usage')
    .select('charge_bytes')
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return row?.charge_bytes ?? 0
}

/** Those of the items, each digest once, that the ledger does not have: the need of DESIGN part 5, Admission. */
export async function listUnchargedItems(
  tx: Db,
  organizationId: number,
  items: readonly LedgerItem[],
): Promise<LedgerItem[]> {
  const missing = new Map<string, LedgerItem>()
  for (const item of items) {
    const key = `${item.kind} ${item.digest}`
    if (!missing.has(key)) missing.set(key, item)
  }
  const digests = [...new Set(items.map((item) => item.digest))]
  for (let from = 0; from < digests.length; from += rowsPerStatement) {
    const rows = await tx
      .selectFrom('ledger')
      .select(['kind', 'digest'])
      .where('organization_id', '=', organizationId)
      .where('kind', 'in', ['blob', 'manifest'])
      .where('digest', 'in', digests.slice(from, from + rowsPerStatement))
      .execute()
    for (const row of rows) missing.delete(`${row.kind} ${row.digest}`)
  }
  return [...missing.values()]
}

/**
 * Charge for the items that the ledger does not have yet; resolves to the bytes by which the charge grew. With no
 * `storedAtMs` they are reserved. Under the lock of `lockUsage`; the caller has found that they fit.
 */
export async function chargeItems(
  tx: Db,
  organizationId: number,
  items: readonly LedgerItem[],
  storedAtMs: number | undefined,
): Promise<number> {
  // In one order everywhere (DESIGN part 3, Concurrency).
  const rows = (await listUnchargedItems(tx, organizationId, items))
    .sort((left, right) => (left.digest < right.digest ? -1 : 1))
    .map((item) => ({
      organization_id: organizationId,
      kind: item.kind,
      digest: item.digest,
      size_bytes: item.sizeBytes,
      stored_at: storedAtMs ?? null,
    }))
  for (let from = 0; from < rows.length; from += rowsPerStatement) {
    await tx
      .insertInto('ledger')
      .values(rows.slice(from, from + rowsPerStatement))
      .execute()
  }
  const bytes = rows.reduce((sum, row) => sum + row.size_bytes, 0)
  await changeCharge(tx, organizationId, bytes)
  return bytes
}

/** Delete rows of the ledger; resolves to the bytes by which the charge fell. Under the lock of `lockUsage`. */
export async function dischargeItems(
  tx: Db,
  organizationId: number,
  kind: LedgerItem['kind'],
  digests: readonly string[],
): Promise<number> {
  let bytes = 0
  const sorted = [...digests].sort()
  for (let from = 0; from < sorted.length; from += rowsPerStatement) {
    const rows = await tx
      .deleteFrom('ledger')
      .where('organization_id', '=', organizationId)
      .where('kind', '=', kind)
      .where('digest', 'in', sorted.slice(from, from + rowsPerStatement))
      .returning('size_bytes')
      .execute()
    bytes += rows.reduce((sum, row) => sum + row.size_bytes, 0)
  }
  await changeCharge(tx, organizationId, -bytes)
  return bytes
}

/** Bytes that are charged but not stored yet. */
export async function findReservedBytes(db: Db, organizationId: number): Promise<number> {
  const row = await db
    .selectFrom('ledger')
    .select((eb) => eb.fn.sum<number | string | null>('size_bytes').as('bytes'))
    .where('organization_id', '=', organizationId)
    .where('stored_at', 'is', null)
    .executeTakeFirstOrThrow()
  return Number(row.bytes ?? 0)
}

/** Three numbers that are the same at every instant. */
export type Recount = {
  chargeBytes: number
  /** The sum of the ledger. */
  ledgerBytes: number
  /**
   * What the ledger should be: each manifest, each named blob that is stored, each reserved one that an open
   * reservation holds (not all that it could hold: a blob of an incomplete image is admitted alone).
   */
  trueBytes: number
}

/** Count an organization anew, in one statement: it reads every row of it. */
export async function recountUsage(db: Db, organizationId: number): Promise<Recount> {
  const { rows } = await sql<Record<'charge' | 'ledger' | 'manifests' | 'stored' | 'reserved', number | string | null>>`
    select
      (select charge_bytes from usage where organization_id = ${organizationId}) as charge,
      (select sum(size_bytes) from ledger where organization_id = ${organizationId}) as ledger,
      (select sum(size_bytes) from (
        select max(size_bytes) as size_bytes from manifest where organization_id = ${organizationId} group by digest
      ) as sizes) as manifests,
      (select sum(blob.size_bytes) from ledger join blob on blob.digest = ledger.digest
        where ledger.organization_id = ${organizationId} and ledger.kind = 'blob' and ledger.stored_at is not null
          and exists (
            select 1 from manifest_blob
            where manifest_blob.organization_id = ledger.organization_id and manifest_blob.digest = ledger.digest
          )) as stored,
      (select sum(size_bytes) from ledger
        where organization_id = ${organizationId} and kind = 'blob' and stored_at is null
          and exists (
            select 1 from manifest_blob cross join reservation -- SQLite keeps this order.
            where reservation.manifest_id = manifest_blob.manifest_id and manifest_blob.has_urls = 0
              and manifest_blob.organization_id = ${organizationId} and manifest_blob.digest = ledger.digest
          )) as reserved
  `.execute(db)
  const of = (name: keyof (typeof rows)[number]) => Number(rows[0]?.[name] ?? 0)
  return {
    chargeBytes: of('charge'),
    ledgerBytes: of('ledger'),
    trueBytes: of('manifests') + of('stored') + of('reserved'),
  }
}

/** What a repository's manifests and their blobs in the ledger weigh, each digest once; 0 for an empty one. */
export async function repositorySizes(db: Db, repositoryIds: readonly number[]): Promise<Map<number, number>> {
  const sizes = new Map(repositoryIds.map((id) => [id, 0]))
  for (let from = 0; from < repositoryIds.length; from += rowsPerStatement) {
    const ids = sql.join(repositoryIds.slice(from, from + rowsPerStatement))
    const { rows } = await sql<{ repository_id: number; bytes: number | string }>`
      select repository_id, sum(size_bytes) as bytes from manifest where repository_id in (${ids})
      group by repository_id
      union all
      select repository_id, sum(size_bytes) as bytes from (
        select distinct manifest_blob.repository_id, manifest_blob.digest, ledger.size_bytes
        from manifest_blob join ledger on ledger.organization_id = manifest_blob.organization_id
          and ledger.kind = 'blob' and ledger.digest = manifest_blob.digest
        where manifest_blob.repository_id in (${ids})
      ) as blobs group by repository_id
    `.execute(db)
    for (const row of rows) sizes.set(row.repository_id, (sizes.get(row.repository_id) ?? 0) + Number(row.bytes))
  }
  return sizes
}

/** Change the charge with rows of the ledger. Under the lock of `lockUsage`. */
export async function changeCharge(tx: Db, organizationId: number, bytes: number): Promise<void> {
  if (bytes === 0) return
  await tx
    .updateTable('usage')
    .set((eb) => ({ charge_bytes: eb('charge_bytes', '+', bytes) }))
    .where('organization_id', '=', organizationId)
    .execute()
}
