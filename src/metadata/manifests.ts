/** Manifests, what they hold, and what holds them. */
import { type RawBuilder, type Selectable, sql } from 'kysely'
import { MiB } from '../base/units.ts'
import type { Digest } from '../oci/digest.ts'
import { MANIFEST_LIMITS, type ParsedManifest } from '../oci/manifest.ts'
import type { Manifest } from '../oci/registry.ts'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'
import { laterExpiry, laterInstant } from './expiry.ts'
import { HotStatement } from './hot-statement.ts'
import { chargeItems, lockUsage } from './ledger.ts'
import { refreshRoots } from './roots.ts'
import type { ManifestTable } from './schema.ts'
import { fromFlag, fromNull, toFlag, toNull } from './values.ts'

export type StoredManifest = {
  id: number
  repositoryId: number
  digest: Digest
  mediaType: string
  bytes: Buffer
  sizeBytes: number
  artifactType: string | undefined
  subjectDigest: Digest | undefined
  /** 1, or one more than the deepest index that was known to hold it. */
  depth: number
  createdAtMs: number
  lastUsedAtMs: number
  /** Asked for by digest when no index or tag of the repository held it. */
  isByDigest: boolean
  /** Of a by-digest image; undefined is for ever. */
  expiresAtMs: number | undefined
}

/** The organization, or the generation of it to which the repository belongs, is gone: nothing is charged to it. */
export class OrganizationGoneError extends Error {
  override readonly name = 'OrganizationGoneError'
}

export type Holders = {
  /** Every index above it, at any depth. */
  manifestIds: number[]
  /** Current tags that name the digest or one of those indexes; undefined `expiresAtMs` is for ever. */
  tags: { id: number; name: string; expiresAtMs: number | undefined }[]
  /** The ids of `tags`. */
}

/** More holders than this share a use only in part; an ordinary manifest has a few. */
const holdersMax = 10_000

/** Signatures are a few KiB each; a hostile repository must not fill the memory. */
const referrersMax = 1000
const referrersBytesMax = 32 * MiB

const manifestByDigest = new HotStatement(
  'find_manifest',
  (repositoryId: number, digest: string) => sql<Selectable<ManifestTable>>`
    select * from manifest where repository_id = ${repositoryId} and digest = ${digest}
  `,
)

export async function findManifest(db: Db, repositoryId: number, digest: string): Promise<StoredManifest | undefined> {
  const row = await manifestByDigest.runFirst(db, repositoryId, digest)
  return row && toStoredManifest(row)
}

/**
 * Store a manifest with its children and blobs, in a transaction. Idempotent, also of several at once: a manifest that
 * is there keeps its bytes, and takes on `isByDigest` and the later expiry.
 * `depth` is one more than that of the deepest index that holds it; the caller throws when it is more than it allows.
 * It is charged for itself, not for its blobs, and its root is derived anew. Takes the lock of `lockUsage`.
 * Errors: OrganizationGoneError.
 */
export async function storeManifest(
  tx: Db,
  fields: {
    repositoryId: number
    manifest: Manifest
    parsed: ParsedManifest
    nowMs: number
    isByDigest: boolean
    /** Of a by-digest image; undefined is for ever. */
    expiresAtMs: number | undefined
  },
): Promise<{ id: number; depth: number }> {
  const { repositoryId, manifest, parsed, nowMs } = fields
  const organizationId = await lockOrganizationOf(tx, repositoryId)
  const depth = 1 + (await depthOfHolders(tx, repositoryId, manifest.descriptor.digest))
  const inserted = await tx
    .insertInto('manifest')
    .values({
      organization_id: organizationId,
      repository_id: repositoryId,
      digest: manifest.descriptor.digest,
      media_type: manifest.descriptor.mediaType,
      bytes: manifest.bytes,
      size_bytes: manifest.bytes.byteLength,
      artifact_type: toNull(parsed.artifactType),
      subject_digest: toNull(parsed.subject),
      depth,
      created_at: nowMs,
      last_used_at: nowMs,
      is_by_digest: toFlag(fields.isByDigest),
      expires_at: fields.isByDigest ? toNull(fields.expiresAtMs) : null,
    })
    .onConflict((conflict) => conflict.columns(['repository_id', 'digest']).doNothing())
    .returning('id')
    .executeTakeFirst()
  if (inserted === undefined) {
    const touched = await touchStored(tx, fields, depth)
    await refreshRoots(tx, [touched.id])
    return touched
  }
  const item = { kind: 'manifest', digest: manifest.descriptor.digest, sizeBytes: manifest.bytes.byteLength } as const
  await chargeItems(tx, organizationId, [item], nowMs)
  await insertChildren(tx, inserted.id, parsed)
  await insertBlobs(
    tx,
    { manifest_id: inserted.id, repository_id: repositoryId, organization_id: organizationId },
    parsed,
  )
  await refreshRoots(tx, [inserted.id])
  return { id: inserted.id, depth }
}

/** Manifests of the repository whose subject is `subjectDigest`, the oldest first, within a bound of bytes. */
export async function listReferrersOf(db: Db, repositoryId: number, subjectDigest: string): Promise<StoredManifest[]> {
  const sizes = await db
    .selectFrom('manifest')
    .select(['id', 'size_bytes'])
    .where('repository_id', '=', repositoryId)
    .where('subject_digest', '=', subjectDigest)
    .orderBy('id')
    .limit(referrersMax)
    .execute()
  const ids: number[] = []
  let bytes = 0
  for (const row of sizes) {
    bytes += row.size_bytes
    if (bytes > referrersBytesMax) break
    ids.push(row.id)
  }
  if (ids.length === 0) return []
  const rows = await db.selectFrom('manifest').selectAll().where('id', 'in', ids).orderBy('id').execute()
  return rows.map(toStoredManifest)
}

/** One statement. Expired tags are current until they are collected. */
export async function findHolders(db: Db, repositoryId: number, digest: string): Promise<Holders> {
  const { rows } = await sql<HolderRow>`
    with recursive holder(id, digest, level) as (${holders(repositoryId, digest)})
    select 'manifest' as kind, id, '' as name, cast(null as bigint) as expires_at from holder
    union
    select 'tag' as kind, tag.id, tag.name, tag.expires_at from tag
    where tag.repository_id = ${repositoryId} and tag.ended_at is null
      and tag.digest in (select ${digest} union select digest from holder)
    limit ${holdersMax}
  `.execute(db)
  const tags = rows.filter((row) => row.kind === 'tag')
  return {
    manifestIds: rows.filter((row) => row.kind === 'manifest').map((row) => row.id),
    tags: tags.map(({ id, name, expires_at }) => ({ id, name, expiresAtMs: expires_at ?? undefined })),
  }
}

type HolderRow = { kind: 'manifest' | 'tag'; id: number; name: string; expires_at: number | null }

/** Whether a current tag names the manifest, or a stored index of the repository holds it. */
export async function isHeld(db: Db, repositoryId: number, digest: string): Promise<boolean> {
  const { rows } = await sql`
    select 1 as held where
      exists (
        select 1 from tag where repository_id = ${repositoryId} and digest = ${digest} and ended_at is null
      ) or exists (
        select 1 from manifest_child join manifest on manifest.id = manifest_child.manifest_id
        where manifest_child.digest = ${digest} and manifest.repository_id = ${repositoryId}
      )
  `.execute(db)
  return rows.length > 0
}

function holders(repositoryId: number, digest: string): RawBuilder<unknown> {
  return sql`
    select manifest.id, manifest.digest, 1
    from manifest_child join manifest on manifest.id = manifest_child.manifest_id
    where manifest_child.digest = ${digest} and manifest.repository_id = ${repositoryId}
    union
    select manifest.id, manifest.digest, holder.level + 1
    from holder
      join manifest_child on manifest_child.digest = holder.digest
      join manifest on manifest.id = manifest_child.manifest_id
    where manifest.repository_id = ${repositoryId} and holder.level < ${sql.lit(MANIFEST_LIMITS.depthMax)}
  `
}

async function lockOrganizationOf(tx: Db, repositoryId: number): Promise<number> {
  const row = await tx
    .selectFrom('repository')
    .select(['organization_id', 'generation'])
    .where('id', '=', repositoryId)
    .executeTakeFirst()
  const usage = row && (await lockUsage(tx, row.organization_id))
  if (usage?.generation === row?.generation && row !== undefined) return row.organization_id
  throw new OrganizationGoneError(
    `cannot store in repository ${repositoryId}: its organization or upstream has changed`,
  )
}

/** How many blobs, without those that carry `urls`, each manifest lacks; only those that lack some. */
export async function countMissingBlobs(db: Db, manifestIds: readonly number[]): Promise<Map<number, number>> {
  const counts = new Map<number, number>()
  for (const batch of inBatches(manifestIds)) {
    const { rows } = await sql<{ manifest_id: number; missing: number }>`
      select manifest_id, count(distinct digest) as missing from manifest_blob
      where manifest_id in (${sql.join(batch)}) and has_urls = 0
        and not exists (
          select 1 from ledger where ledger.organization_id = manifest_blob.organization_id and ledger.kind = 'blob'
            and ledger.digest = manifest_blob.digest and ledger.stored_at is not null
        )
      group by manifest_id
    `.execute(db)
    for (const row of rows) counts.set(row.manifest_id, row.missing)
  }
  return counts
}

async function depthOfHolders(tx: Db, repositoryId: number, digest: string): Promise<number> {
  const row = await tx
    .selectFrom('manifest_child')
    .innerJoin('manifest', 'manifest.id', 'manifest_child.manifest_id')
    .select((eb) => eb.fn.max('manifest.depth').as('depth'))
    .where('manifest_child.digest', '=', digest)
    .where('manifest.repository_id', '=', repositoryId)
    .executeTakeFirst()
  return row?.depth ?? 0
}

async function touchStored(
  tx: Db,
  fields: {
    repositoryId: number
    manifest: Manifest
    nowMs: number
    isByDigest: boolean
    expiresAtMs: number | undefined
  },
  depth: number,
): Promise<{ id: number; depth: number }> {
  // Until now it lived by a tag or an index, so that it had no expiry of its own; or it did, and the later one holds.
  const byDigestExpiry = sql<number | null>`
    case when is_by_digest = 0 then cast(${toNull(fields.expiresAtMs)} as bigint)
    else ${laterExpiry(fields.expiresAtMs)} end
  `
  return tx
    .updateTable('manifest')
    .set((eb) => ({
      last_used_at: laterInstant('last_used_at', fields.nowMs),
      depth: eb.case().when('depth', '<', depth).then(depth).else(eb.ref('depth')).end(),
      is_by_digest: toFlag(fields.isByDigest),
      expires_at: fields.isByDigest ? byDigestExpiry : null,
    }))
    .where('repository_id', '=', fields.repositoryId)
    .where('digest', '=', fields.manifest.descriptor.digest)
    .returning(['id', 'depth'])
    .executeTakeFirstOrThrow()
}

async function insertChildren(tx: Db, manifestId: number, parsed: ParsedManifest): Promise<void> {
  const rows = parsed.children.map((child, position) => ({
    manifest_id: manifestId,
    position,
    digest: child.digest,
    media_type: child.mediaType,
    size_bytes: child.size,
    platform: child.platform === undefined ? null : JSON.stringify(child.platform),
  }))
  for (const batch of inBatches(rows)) await tx.insertInto('manifest_child').values(batch).execute()
}

async function insertBlobs(
  tx: Db,
  owner: { manifest_id: number; repository_id: number; organization_id: number },
  parsed: ParsedManifest,
): Promise<void> {
  const rows = parsed.blobs.map((blob, position) => ({
    ...owner,
    position,
    digest: blob.digest,
    media_type: blob.mediaType,
    size_bytes: blob.size,
    kind: blob.kind,
    has_urls: toFlag(blob.hasUrls),
  }))
  for (const batch of inBatches(rows)) await tx.insertInto('manifest_blob').values(batch).execute()
}

function toStoredManifest(row: Selectable<ManifestTable>): StoredManifest {
  return {
    id: row.id,
    repositoryId: row.repository_id,
    digest: row.digest as Digest,
    mediaType: row.media_type,
    bytes: row.bytes,
    sizeBytes: row.size_bytes,
    artifactType: fromNull(row.artifact_type),
    subjectDigest: fromNull(row.subject_digest) as Digest | undefined,
    depth: row.depth,
    createdAtMs: row.created_at,
    lastUsedAtMs: row.last_used_at,
    isByDigest: fromFlag(row.is_by_digest),
    expiresAtMs: fromNull(row.expires_at),
  }
}
