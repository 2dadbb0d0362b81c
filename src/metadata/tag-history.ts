/** Tags as people look at them: what is there now and what was, and images that have no tag. */
import { type RawBuilder, sql } from 'kysely'
import { type Digest, parseDigest } from '../oci/digest.ts'
import { MANIFEST_LIMITS } from '../oci/manifest.ts'
import { DOCKER_LIST, OCI_INDEX } from '../oci/media-type.ts'
import type { Db } from './db.ts'
import { fromFlag } from './values.ts'

export type TagFilter = { kind: 'like' | 'eq'; text: string }

export type ImageFacts = {
  mediaType: string
  isIndex: boolean
  /** Of its config and layers, each digest once; undefined for an index. */
  sizeBytes: number | undefined
  lastUsedAtMs: number
  /** Blobs of it, or of manifests it holds, that are not stored (foreign layers aside). */
  isIncomplete: boolean
  /** Of an index. */
  childCount: number
  presentChildCount: number
  /** Whether each child is held; of a long index the first ones only. */
  children: { digest: Digest; isPresent: boolean }[]
}

export type TagSpan = {
  name: string
  digest: Digest
  startedAtMs: number
  /** When it moved, was deleted, or expired or will; undefined is for ever. */
  endsAtMs: number | undefined
  /** It is the current row of the tag and has not expired. */
  isAlive: boolean
  isRestored: boolean
  isPinned: boolean
  /** Its image was evicted or collected: a record only. */
  isEvicted: boolean
  lastUsedAtMs: number
  /** Undefined when its manifest is not held any more. */
  image: ImageFacts | undefined
}

export type UntaggedImage = {
  digest: Digest
  createdAtMs: number
  expiresAtMs: number | undefined
  isPinned: boolean
  image: ImageFacts
}

export type Page<Entry> = { entries: Entry[]; hasMore: boolean }

/** Children that are listed in one page; an index of a hostile upstream has 10,000. */
const childrenMax = 20_000

type TagRow = {
  name: string
  digest: string
  started_at: number
  ended_at: number | null
  expires_at: number | null
  is_restored: number
  evicted_at: number | null
  last_used_at: number
  is_pinned: number
}

/** Spans of tags, the latest first, then by name (Quay's order). `page` counts from 1. */
export async function listTagHistory(
  db: Db,
  repositoryId: number,
  query: {
    specificTag?: string | undefined
    filter?: TagFilter | undefined
    onlyActiveTags: boolean
    page: number
    limit: number
    nowMs: number
  },
): Promise<Page<TagSpan>> {
  const { nowMs, limit } = query
  const conditions: RawBuilder<unknown>[] = [sql`tag.repository_id = ${repositoryId}`]
  if (query.specificTag !== undefined) conditions.push(sql`tag.name = ${query.specificTag}`)
  if (query.filter !== undefined) conditions.push(filterCondition(query.filter))
  if (query.onlyActiveTags) {
    conditions.push(sql`tag.ended_at is null and (tag.expires_at is null or tag.expires_at > ${nowMs})`)
  }
  const { rows } = await sql<TagRow>`
    select tag.name, tag.digest, tag.started_at, tag.ended_at, tag.expires_at, tag.is_restored, tag.evicted_at,
      tag.last_used_at,
      case when exists (${pinOf(sql.ref('tag.repository_id'), sql.ref('tag.digest'), sql.ref('tag.name'))})
        then 1 else 0 end as is_pinned
    from tag where ${sql.join(conditions, sql` and `)}
    order by tag.started_at desc, tag.name, tag.id desc
    limit ${limit + 1} offset ${(query.page - 1) * limit}
  `.execute(db)
  const shown = rows.slice(0, limit)
  const images = await findImages(
    db,
    repositoryId,
    shown.map((row) => row.digest),
  )
  return {
    entries: shown.map((row) => toSpan(row, images.get(row.digest), nowMs)),
    hasMore: rows.length > limit,
  }
}

/** Images that were asked for by digest and that no live tag, and no live index, holds; the latest used first. */
export async function listUntaggedImages(
  db: Db,
  repositoryId: number,
  query: { page: number; limit: number; nowMs: number },
): Promise<Page<UntaggedImage>> {
  const { nowMs, limit } = query
  const alive = (table: string) => {
    const expiresAt = sql.ref(`${table}.expires_at`)
    return sql`(${expiresAt} is null or ${expiresAt} > ${nowMs})`
  }
  const { rows } = await sql<{ digest: string; created_at: number; expires_at: number | null; is_pinned: number }>`
    select manifest.digest, manifest.created_at, root.expires_at, root.is_pinned
    from manifest join root on root.manifest_id = manifest.id
    where manifest.repository_id = ${repositoryId} and manifest.is_by_digest = 1
      and not exists (
        select 1 from tag where tag.repository_id = manifest.repository_id and tag.digest = manifest.digest
          and tag.ended_at is null and ${alive('tag')}
      )
      and not exists (
        with recursive holder(digest, level) as (
          select manifest.digest, 0
          union
          select above.digest, holder.level + 1
          from holder
            join manifest_child on manifest_child.digest = holder.digest
            join manifest as above on above.id = manifest_child.manifest_id
          where above.repository_id = ${repositoryId} and holder.level < ${sql.lit(MANIFEST_LIMITS.depthMax)}
        )
        select 1 from holder
          join manifest as held on held.repository_id = ${repositoryId} and held.digest = holder.digest
          join root as above_root on above_root.manifest_id = held.id
        where holder.level > 0 and ${alive('above_root')}
      )
    order by root.last_used_at desc, manifest.digest
    limit ${limit + 1} offset ${(query.page - 1) * limit}
  `.execute(db)
  const shown = rows.slice(0, limit)
  const images = await findImages(
    db,
    repositoryId,
    shown.map((row) => row.digest),
  )
  const entries = shown.flatMap((row) => {
    const image = images.get(row.digest)
    if (image === undefined) return []
    return {
      digest: row.digest as Digest,
      createdAtMs: row.created_at,
      expiresAtMs: row.expires_at ?? undefined,
      isPinned: fromFlag(row.is_pinned),
      image,
    }
  })
  return { entries, hasMore: rows.length > limit }
}

/** `like`: a part of the name, whatever its case (Quay). */
function filterCondition({ kind, text }: TagFilter): RawBuilder<unknown> {
  if (kind === 'eq') return sql`tag.name = ${text}`
  const pattern = `%${text.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
  return sql`lower(tag.name) like ${pattern} escape '\\'`
}

function pinOf(
  repositoryId: RawBuilder<unknown>,
  digest: RawBuilder<unknown>,
  name: RawBuilder<unknown>,
): RawBuilder<unknown> {
  return sql`
    select 1 from pin where pin.repository_id = ${repositoryId} and (
      (pin.kind = 'digest' and pin.reference = ${digest})
      or (pin.kind = 'tag' and pin.reference = ${name} and tag.ended_at is null)
    )
  `
}

type ManifestRow = {
  id: number
  digest: string
  media_type: string
  last_used_at: number
  size_bytes: number
  missing: number
}

/** By digest; those that are held. */
async function findImages(db: Db, repositoryId: number, digests: readonly string[]): Promise<Map<string, ImageFacts>> {
  const wanted = [...new Set(digests)]
  if (wanted.length === 0) return new Map()
  const { rows } = await sql<ManifestRow>`
    select manifest.id, manifest.digest, manifest.media_type, manifest.last_used_at,
      (select coalesce(sum(size_bytes), 0) from (
        select digest, max(size_bytes) as size_bytes from manifest_blob
        where manifest_blob.manifest_id = manifest.id group by digest
      ) as blob_of_it) as size_bytes,
      case when exists (${missingBlobs(sql`manifest_blob.manifest_id = manifest.id`)})
        or exists (${missingBlobs(sql`manifest_blob.manifest_id in (
          select child.id from manifest_child
            join manifest as child on child.repository_id = manifest.repository_id
              and child.digest = manifest_child.digest
          where manifest_child.manifest_id = manifest.id
        )`)})
        then 1 else 0 end as missing
    from manifest where manifest.repository_id = ${repositoryId} and manifest.digest in (${sql.join(wanted)})
  `.execute(db)
  const children = await findChildren(db, repositoryId, rows)
  return new Map(rows.map((row) => [row.digest, toImage(row, children.get(row.id) ?? [])]))
}

function missingBlobs(condition: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    select 1 from manifest_blob
    where ${condition} and manifest_blob.has_urls = 0 and not exists (
      select 1 from ledger
      where ledger.organization_id = manifest_blob.organization_id and ledger.kind = 'blob'
        and ledger.digest = manifest_blob.digest and ledger.stored_at is not null
    )
  `
}

type ChildRow = { manifest_id: number; digest: string; present: number }

async function findChildren(
  db: Db,
  repositoryId: number,
  manifests: readonly ManifestRow[],
): Promise<Map<number, ChildRow[]>> {
  const indexes = manifests.filter((row) => isIndexMediaType(row.media_type)).map((row) => row.id)
  if (indexes.length === 0) return new Map()
  const { rows } = await sql<ChildRow>`
    select manifest_child.manifest_id, manifest_child.digest, case when child.id is null then 0 else 1 end as present
    from manifest_child left join manifest as child
      on child.repository_id = ${repositoryId} and child.digest = manifest_child.digest
    where manifest_child.manifest_id in (${sql.join(indexes)})
    order by manifest_child.manifest_id, manifest_child.position
    limit ${childrenMax}
  `.execute(db)
  return Map.groupBy(rows, (row) => row.manifest_id)
}

function isIndexMediaType(mediaType: string): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_LIST
}

function toImage(row: ManifestRow, children: readonly ChildRow[]): ImageFacts {
  const isIndex = isIndexMediaType(row.media_type)
  return {
    mediaType: row.media_type,
    isIndex,
    sizeBytes: isIndex ? undefined : Number(row.size_bytes),
    lastUsedAtMs: row.last_used_at,
    isIncomplete: fromFlag(row.missing),
    childCount: children.length,
    presentChildCount: children.filter((child) => fromFlag(child.present)).length,
    children: children.flatMap((child) => {
      const digest = parseDigest(child.digest)
      return digest === undefined ? [] : { digest, isPresent: fromFlag(child.present) }
    }),
  }
}

function toSpan(row: TagRow, image: ImageFacts | undefined, nowMs: number): TagSpan {
  const endsAtMs = row.ended_at ?? row.expires_at ?? undefined
  return {
    name: row.name,
    digest: row.digest as Digest,
    startedAtMs: row.started_at,
    endsAtMs,
    isAlive: row.ended_at === null && (endsAtMs === undefined || endsAtMs > nowMs),
    isRestored: fromFlag(row.is_restored),
    isPinned: fromFlag(row.is_pinned),
    isEvicted: row.evicted_at !== null,
    lastUsedAtMs: row.last_used_at,
    image,
  }
}
