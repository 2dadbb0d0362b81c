/**
 * The charge of an organization counted anew from what it is about: manifests, stored bytes that a manifest names, and
 * what open reservations wait for. The ledger and the charge must equal it at every instant (DESIGN part 5).
 */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'
import { lockUsage } from './ledger.ts'

export type Recount = { chargeBytes: number; ledgerBytes: number; recountBytes: number }

/** What was put right. `freed`: blobs to which the organization had a right that no manifest gave. */
export type LedgerCorrection = Recount & { rows: number; freed: Digest[] }

/** One statement, so that it sees one instant. */
export async function recount(db: Db, organizationId: number): Promise<Recount> {
  const id = organizationId
  const result = await sql<{ charge: number; ledger: number; manifests: number; blobs: number }>`
    select
      (select coalesce(sum(charge_bytes), 0) from usage where organization_id = ${id}) as charge,
      (select coalesce(sum(size_bytes), 0) from ledger where organization_id = ${id}) as ledger,
      (select coalesce(sum(size_bytes), 0) from
        (select digest, max(size_bytes) as size_bytes from manifest where organization_id = ${id} group by digest)
        as counted) as manifests,
      (select coalesce(sum(size_bytes), 0) from (${expectedBlobs(id)}) as counted) as blobs
  `.execute(db)
  const row = result.rows[0]
  const recountBytes = Number(row?.manifests ?? 0) + Number(row?.blobs ?? 0)
  return { chargeBytes: Number(row?.charge ?? 0), ledgerBytes: Number(row?.ledger ?? 0), recountBytes }
}

/**
 * Each blob that the ledger must have. What a former upstream gave (`revokeBlobs`) is neither stored nor reserved, and
 * is charged until its manifests are collected.
 */
function expectedBlobs(id: number) {
  return sql<{ digest: string; size_bytes: number; is_stored: number }>`
    select ledger.digest, blob.size_bytes, 1 as is_stored from ledger
      join blob on blob.digest = ledger.digest
      where ledger.organization_id = ${id} and ledger.kind = 'blob' and ledger.stored_at is not null
        and exists (${named(id)})
    union all
    select awaited.digest, coalesce(max(charged.size_bytes), max(awaited.size_bytes)), 0 from reservation
      join manifest_blob as awaited on awaited.manifest_id = reservation.manifest_id and awaited.has_urls = 0
      left join ledger as charged on charged.organization_id = ${id} and charged.kind = 'blob'
        and charged.digest = awaited.digest
      where reservation.organization_id = ${id} and not exists
        (select 1 from ledger join blob on blob.digest = ledger.digest where ledger.organization_id = ${id}
          and ledger.kind = 'blob' and ledger.digest = awaited.digest and ledger.stored_at is not null)
      group by awaited.digest
    union all
    select ledger.digest, ledger.size_bytes, 0 from ledger
      where ledger.organization_id = ${id} and ledger.kind = 'blob' and ledger.stored_at is null
        and not exists (${awaited(id)}) and exists (${revoked(id)})
  `
}

function named(id: number) {
  return sql`select 1 from manifest_blob where organization_id = ${id} and digest = ledger.digest`
}

function awaited(id: number) {
  return sql`
    select 1 from reservation join manifest_blob on manifest_blob.manifest_id = reservation.manifest_id
      where reservation.organization_id = ${id} and manifest_blob.digest = ledger.digest and manifest_blob.has_urls = 0`
}

/** A manifest of another upstream than today's names it. */
function revoked(id: number) {
  return sql`
    select 1 from manifest_blob join repository on repository.id = manifest_blob.repository_id
      join organization on organization.id = repository.organization_id
      where manifest_blob.organization_id = ${id} and manifest_blob.digest = ledger.digest
        and repository.generation < organization.generation`
}

/**
 * Set the ledger and the charge to what `recount` says; undefined when the organization is gone. Figures are those of
 * before. Idempotent.
 */
export async function correctLedger(
  tx: Db,
  fields: { organizationId: number; nowMs: number },
): Promise<LedgerCorrection | undefined> {
  const { organizationId: id, nowMs } = fields
  if ((await lockUsage(tx, id)) === undefined) return undefined
  const before = await recount(tx, id)
  const manifests = await correctManifestRows(tx, id, nowMs)
  const lost = await sql`
    update ledger set stored_at = null where organization_id = ${id} and kind = 'blob' and stored_at is not null
      and not exists (select 1 from blob where blob.digest = ledger.digest)
  `.execute(tx)
  const superfluous = await sql<{ digest: Digest; stored_at: number | null }>`
    delete from ledger where organization_id = ${id} and kind = 'blob'
      and digest not in (select digest from (${expectedBlobs(id)}) as expected)
    returning digest, stored_at
  `.execute(tx)
  const sizes = await sql`
    update ledger set size_bytes = (select size_bytes from blob where blob.digest = ledger.digest)
      where organization_id = ${id} and kind = 'blob' and stored_at is not null
      and size_bytes <> (select size_bytes from blob where blob.digest = ledger.digest)
  `.execute(tx)
  const missing = await sql`
    insert into ledger (organization_id, kind, digest, size_bytes, stored_at)
      select ${id}, 'blob', digest, size_bytes, null from (${expectedBlobs(id)}) as expected
      where is_stored = 0 and digest not in (select digest from ledger where organization_id = ${id} and kind = 'blob')
  `.execute(tx)
  await sql`
    update usage set charge_bytes =
      (select coalesce(sum(size_bytes), 0) from ledger where organization_id = ${id})
      where organization_id = ${id}
  `.execute(tx)
  const freed = superfluous.rows.filter((row) => row.stored_at !== null).map((row) => row.digest)
  const rows = [lost, sizes, missing].reduce((sum, { numAffectedRows }) => sum + count(numAffectedRows), 0)
  return { ...before, rows: rows + superfluous.rows.length + manifests, freed }
}

async function correctManifestRows(tx: Db, id: number, nowMs: number): Promise<number> {
  const superfluous = await sql`
    delete from ledger where organization_id = ${id} and kind = 'manifest' and not exists
      (select 1 from manifest where organization_id = ${id} and manifest.digest = ledger.digest
        and manifest.size_bytes = ledger.size_bytes)
  `.execute(tx)
  const missing = await sql`
    insert into ledger (organization_id, kind, digest, size_bytes, stored_at)
      select ${id}, 'manifest', digest, max(size_bytes), cast(${nowMs} as bigint) from manifest
      where organization_id = ${id}
        and digest not in (select digest from ledger where organization_id = ${id} and kind = 'manifest')
      group by digest
  `.execute(tx)
  return count(superfluous.numAffectedRows) + count(missing.numAffectedRows)
}

function count(rows: bigint | undefined): number {
  return Number(rows ?? 0n)
}
