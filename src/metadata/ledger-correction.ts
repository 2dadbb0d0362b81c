/**
 * Ledger, charge and roots put right from what they are about: manifests, stored bytes that a manifest names, what open
 * reservations wait for, tags and pins. It finds nothing to do unless there is a mistake, or somebody changed rows.
 */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import { abandonBlobs } from './blobs.ts'
import type { Db } from './db.ts'
import { lockUsage, type Recount, recountUsage } from './ledger.ts'
import { refreshRoots } from './roots.ts'

export type LedgerCorrection = {
  before: Recount
  /** Rows of the ledger that were added, deleted or changed. */
  rows: number
  /** Whose bytes nobody has a right to any more; their rows of garbage are there. */
  garbage: Digest[]
}

/**
 * Set the ledger and the charge to what `recountUsage` counts; undefined when the organization is gone. A blob whose
 * row is gone stays charged only if an open reservation waits for it; one that is not charged is admitted when it is
 * asked for. Idempotent.
 */
export async function correctLedger(
  tx: Db,
  fields: { organizationId: number; nowMs: number },
): Promise<LedgerCorrection | undefined> {
  const { organizationId: id, nowMs } = fields
  if ((await lockUsage(tx, id)) === undefined) return undefined
  const before = await recountUsage(tx, id)
  const manifests = await correctManifests(tx, id, nowMs)
  const lost = await sql`
    update ledger set stored_at = null where organization_id = ${id} and kind = 'blob' and stored_at is not null
      and not exists (select 1 from blob where blob.digest = ledger.digest)
  `.execute(tx)
  const superfluous = await sql<{ digest: Digest }>`
    delete from ledger where organization_id = ${id} and kind = 'blob' and case when stored_at is null
      then not exists (${awaiting(id)})
      else not exists (select 1 from manifest_blob where organization_id = ${id} and digest = ledger.digest) end
    returning digest
  `.execute(tx)
  const sizes = await sql`
    update ledger set size_bytes = (select size_bytes from blob where blob.digest = ledger.digest)
      where organization_id = ${id} and kind = 'blob' and stored_at is not null
      and size_bytes <> (select size_bytes from blob where blob.digest = ledger.digest)
  `.execute(tx)
  await sql`
    update usage set charge_bytes =
      (select coalesce(sum(size_bytes), 0) from ledger where organization_id = ${id})
      where organization_id = ${id}
  `.execute(tx)
  const garbage = await abandonBlobs(tx, superfluous.rows.map(digestOf), nowMs)
  const changed = manifests + rowsOf(lost) + superfluous.rows.length + rowsOf(sizes)
  return { before, rows: changed, garbage }
}

/** An open reservation waits for the digest of the row of `ledger`. */
function awaiting(id: number) {
  return sql`
    select 1 from reservation join manifest_blob on manifest_blob.manifest_id = reservation.manifest_id
      where reservation.organization_id = ${id} and manifest_blob.digest = ledger.digest and manifest_blob.has_urls = 0`
}

async function correctManifests(tx: Db, id: number, nowMs: number): Promise<number> {
  const superfluous = await sql`
    delete from ledger where organization_id = ${id} and kind = 'manifest' and not exists
      (select 1 from manifest where organization_id = ${id} and manifest.digest = ledger.digest
        and manifest.size_bytes = ledger.size_bytes)
  `.execute(tx)
  const missing = await sql`
    insert into ledger (organization_id, kind, digest, size_bytes, stored_at)
      select ${id}, 'manifest', digest, max(size_bytes), cast(${nowMs} as bigint) from manifest
      where organization_id = ${id}
        and not exists (select 1 from ledger where organization_id = ${id} and kind = 'manifest'
          and ledger.digest = manifest.digest)
      group by digest
  `.execute(tx)
  return rowsOf(superfluous) + rowsOf(missing)
}

/** Derive a page of roots anew; `wrong` were not what they are now. `last` is undefined after the last page. */
export async function correctRoots(
  tx: Db,
  page: { organizationId: number; afterManifestId: number; limit: number },
): Promise<{ wrong: number; last: number | undefined }> {
  await lockUsage(tx, page.organizationId)
  const manifests = await tx
    .selectFrom('manifest')
    .select('id')
    .where('organization_id', '=', page.organizationId)
    .where('id', '>', page.afterManifestId)
    .orderBy('id')
    .limit(page.limit)
    .execute()
  const ids = manifests.map((row) => row.id)
  if (ids.length === 0) return { wrong: 0, last: undefined }
  const before = await readRoots(tx, ids)
  await refreshRoots(tx, ids)
  const after = await readRoots(tx, ids)
  return { wrong: ids.filter((id) => before.get(id) !== after.get(id)).length, last: ids.at(-1) }
}

async function readRoots(tx: Db, manifestIds: readonly number[]): Promise<Map<number, string>> {
  const rows = await tx.selectFrom('root').selectAll().where('manifest_id', 'in', manifestIds).execute()
  return new Map(
    rows.map((row) => [row.manifest_id, JSON.stringify([row.last_used_at, row.expires_at, row.is_pinned])]),
  )
}

function digestOf({ digest }: { digest: Digest }): Digest {
  return digest
}

function rowsOf({ numAffectedRows }: { numAffectedRows?: bigint }): number {
  return Number(numAffectedRows ?? 0n)
}
