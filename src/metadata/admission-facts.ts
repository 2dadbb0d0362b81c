/** What an admission asks besides the ledger. */
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'

/** What the ledger has of a blob. */
export async function findLedgerBlob(
  db: Db,
  organizationId: number,
  digest: string,
): Promise<{ sizeBytes: number; isStored: boolean } | undefined> {
  const row = await db
    .selectFrom('ledger')
    .select(['size_bytes', 'stored_at'])
    .where('organization_id', '=', organizationId)
    .where('kind', '=', 'blob')
    .where('digest', '=', digest)
    .executeTakeFirst()
  return row && { sizeBytes: row.size_bytes, isStored: row.stored_at !== null }
}

export type NamingManifest = { manifestId: number; repositoryId: number; digest: Digest; sizeBytes: number }

/** The manifest of one of the repositories that names the blob, the last used of several; `sizeBytes` is the blob's. */
export async function findNamingManifest(
  db: Db,
  repositoryIds: readonly number[],
  blobDigest: string,
): Promise<NamingManifest | undefined> {
  if (repositoryIds.length === 0) return undefined
  const row = await db
    .selectFrom('manifest_blob')
    .innerJoin('manifest', 'manifest.id', 'manifest_blob.manifest_id')
    .select(['manifest.id', 'manifest.repository_id', 'manifest.digest', 'manifest_blob.size_bytes'])
    .where('manifest_blob.repository_id', 'in', repositoryIds)
    .where('manifest_blob.digest', '=', blobDigest)
    .orderBy('manifest.last_used_at', 'desc')
    .limit(1)
    .executeTakeFirst()
  return (
    row && {
      manifestId: row.id,
      repositoryId: row.repository_id,
      digest: row.digest as Digest,
      sizeBytes: row.size_bytes,
    }
  )
}
