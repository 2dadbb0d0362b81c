/** Eviction as it is done: rows in the caller's transaction, what is remembered and the bytes after it. */
import { addLogEntry } from '../metadata/log-entries.ts'
import { addNotification } from '../metadata/notifications.ts'
import type { Db } from '../metadata/open.ts'
import { type Removal, removeManifests, removeRoots } from '../metadata/removal.ts'
import type { BlobShelf } from './blob-shelf.ts'
import type { EvictionPlan } from './eviction-plan.ts'
import type { ManifestMemory } from './manifest-memory.ts'

/** Why something had to go: for an image or blob that was asked for or pinned, a lowered limit, or the whole store. */
export type EvictionReason =
  | { kind: 'admission'; repository: string; reference: string }
  | { kind: 'limit_lowered' }
  | { kind: 'pin' }
  | { kind: 'store_full' }

export type EvictionDeps = {
  memory: ManifestMemory
  shelf: Pick<BlobShelf, 'forget' | 'collect'>
  /** One eviction is done; for metrics and the log. */
  onEvicted: (removal: Removal, reason: EvictionReason) => void
}

/** Carry out a plan in the transaction that holds the lock, with a log entry for each root and one notification. */
export async function carryOutEviction(
  tx: Db,
  eviction: { organizationId: number; plan: EvictionPlan; reason: EvictionReason; nowMs: number },
): Promise<Removal[]> {
  const { organizationId, plan, reason, nowMs } = eviction
  const removals: Removal[] = []
  for (const { manifestId } of plan.roots) {
    // One by one, so that the log says what each has freed.
    const removal = await removeRoots(tx, { organizationId, manifestIds: [manifestId], nowMs, reason: 'evicted' })
    removals.push(removal)
    await logEviction(tx, { organizationId, nowMs, reason }, removal)
  }
  if (plan.siblings.length > 0) {
    const manifestIds = plan.siblings.map((sibling) => sibling.manifestId)
    const removal = await removeManifests(tx, { organizationId, manifestIds, nowMs })
    removals.push(removal)
    await logEviction(tx, { organizationId, nowMs, reason }, removal)
  }
  const freedBytes = removals.reduce((sum, removal) => sum + removal.freedBytes, 0)
  const metadata = { images: plan.roots.length + plan.siblings.length, freed_bytes: freedBytes, reason: { ...reason } }
  if (removals.length > 0) await addNotification(tx, { organizationId, kind: 'image_evicted', nowMs, metadata })
  return removals
}

async function logEviction(
  tx: Db,
  about: { organizationId: number; nowMs: number; reason: EvictionReason },
  removal: Removal,
): Promise<void> {
  const { organizationId, nowMs, reason } = about
  const metadata = {
    images: removal.roots.map(({ repositoryName, digest, tags }) => ({ repository: repositoryName, digest, tags })),
    manifests: removal.manifests.map(({ digest }) => digest),
    freed_bytes: removal.freedBytes,
    reason: { ...reason },
  }
  await addLogEntry(tx, { organizationId, kind: 'evict_image', nowMs, metadata })
}

/** After the commit: forget what was remembered of it, and remove the bytes at once. Never throws. */
export async function forgetRemoved(
  deps: Pick<EvictionDeps, 'memory' | 'shelf'>,
  removals: readonly Removal[],
): Promise<void> {
  for (const removal of removals) {
    for (const { repositoryId, digest } of removal.manifests) deps.memory.forgetManifest(repositoryId, digest)
    for (const { repositoryId, name } of removal.tags) deps.memory.forgetTag(repositoryId, name)
    for (const digest of removal.blobs) deps.shelf.forget(digest)
  }
  await deps.shelf.collect(removals.flatMap((removal) => removal.garbage))
}
