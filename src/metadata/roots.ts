/** Roots, the unit of eviction: derived from tags, by-digest marks and pins; and in which order they may go. */
import { type RawBuilder, sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'
import { fromNull } from './values.ts'

export type EvictionCandidate = {
  manifestId: number
  organizationId: number
  repositoryId: number
  /** Without the organization. */
  repositoryName: string
  digest: Digest
  lastUsedAtMs: number
  /** Undefined is for ever. */
  expiresAtMs: number | undefined
}

export type EvictionQuery = {
  /** Undefined: over all organizations. */
  organizationId: number | undefined
  nowMs: number
  /** Only in the Time Machine, the longest expired first; or not expired, the least recently used first. */
  phase: 'kept' | 'alive'
  /** The last root of the page before. */
  after?: Pick<EvictionCandidate, 'manifestId' | 'lastUsedAtMs' | 'expiresAtMs'> | undefined
  limit: number
}

/**
 * Derive the roots of these manifests anew, in the transaction that changed what they are derived from. They are
 * locked first, so that of two such transactions the later one sees what the other wrote.
 */
export async function refreshRoots(tx: Db, manifestIds: readonly number[]): Promise<void> {
  const sorted = [...new Set(manifestIds)].sort((left, right) => left - right)
  for (const batch of inBatches(sorted)) {
    const ids = sql.join(batch)
    await sql`
      insert into root (manifest_id, organization_id, repository_id, last_used_at, expires_at, is_pinned)
      select id, organization_id, repository_id, last_used_at, null, 0 from manifest
      where id in (${ids}) and ${isRoot} order by id
      on conflict (manifest_id) do update set last_used_at = root.last_used_at
    `.execute(tx)
    await tx.deleteFrom('root').where('manifest_id', 'in', batch).where(sql<boolean>`not ${isRootOfManifest}`).execute()
    await sql`
      update root set
        last_used_at = (${lastUse}),
        is_pinned = (${pinned}),
        expires_at = case when (${pinned}) = 1 or ${isForEver} then null else (${expiry}) end
      where manifest_id in (${ids})
    `.execute(tx)
  }
}

/** The same, for the stored ones of these digests of one repository. */
export async function refreshRootsOf(tx: Db, repositoryId: number, digests: readonly string[]): Promise<void> {
  const ids: number[] = []
  for (const batch of inBatches([...new Set(digests)])) {
    const rows = await tx
      .selectFrom('manifest')
      .select('id')
      .where('repository_id', '=', repositoryId)
      .where('digest', 'in', batch)
      .execute()
    ids.push(...rows.map((row) => row.id))
  }
  await refreshRoots(tx, ids)
}

/** Whether one of the manifests is a root that has not expired by then. */
export async function hasLiveRoot(db: Db, manifestIds: readonly number[], nowMs: number): Promise<boolean> {
  for (const batch of inBatches(manifestIds)) {
    const row = await db
      .selectFrom('root')
      .select('manifest_id')
      .where('manifest_id', 'in', batch)
      .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', nowMs)]))
      .limit(1)
      .executeTakeFirst()
    if (row !== undefined) return true
  }
  return false
}

/** What may be evicted, in the order of DESIGN part 5, Admission. Pinned roots are no candidates. */
export async function listEvictionCandidates(db: Db, query: EvictionQuery): Promise<EvictionCandidate[]> {
  const { organizationId, nowMs, after } = query
  const column = query.phase === 'kept' ? 'expires_at' : 'last_used_at'
  // The plus keeps SQLite from sorting what two indexes of expiry give.
  const isAlive = sql`(+expires_at is null or +expires_at > ${nowMs}) and is_pinned = 0`
  const conditions: RawBuilder<unknown>[] = [query.phase === 'kept' ? sql`expires_at <= ${nowMs}` : isAlive]
  if (organizationId !== undefined) conditions.push(sql`organization_id = ${organizationId}`)
  if (after !== undefined) {
    const atMs = query.phase === 'kept' ? (after.expiresAtMs ?? 0) : after.lastUsedAtMs
    conditions.push(sql`(${sql.ref(column)}, manifest_id) > (${atMs}, ${after.manifestId})`)
  }
  return listRoots(db, conditions, column, query.limit)
}

/** Manifest ids of those of the organization that expired by then and are not pinned, the longest expired first. */
export async function listExpiredRoots(
  db: Db,
  query: { organizationId: number; endedBeforeMs: number; limit: number },
): Promise<number[]> {
  const rows = await db
    .selectFrom('root')
    .select('manifest_id')
    .where('organization_id', '=', query.organizationId)
    .where('expires_at', '<=', query.endedBeforeMs)
    .where('is_pinned', '=', 0)
    .orderBy('expires_at')
    .orderBy('manifest_id')
    .limit(query.limit)
    .execute()
  return rows.map((row) => row.manifest_id)
}

/** Manifest ids. */
export async function listPinnedRoots(db: Db, organizationId: number): Promise<number[]> {
  const rows = await db
    .selectFrom('root')
    .select('manifest_id')
    .where('organization_id', '=', organizationId)
    .where('is_pinned', '=', sql.lit(1))
    .orderBy('manifest_id')
    .execute()
  return rows.map((row) => row.manifest_id)
}

type RootRow = {
  manifest_id: number
  organization_id: number
  repository_id: number
  repository_name: string
  digest: string
  last_used_at: number
  expires_at: number | null
}

/** The order is that of an index, and names are looked up for the page alone. */
async function listRoots(
  db: Db,
  conditions: readonly RawBuilder<unknown>[],
  column: 'expires_at' | 'last_used_at',
  limit: number,
): Promise<EvictionCandidate[]> {
  const { rows } = await sql<RootRow>`
    select root.manifest_id, root.organization_id, root.repository_id, repository.name as repository_name,
      manifest.digest, root.last_used_at, root.expires_at
    from (
      select manifest_id from root where ${sql.join(conditions, sql` and `)}
      order by ${sql.ref(column)}, manifest_id limit ${limit}
    ) as page cross join root cross join manifest cross join repository -- SQLite keeps this order.
    where root.manifest_id = page.manifest_id and manifest.id = root.manifest_id and repository.id = root.repository_id
    order by root.${sql.ref(column)}, root.manifest_id
  `.execute(db)
  return rows.map((row) => ({
    manifestId: row.manifest_id,
    organizationId: row.organization_id,
    repositoryId: row.repository_id,
    repositoryName: row.repository_name,
    digest: row.digest as Digest,
    lastUsedAtMs: row.last_used_at,
    expiresAtMs: fromNull(row.expires_at),
  }))
}

/** Of the row of `manifest`: a tag points or pointed at it, it was asked for by digest, or its digest is pinned. */
const isRoot = sql<boolean>`(
  manifest.is_by_digest = 1
  or exists (select 1 from tag where tag.repository_id = manifest.repository_id and tag.digest = manifest.digest
    and tag.evicted_at is null)
  or exists (select 1 from pin where pin.repository_id = manifest.repository_id and pin.kind = 'digest'
    and pin.reference = manifest.digest)
)`

const isRootOfManifest = sql<boolean>`exists (select 1 from manifest where manifest.id = root.manifest_id and ${isRoot})`

/** Of the row of `root`: the tag rows that make it one. */
const tags = sql`manifest join tag on tag.repository_id = manifest.repository_id and tag.digest = manifest.digest
  where manifest.id = root.manifest_id and tag.evicted_at is null`

const lastUse = sql`
  select max(used_at) from (
    select last_used_at as used_at from manifest where manifest.id = root.manifest_id
    union all select max(tag.last_used_at) from ${tags}
  ) as uses`

const pinned = sql`
  select max(case when
    exists (select 1 from pin where pin.repository_id = manifest.repository_id and pin.kind = 'digest'
      and pin.reference = manifest.digest)
    or exists (
      select 1 from tag join pin on pin.repository_id = tag.repository_id and pin.kind = 'tag'
        and pin.reference = tag.name
      where tag.repository_id = manifest.repository_id and tag.digest = manifest.digest and tag.ended_at is null
    ) then 1 else 0 end)
  from manifest where manifest.id = root.manifest_id`

/** A current tag has no expiry, or neither has the by-digest image. */
const isForEver = sql`(
  exists (select 1 from manifest where manifest.id = root.manifest_id and is_by_digest = 1 and expires_at is null)
  or exists (select 1 from ${tags} and tag.ended_at is null and tag.expires_at is null)
)`

const expiry = sql`
  select max(ends_at) from (
    select manifest.expires_at as ends_at from manifest
      where manifest.id = root.manifest_id and manifest.is_by_digest = 1
    union all select max(coalesce(tag.ended_at, tag.expires_at)) from ${tags}
  ) as ends`
