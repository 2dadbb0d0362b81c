/** Stored bytes, which organization may have them, and which manifests name them. */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'
import { HotStatement } from './hot-statement.ts'
import { fromFlag } from './values.ts'

/** What is known of a digest in one repository. */
export type BlobLink = {
  /** Of the stored bytes; else what the manifest says. */
  sizeBytes: number
  /** A manifest of the repository names it. */
  isNamed: boolean
  /** The organization has a right to stored bytes. */
  isStored: boolean
  /** The manifest gives `urls` for it. */
  hasUrls: boolean
}

type BlobLinkRow = { stored_bytes: number | null; named_bytes: number | null; has_urls: number | null }

/** Scalar subqueries: with a join for the manifest's two columns SQLite takes four times as long. */
const blobLink = new HotStatement(
  'find_blob_link',
  (
    organizationId: number,
    stored: string,
    repositoryId: number,
    named: string,
    sameRepositoryId: number,
    sameNamed: string,
  ) => sql<BlobLinkRow>`
    select
      (select size_bytes from organization_blob
        where organization_id = ${organizationId} and digest = ${stored}) as stored_bytes,
      (select size_bytes from manifest_blob
        where repository_id = ${repositoryId} and digest = ${named} limit 1) as named_bytes,
      (select has_urls from manifest_blob
        where repository_id = ${sameRepositoryId} and digest = ${sameNamed} limit 1) as has_urls
  `,
)

/** Organizations that can be asked for a copy. */
const holdersMax = 1000
/** As many descriptors as one manifest may have. */
const missingMax = 10_000

/** One statement; undefined when the digest is neither named in the repository nor stored for the organization. */
export async function findBlobLink(
  db: Db,
  key: { organizationId: number; repositoryId: number; digest: string },
): Promise<BlobLink | undefined> {
  const { organizationId, repositoryId, digest } = key
  const row = await blobLink.runFirst(db, organizationId, digest, repositoryId, digest, repositoryId, digest)
  const sizeBytes = row?.stored_bytes ?? row?.named_bytes
  if (row === undefined || sizeBytes === undefined || sizeBytes === null) return undefined
  return {
    sizeBytes,
    isNamed: row.named_bytes !== null,
    isStored: row.stored_bytes !== null,
    hasUrls: fromFlag(row.has_urls ?? 0),
  }
}

/** Whether the store holds these bytes, for whomever. */
export async function findStoredBlob(db: Db, digest: string): Promise<{ sizeBytes: number } | undefined> {
  const row = await db.selectFrom('blob').select('size_bytes').where('digest', '=', digest).executeTakeFirst()
  return row && { sizeBytes: row.size_bytes }
}

/** The organizations that have a right to it. */
export async function listBlobHolders(db: Db, digest: string): Promise<{ organizationId: number }[]> {
  const rows = await db
    .selectFrom('organization_blob')
    .select('organization_id')
    .where('digest', '=', digest)
    .orderBy('organization_id')
    .limit(holdersMax)
    .execute()
  return rows.map((row) => ({ organizationId: row.organization_id }))
}

/** The store holds it (bytes-before-rows) and the organization may have it: it is no longer wanted. Idempotent. */
export async function publishBlob(
  tx: Db,
  fields: { organizationId: number; digest: string; sizeBytes: number; nowMs: number },
): Promise<void> {
  await tx
    .insertInto('blob')
    .values({ digest: fields.digest, size_bytes: fields.sizeBytes, stored_at: fields.nowMs })
    // Writing it locks the row, so that it cannot be forgotten before the next row points at it.
    .onConflict((conflict) => conflict.column('digest').doUpdateSet({ size_bytes: fields.sizeBytes }))
    .execute()
  await tx
    .insertInto('organization_blob')
    .columns(['organization_id', 'digest', 'size_bytes', 'stored_at'])
    .expression((eb) =>
      eb // Nothing is inserted for an organization that was deleted while the blob came in.
        .selectFrom('organization')
        .select([
          'organization.id',
          sql<string>`cast(${fields.digest} as text)`.as('digest'),
          sql<number>`cast(${fields.sizeBytes} as bigint)`.as('size_bytes'),
          sql<number>`cast(${fields.nowMs} as bigint)`.as('stored_at'),
        ])
        .where('organization.id', '=', fields.organizationId),
    )
    .onConflict((conflict) => conflict.columns(['organization_id', 'digest']).doNothing())
    .execute()
  await tx
    .deleteFrom('ingest')
    .where('organization_id', '=', fields.organizationId)
    .where('digest', '=', fields.digest)
    .execute()
}

/** Take from an organization its right to everything that is stored, and all that is wanted for it; bytes stay. */
export async function revokeBlobs(tx: Db, organizationId: number): Promise<void> {
  await tx.deleteFrom('organization_blob').where('organization_id', '=', organizationId).execute()
  await tx.deleteFrom('ingest').where('organization_id', '=', organizationId).execute()
}

/** The stored bytes are damaged or gone: nobody has them any more. Rows go before their bytes. */
export async function forgetBlob(tx: Db, digest: string): Promise<void> {
  // First the lock that a publisher also takes first. Without a row nobody has a right to it, or only just gets one.
  const locked = await tx
    .updateTable('blob')
    .set((eb) => ({ stored_at: eb.ref('stored_at') }))
    .where('digest', '=', digest)
    .executeTakeFirst()
  if (locked.numUpdatedRows === 0n) return
  await tx.deleteFrom('organization_blob').where('digest', '=', digest).execute()
  await tx.deleteFrom('blob').where('digest', '=', digest).execute()
}

/**
 * If the digest is a layer of manifests of the repository: all blobs of those manifests that are not stored for the
 * organization, without those that carry `urls`.
 */
export async function listMissingBlobsBeside(
  db: Db,
  key: { organizationId: number; repositoryId: number; layerDigest: string },
): Promise<{ digest: Digest; sizeBytes: number }[]> {
  const rows = await db
    .selectFrom('manifest_blob as layer')
    .innerJoin('manifest_blob as beside', 'beside.manifest_id', 'layer.manifest_id')
    .leftJoin('organization_blob as stored', (join) =>
      join.onRef('stored.digest', '=', 'beside.digest').on('stored.organization_id', '=', key.organizationId),
    )
    .select((eb) => ['beside.digest', eb.fn.max('beside.size_bytes').as('size_bytes')])
    .where('layer.repository_id', '=', key.repositoryId)
    .where('layer.digest', '=', key.layerDigest)
    .where('layer.kind', '=', 'layer')
    .where('beside.has_urls', '=', 0)
    .where('stored.digest', 'is', null)
    .groupBy('beside.digest')
    .limit(missingMax)
    .execute()
  return rows.map((row) => ({ digest: row.digest as Digest, sizeBytes: row.size_bytes }))
}
