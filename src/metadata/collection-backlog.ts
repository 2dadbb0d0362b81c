/** What waits to be collected, found by index: a question costs what the garbage costs, not the store. */
import { sql } from 'kysely'
import type { Db } from './db.ts'
import { lockUsage } from './ledger.ts'
import { refreshRoots } from './roots.ts'

/** What ended or expired at `endedBeforeMs` or before is kept no longer: its Time Machine window has passed. */
export type ExpiredBacklog = { organizationId: number; endedBeforeMs: number }

/** Organizations with roots that have been expired for longer than their Time Machine's window. */
export async function listOrganizationsWithExpired(db: Db, nowMs: number): Promise<ExpiredBacklog[]> {
  const { rows } = await sql<{ id: number; ended_before: number }>`
    select id, ${nowMs} - tag_expiration_s * 1000 as ended_before from organization
    where deleted_at is null and exists (
      select 1 from root where root.organization_id = organization.id
        and root.expires_at <= ${nowMs} - organization.tag_expiration_s * 1000
    )
    order by id
  `.execute(db)
  return rows.map((row) => ({ organizationId: row.id, endedBeforeMs: Number(row.ended_before) }))
}

/** Organizations with tag rows that ended longer ago than their Time Machine's window. */
export async function listOrganizationsWithOldHistory(db: Db, nowMs: number): Promise<ExpiredBacklog[]> {
  const { rows } = await sql<{ id: number; ended_before: number }>`
    select id, ${nowMs} - tag_expiration_s * 1000 as ended_before from organization
    where deleted_at is null and exists (
      select 1 from tag where tag.organization_id = organization.id and tag.ended_at is not null
        and tag.ended_at <= ${nowMs} - organization.tag_expiration_s * 1000
    )
    order by id
  `.execute(db)
  return rows.map((row) => ({ organizationId: row.id, endedBeforeMs: Number(row.ended_before) }))
}

/**
 * Delete up to `limit` tag rows that ended before `endedBeforeMs`: records of what was evicted, and those whose root
 * lives on without them. The others go with their root. Resolves to the number of rows.
 */
export async function removeOldHistory(tx: Db, backlog: ExpiredBacklog & { limit: number }): Promise<number> {
  const { organizationId, endedBeforeMs } = backlog
  if ((await lockUsage(tx, organizationId)) === undefined) return 0
  const rows = await tx
    .selectFrom('tag')
    .leftJoin('manifest', (join) =>
      join.onRef('manifest.repository_id', '=', 'tag.repository_id').onRef('manifest.digest', '=', 'tag.digest'),
    )
    .leftJoin('root', 'root.manifest_id', 'manifest.id')
    .select(['tag.id', 'manifest.id as manifest_id'])
    .where('tag.organization_id', '=', organizationId)
    .where('tag.ended_at', 'is not', null)
    .where('tag.ended_at', '<=', endedBeforeMs)
    .where((eb) =>
      eb.or([
        eb('tag.evicted_at', 'is not', null),
        eb('manifest.id', 'is', null),
        eb.and([eb('root.manifest_id', 'is not', null), eb('root.expires_at', 'is', null)]),
        eb('root.expires_at', '>', endedBeforeMs),
      ]),
    )
    .orderBy('tag.ended_at')
    .limit(backlog.limit)
    .execute()
  if (rows.length === 0) return 0
  const ids = rows.map((row) => row.id)
  await tx.deleteFrom('tag').where('id', 'in', ids).execute()
  const manifestIds = rows.flatMap((row) => (row.manifest_id === null ? [] : [row.manifest_id]))
  await refreshRoots(tx, [...new Set(manifestIds)])
  return rows.length
}

/** Manifests of which something is still expected. */
export async function listReservedManifests(tx: Db, organizationId: number): Promise<number[]> {
  const query = tx.selectFrom('reservation').select('manifest_id').where('organization_id', '=', organizationId)
  return (await query.execute()).map((row) => row.manifest_id)
}

/** Organizations that are charged for more than they may be: their limit was lowered. */
export async function listOrganizationsOverLimit(db: Db, systemRejectBytes: number | undefined): Promise<number[]> {
  const system = systemRejectBytes !== undefined && systemRejectBytes > 0 ? systemRejectBytes : Number.MAX_SAFE_INTEGER
  const { rows } = await sql<{ organization_id: number }>`
    select usage.organization_id from usage
    join organization on organization.id = usage.organization_id
    left join quota on quota.organization_id = usage.organization_id
    where organization.deleted_at is null and usage.charge_bytes > coalesce(
      quota.limit_bytes * coalesce(
        (select min(percent) from quota_limit where quota_limit.quota_id = quota.id and type = 'Reject'), 100
      ) / 100,
      ${system}
    )
    order by usage.organization_id
  `.execute(db)
  return rows.map((row) => row.organization_id)
}

/** For metrics: expired roots that wait to be collected, counted up to `max`; bytes of garbage; open reservations. */
export async function countBacklog(
  db: Db,
  nowMs: number,
  max: number,
): Promise<{ expiredRoots: number; garbageBytes: number; openReservations: number }> {
  const { rows } = await sql<{ roots: number; bytes: number; reservations: number }>`
    select
      (select count(*) from (
        select 1 from organization join root on root.organization_id = organization.id
        where organization.deleted_at is null and root.expires_at <= ${nowMs} - organization.tag_expiration_s * 1000
        limit ${max}
      ) as expired) as roots,
      (select coalesce(sum(size_bytes), 0) from garbage) as bytes,
      (select count(*) from reservation) as reservations
  `.execute(db)
  const [row] = rows
  return {
    expiredRoots: Number(row?.roots ?? 0),
    garbageBytes: Number(row?.bytes ?? 0),
    openReservations: Number(row?.reservations ?? 0),
  }
}
