/** What a manifest's rows held: taken off them, off the ledger, and off the store's rows when nobody else holds it. */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import { inBatches } from './batches.ts'
import { abandonBlobs } from './blobs.ts'
import type { Db } from './db.ts'
import { dischargeItems } from './ledger.ts'
import { releaseReserved } from './reservations.ts'

export type Release = { freedBytes: number; garbage: Digest[] }

/**
 * Links to these blobs have been deleted: discharge those that no manifest of the organization names any more, or that
 * are only reserved and by no open reservation; they are wanted no longer. Bytes that the organization does not hold
 * and nobody else does become garbage. Under the lock of `lockUsage`.
 */
export async function releaseBlobs(
  tx: Db,
  organizationId: number,
  digests: readonly string[],
  nowMs: number,
): Promise<Release> {
  const sorted = [...new Set(digests)].sort()
  let freedBytes = await releaseReserved(tx, organizationId, sorted)
  const gone: string[] = []
  for (const batch of inBatches(sorted)) {
    const { rows: named } = await sql<{ digest: string; stored_at: number | null }>`
      select digest, stored_at from ledger
      where organization_id = ${organizationId} and kind = 'blob' and digest in (${sql.join(batch)})
        and exists (
          select 1 from manifest_blob
          where manifest_blob.organization_id = ${organizationId} and manifest_blob.digest = ledger.digest
        )
    `.execute(tx)
    const kept = new Set(named.map((row) => row.digest))
    const unnamed = batch.filter((digest) => !kept.has(digest))
    freedBytes += await dischargeItems(tx, organizationId, 'blob', unnamed)
    const stored = new Set(named.filter((row) => row.stored_at !== null).map((row) => row.digest))
    gone.push(...batch.filter((digest) => !stored.has(digest)))
    await forgetWanted(tx, organizationId, unnamed)
  }
  return { freedBytes, garbage: await abandonBlobs(tx, gone, nowMs) }
}

/** Rows of these manifests have been deleted: discharge those that the organization has nowhere else. */
export async function releaseManifests(tx: Db, organizationId: number, digests: readonly string[]): Promise<number> {
  let freedBytes = 0
  for (const batch of inBatches([...new Set(digests)].sort())) {
    const rows = await tx
      .selectFrom('manifest')
      .select('digest')
      .distinct()
      .where('organization_id', '=', organizationId)
      .where('digest', 'in', batch)
      .execute()
    const kept = new Set(rows.map((row) => row.digest))
    const gone = batch.filter((digest) => !kept.has(digest))
    freedBytes += await dischargeItems(tx, organizationId, 'manifest', gone)
  }
  return freedBytes
}

/** Not those that a manifest names and that were only released: a client may want them again, the job does. */
async function forgetWanted(tx: Db, organizationId: number, digests: readonly string[]): Promise<void> {
  if (digests.length === 0) return
  await sql`
    delete from ingest where organization_id = ${organizationId} and digest in (${sql.join(digests)})
      and not exists (
        select 1 from manifest_blob
        where manifest_blob.organization_id = ${organizationId} and manifest_blob.digest = ingest.digest
      )
  `.execute(tx)
}
