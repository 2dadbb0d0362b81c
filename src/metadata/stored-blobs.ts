/** The rows of stored bytes as a whole, page by page: what a verification of the store compares with its files. */
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'
import { transact } from './transaction.ts'

export type StoredBlobRow = { digest: Digest; sizeBytes: number }

/** Repositories of all organizations that are told to name one blob. */
const namingMax = 1000

export async function countStoredBlobs(db: Db): Promise<{ blobs: number; bytes: number }> {
  const row = await db
    .selectFrom('blob')
    .select((eb) => [eb.fn.countAll<number>().as('blobs'), eb.fn.sum<number | null>('size_bytes').as('bytes')])
    .executeTakeFirstOrThrow()
  return { blobs: Number(row.blobs), bytes: Number(row.bytes ?? 0) }
}

/** In the order of their digests, after one. */
export async function listStoredBlobs(db: Db, after: string, limit: number): Promise<StoredBlobRow[]> {
  const rows = await db
    .selectFrom('blob')
    .select(['digest', 'size_bytes'])
    .where('digest', '>', after)
    .orderBy('digest')
    .limit(limit)
    .execute()
  return rows.map((row) => ({ digest: row.digest as Digest, sizeBytes: row.size_bytes }))
}

/** Those of the digests that no row says are stored, and none says are to be removed. */
export async function listUnknownBlobs(db: Db, digests: readonly Digest[]): Promise<Digest[]> {
  if (digests.length === 0) return []
  return transact(db, async (tx) => {
    const stored = await tx.selectFrom('blob').select('digest').where('digest', 'in', digests).execute()
    const garbage = await tx.selectFrom('garbage').select('digest').where('digest', 'in', digests).execute()
    const known = new Set([...stored, ...garbage].map((row) => row.digest))
    return digests.filter((digest) => !known.has(digest))
  })
}

/** Who has a right to the bytes, and in which of their repositories a manifest names them. */
export async function listNamingHolders(
  db: Db,
  digest: Digest,
): Promise<{ organizationId: number; organizationName: string; repositoryIds: number[] }[]> {
  const rows = await db
    .selectFrom('ledger')
    .innerJoin('organization', 'organization.id', 'ledger.organization_id')
    .innerJoin('manifest_blob', (join) =>
      join
        .onRef('manifest_blob.organization_id', '=', 'ledger.organization_id')
        .onRef('manifest_blob.digest', '=', 'ledger.digest'),
    )
    .select(['ledger.organization_id', 'organization.name', 'manifest_blob.repository_id'])
    .distinct()
    .where('ledger.kind', '=', 'blob')
    .where('ledger.digest', '=', digest)
    .where('ledger.stored_at', 'is not', null)
    .where('organization.deleted_at', 'is', null)
    .orderBy('ledger.organization_id')
    .orderBy('manifest_blob.repository_id')
    .limit(namingMax)
    .execute()
  const holders = new Map<number, { organizationId: number; organizationName: string; repositoryIds: number[] }>()
  for (const row of rows) {
    const { organization_id: organizationId, name: organizationName } = row
    const holder = holders.get(organizationId) ?? { organizationId, organizationName, repositoryIds: [] }
    holder.repositoryIds.push(row.repository_id)
    holders.set(organizationId, holder)
  }
  return [...holders.values()]
}
