/** Pins: what never expires and is never evicted or collected, and how many bytes that is. */
import { type RawBuilder, sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import { MANIFEST_LIMITS } from '../oci/manifest.ts'
import type { Db } from './db.ts'
import type { LedgerItem } from './ledger.ts'

/** A tag, whatever it names, or a digest. */
export type PinTarget = { repositoryId: number; kind: 'tag' | 'digest'; reference: string }

/** False when it is pinned already. */
export async function insertPin(tx: Db, pin: PinTarget & { organizationId: number; nowMs: number }): Promise<boolean> {
  const row = await tx
    .insertInto('pin')
    .values({
      organization_id: pin.organizationId,
      repository_id: pin.repositoryId,
      kind: pin.kind,
      reference: pin.reference,
      created_at: pin.nowMs,
    })
    .onConflict((conflict) => conflict.columns(['repository_id', 'kind', 'reference']).doNothing())
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** False when it was not pinned. */
export async function deletePin(tx: Db, pin: PinTarget): Promise<boolean> {
  const result = await tx
    .deleteFrom('pin')
    .where('repository_id', '=', pin.repositoryId)
    .where('kind', '=', pin.kind)
    .where('reference', '=', pin.reference)
    .executeTakeFirst()
  return result.numDeletedRows > 0n
}

export async function isPinned(db: Db, pin: PinTarget): Promise<boolean> {
  const row = await db
    .selectFrom('pin')
    .select('id')
    .where('repository_id', '=', pin.repositoryId)
    .where('kind', '=', pin.kind)
    .where('reference', '=', pin.reference)
    .executeTakeFirst()
  return row !== undefined
}

/** For `where`: the tag of the row of `tag` is pinned by its name. */
export function tagIsPinned(): RawBuilder<boolean> {
  return sql<boolean>`exists (
    select 1 from pin
    where pin.repository_id = tag.repository_id and pin.kind = 'tag' and pin.reference = tag.name
  )`
}

/** An image as it is held: the manifest, the manifests that it holds, and what they name. */
export type ImageContent = {
  /** What it is charged for; foreign layers are not. */
  items: LedgerItem[]
  /** Blobs that are not stored, and the manifest that names each. */
  missing: { manifestId: number; digest: Digest; sizeBytes: number }[]
}

/** Of manifests that are held; what an index names and nobody has asked for yet is no part of it. */
export async function findImageContent(db: Db, manifestId: number): Promise<ImageContent> {
  const { rows } = await sql<ItemRow & { manifest_id: number; stored_at: number | null }>`
    with recursive reached(id, repository_id, level) as (${reachedFrom(sql`manifest.id = ${manifestId}`)}),
    image(id) as (select distinct id from reached)
    select 'manifest' as kind, manifest.digest, manifest.size_bytes, manifest.id as manifest_id,
      manifest.created_at as stored_at
    from image join manifest on manifest.id = image.id
    union all
    select 'blob' as kind, manifest_blob.digest, coalesce(ledger.size_bytes, manifest_blob.size_bytes) as size_bytes,
      manifest_blob.manifest_id, ledger.stored_at
    from image join manifest_blob on manifest_blob.manifest_id = image.id
      left join ledger on ledger.organization_id = manifest_blob.organization_id and ledger.kind = 'blob'
        and ledger.digest = manifest_blob.digest
    where manifest_blob.has_urls = 0
  `.execute(db)
  const items = rows.map((row) => ({ kind: row.kind, digest: row.digest as Digest, sizeBytes: row.size_bytes }))
  const missing = rows.filter((row) => row.kind === 'blob' && row.stored_at === null)
  return {
    items,
    missing: missing.map((row) => ({
      manifestId: row.manifest_id,
      digest: row.digest as Digest,
      sizeBytes: row.size_bytes,
    })),
  }
}

type ItemRow = { kind: 'blob' | 'manifest'; digest: string; size_bytes: number }

/** The bytes of all that is pinned, each digest once, and of one manifest more with what it holds. */
export async function sumPinnedBytes(db: Db, organizationId: number, manifestId: number): Promise<number> {
  const roots = sql`manifest.id = ${manifestId} or manifest.id in (
    select manifest_id from root where organization_id = ${organizationId} and is_pinned = 1
  )`
  const { rows } = await sql<{ bytes: number }>`
    with recursive reached(id, repository_id, level) as (${reachedFrom(roots)}),
    image(id) as (select distinct id from reached),
    item(kind, digest, size_bytes) as (
      select 'manifest', manifest.digest, max(manifest.size_bytes)
      from image join manifest on manifest.id = image.id group by manifest.digest
      union all
      select 'blob', manifest_blob.digest, max(coalesce(ledger.size_bytes, manifest_blob.size_bytes))
      from image join manifest_blob on manifest_blob.manifest_id = image.id
        left join ledger on ledger.organization_id = manifest_blob.organization_id and ledger.kind = 'blob'
          and ledger.digest = manifest_blob.digest
      where manifest_blob.has_urls = 0 group by manifest_blob.digest
    )
    select coalesce(sum(size_bytes), 0) as bytes from item
  `.execute(db)
  return Number(rows[0]?.bytes ?? 0)
}

function reachedFrom(roots: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    select manifest.id, manifest.repository_id, 0 from manifest where ${roots}
    union
    select child.id, child.repository_id, reached.level + 1
    from reached
      join manifest_child on manifest_child.manifest_id = reached.id
      join manifest as child
        on child.repository_id = reached.repository_id and child.digest = manifest_child.digest
    where reached.level < ${sql.lit(MANIFEST_LIMITS.depthMax)}
  `
}
