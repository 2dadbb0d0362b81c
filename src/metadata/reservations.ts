/** Reservations: while one is open, missing blobs of its manifest hold their place in the ledger (DESIGN part 5). */
import { sql } from 'kysely'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'
import { dischargeItems, lockCharge } from './ledger.ts'

export type IdleReservation = { organizationId: number; manifestId: number; touchedAtMs: number }

/**
 * Hold the place of the manifest's missing blobs, which the caller has charged; one that is open is touched. Nothing
 * is opened when no blob is missing. Blobs with `urls` are not reserved. Under the lock of `lockUsage`.
 */
export async function openReservation(
  tx: Db,
  fields: { organizationId: number; manifestId: number; nowMs: number },
): Promise<void> {
  const { organizationId, manifestId, nowMs } = fields
  await sql`
    insert into reservation (manifest_id, organization_id, created_at, touched_at)
    select id, organization_id, cast(${nowMs} as bigint), cast(${nowMs} as bigint) from manifest
    where id = ${manifestId} and organization_id = ${organizationId} and ${hasMissing(sql.ref('manifest.id'))}
    on conflict (manifest_id) do update set touched_at =
      case when reservation.touched_at < excluded.touched_at then excluded.touched_at else reservation.touched_at end
  `.execute(tx)
}

/** A client or a job has received bytes of these blobs, which are being received for the organization. */
export async function touchReservations(
  tx: Db,
  organizationId: number,
  digests: readonly string[],
  nowMs: number,
): Promise<void> {
  for (const batch of inBatches([...new Set(digests)])) {
    await tx
      .updateTable('reservation')
      .set({ touched_at: nowMs })
      .where('organization_id', '=', organizationId)
      .where('touched_at', '<', nowMs)
      .where((eb) =>
        eb.exists(
          eb
            .selectFrom('manifest_blob')
            .select('manifest_blob.position')
            .whereRef('manifest_blob.manifest_id', '=', 'reservation.manifest_id')
            .where('manifest_blob.digest', 'in', batch),
        ),
      )
      .execute()
  }
}

/** Those of which nobody has received a byte since, the longest idle first. */
export async function listIdleReservations(db: Db, touchedBeforeMs: number, limit: number): Promise<IdleReservation[]> {
  const rows = await db
    .selectFrom('reservation')
    .selectAll()
    .where('touched_at', '<', touchedBeforeMs)
    .orderBy('touched_at')
    .limit(limit)
    .execute()
  return rows.map((row) => ({
    organizationId: row.organization_id,
    manifestId: row.manifest_id,
    touchedAtMs: row.touched_at,
  }))
}

/** Manifest ids of the organization's that were opened after that instant. */
export async function listYoungReservations(db: Db, organizationId: number, createdAfterMs: number): Promise<number[]> {
  const rows = await db
    .selectFrom('reservation')
    .select('manifest_id')
    .where('organization_id', '=', organizationId)
    .where('created_at', '>', createdAfterMs)
    .execute()
  return rows.map((row) => row.manifest_id)
}

/**
 * Release what these hold and no other open one; resolves to the freed bytes. With `touchedBeforeMs` only those that
 * are still idle. Takes the lock of `lockUsage`.
 */
export async function endReservations(
  tx: Db,
  organizationId: number,
  manifestIds: readonly number[],
  touchedBeforeMs?: number | undefined,
): Promise<number> {
  if (manifestIds.length === 0) return 0
  await lockCharge(tx, organizationId)
  let freedBytes = 0
  for (const batch of inBatches(manifestIds)) {
    const all = tx
      .deleteFrom('reservation')
      .where('organization_id', '=', organizationId)
      .where('manifest_id', 'in', batch)
      .returning('manifest_id')
    const ended = await (touchedBeforeMs === undefined ? all : all.where('touched_at', '<', touchedBeforeMs)).execute()
    if (ended.length === 0) continue
    const links = tx.selectFrom('manifest_blob').select('digest').distinct()
    const endedIds = ended.map((row) => row.manifest_id)
    const blobs = await links.where('manifest_id', 'in', endedIds).execute()
    freedBytes += await releaseReserved(
      tx,
      organizationId,
      blobs.map((row) => row.digest),
    )
  }
  return freedBytes
}

/** End those of all manifests that name the digest: the upstream has refused it for good. Resolves to their number. */
export async function endReservationsOf(tx: Db, organizationId: number, digest: string): Promise<number> {
  await lockCharge(tx, organizationId)
  const ids = await listReserving(tx, organizationId, digest)
  await endReservations(tx, organizationId, ids)
  return ids.length
}

/** End those whose last missing blob this digest was; resolves to their number. The charge does not move. */
export async function endFulfilledReservations(tx: Db, organizationId: number, digest: string): Promise<number> {
  const ids = await listReserving(tx, organizationId, digest)
  let ended = 0
  for (const batch of inBatches(ids)) {
    const result = await sql`
      delete from reservation
      where manifest_id in (${sql.join(batch)}) and not ${hasMissing(sql.ref('reservation.manifest_id'))}
    `.execute(tx)
    ended += Number(result.numAffectedRows ?? 0)
  }
  return ended
}

/**
 * Discharge those of the digests that are reserved, and by no open reservation's manifest; resolves to the freed bytes.
 * Under the lock of `lockUsage`.
 */
export async function releaseReserved(tx: Db, organizationId: number, digests: readonly string[]): Promise<number> {
  const free: string[] = []
  for (const batch of inBatches(digests)) {
    const { rows } = await sql<{ digest: string }>`
      select digest from ledger
      where organization_id = ${organizationId} and kind = 'blob' and stored_at is null
        and digest in (${sql.join(batch)})
        and not exists (
          select 1 from manifest_blob cross join reservation -- SQLite keeps this order.
          where reservation.manifest_id = manifest_blob.manifest_id and manifest_blob.has_urls = 0
            and manifest_blob.organization_id = ${organizationId} and manifest_blob.digest = ledger.digest
        )
    `.execute(tx)
    free.push(...rows.map((row) => row.digest))
  }
  return dischargeItems(tx, organizationId, 'blob', free)
}

async function listReserving(tx: Db, organizationId: number, digest: string): Promise<number[]> {
  const rows = await tx
    .selectFrom('manifest_blob')
    .innerJoin('reservation', 'reservation.manifest_id', 'manifest_blob.manifest_id')
    .select('reservation.manifest_id')
    .distinct()
    .where('manifest_blob.organization_id', '=', organizationId)
    .where('manifest_blob.digest', '=', digest)
    .execute()
  return rows.map((row) => row.manifest_id)
}

/** Whether the manifest names a blob, without `urls`, that is not stored for its organization. */
function hasMissing(manifestId: ReturnType<typeof sql.ref>) {
  return sql<boolean>`exists (
    select 1 from manifest_blob where manifest_blob.manifest_id = ${manifestId} and manifest_blob.has_urls = 0
      and not exists (
        select 1 from ledger where ledger.organization_id = manifest_blob.organization_id and ledger.kind = 'blob'
          and ledger.digest = manifest_blob.digest and ledger.stored_at is not null
      )
  )`
}
