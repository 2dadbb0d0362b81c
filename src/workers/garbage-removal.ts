/** Bytes that no row points at are unlinked, also those that a crash left between the commit and the unlink. */
import { listGarbage } from '../metadata/blobs.ts'
import type { Metadata } from '../metadata/open.ts'
import type { BlobShelf } from '../registry/blob-shelf.ts'

export const GARBAGE_LIMITS = {
  blobsPerStep: 50,
  /** Files that cannot be removed; then it is left to the next run. */
  failedMax: 1000,
} as const

export type GarbageDeps = { metadata: Metadata; shelf: Pick<BlobShelf, 'collect'> }

/** Resolves to the number of blobs removed; those that cannot be removed wait for the next run. */
export async function removeGarbageBytes(deps: GarbageDeps, pause: () => Promise<void>): Promise<number> {
  const tried = new Set<string>()
  let removed = 0
  while (tried.size < GARBAGE_LIMITS.failedMax) {
    const garbage = await listGarbage(deps.metadata.db, GARBAGE_LIMITS.blobsPerStep + tried.size)
    const digests = garbage.map((blob) => blob.digest).filter((digest) => !tried.has(digest))
    if (digests.length === 0) break
    const gone = new Set(await deps.shelf.collect(digests))
    for (const digest of digests) if (!gone.has(digest)) tried.add(digest)
    removed += gone.size
    await pause()
  }
  return removed
}
