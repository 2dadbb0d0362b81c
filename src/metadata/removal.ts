/** Images go: by eviction, collection, purge, deletion. One transaction, after which the charge is what it must be. */
import type { Digest } from '../oci/digest.ts'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'
import { lockCharge } from './ledger.ts'
import { loadTree, type TreeManifest } from './manifest-tree.ts'
import { releaseBlobs, releaseManifests } from './release.ts'

/** What went. After the commit: forget manifests, tags and blobs in memory, then unlink the garbage. */
export type Removal = {
  /** By which the charge fell. */
  freedBytes: number
  /** Open ones of what was removed. */
  reservations: number
  roots: RemovedRoot[]
  /** Whose rows are gone: of the roots, and of what was reachable from them alone. */
  manifests: { repositoryId: number; digest: Digest }[]
  /** Current tags that are none any more. */
  tags: { repositoryId: number; name: string }[]
  /** That the removed manifests named: what was remembered of them is no longer true. */
  blobs: Digest[]
  /** Nobody holds these bytes: unlink them now. */
  garbage: Digest[]
}

export type RemovedRoot = {
  manifestId: number
  repositoryId: number
  /** Without the organization. */
  repositoryName: string
  digest: Digest
  /** That named it or had named it, sorted. */
  tags: string[]
}

/**
 * Remove roots with all that is reachable from them alone: what is another root, or is held by a manifest that
 * remains, stays (a root that an index holds is then no root any more). All tags of a root go together: when
 * 'evicted' their rows end and stay as records, when 'collected' they are deleted. What is no root is passed over.
 * Takes the lock of `lockUsage`.
 */
export async function removeRoots(
  tx: Db,
  fields: {
    organizationId: number
    manifestIds: readonly number[]
    nowMs: number
    reason: 'evicted' | 'collected'
  },
): Promise<Removal> {
  const { organizationId, manifestIds, nowMs } = fields
  const removal = emptyRemoval()
  if (manifestIds.length === 0 || !(await lockCharge(tx, organizationId))) return removal
  const tree = await loadTree(tx, organizationId, manifestIds)
  const targets = manifestsOf(tree, manifestIds).filter((manifest) => manifest.isRoot)
  removal.roots = await describeRoots(tx, targets)
  for (const root of removal.roots) await removeTags(tx, root, fields, removal)
  await unmarkRoots(tx, targets)
  const going = listGoing(tree, targets, new Set())
  await deleteManifests(tx, { organizationId, nowMs }, going, removal)
  return removal
}

/**
 * Remove manifests that are no roots, though an index holds them (it then lacks them), with all that is reachable from
 * them alone. Roots are passed over. Takes the lock of `lockUsage`.
 */
export async function removeManifests(
  tx: Db,
  fields: { organizationId: number; manifestIds: readonly number[]; nowMs: number },
): Promise<Removal> {
  const { organizationId, manifestIds, nowMs } = fields
  const removal = emptyRemoval()
  if (manifestIds.length === 0 || !(await lockCharge(tx, organizationId))) return removal
  const tree = await loadTree(tx, organizationId, manifestIds)
  const targets = manifestsOf(tree, manifestIds).filter((manifest) => !manifest.isRoot)
  const going = listGoing(tree, targets, new Set(targets.map((manifest) => manifest.id)))
  await deleteManifests(tx, { organizationId, nowMs }, going, removal)
  return removal
}

function emptyRemoval(): Removal {
  return { freedBytes: 0, reservations: 0, roots: [], manifests: [], tags: [], blobs: [], garbage: [] }
}

function manifestsOf(tree: ReadonlyMap<number, TreeManifest>, ids: readonly number[]): TreeManifest[] {
  return [...new Set(ids)].flatMap((id) => tree.get(id) ?? [])
}

/**
 * The targets and what is reachable from them, without what remains: other roots, what a manifest holds that remains,
 * and what those hold. `forced` go though they are held.
 */
function listGoing(
  tree: ReadonlyMap<number, TreeManifest>,
  targets: readonly TreeManifest[],
  forced: ReadonlySet<number>,
): TreeManifest[] {
  const going = new Map(targets.map((manifest) => [manifest.id, manifest]))
  for (const manifest of going.values()) {
    for (const id of manifest.childIds) {
      const child = tree.get(id)
      if (child !== undefined) going.set(id, child)
    }
  }
  const isTarget = new Set(targets.map((manifest) => manifest.id))
  const remains = (manifest: TreeManifest) =>
    !forced.has(manifest.id) &&
    ((manifest.isRoot && !isTarget.has(manifest.id)) || manifest.parentIds.some((id) => !going.has(id)))
  const remaining = [...going.values()].filter(remains)
  for (const manifest of remaining) going.delete(manifest.id)
  for (const manifest of remaining) {
    for (const id of manifest.childIds) {
      const child = going.get(id)
      if (child === undefined || forced.has(id)) continue
      going.delete(id)
      remaining.push(child)
    }
  }
  return [...going.values()]
}

async function describeRoots(tx: Db, targets: readonly TreeManifest[]): Promise<RemovedRoot[]> {
  const names = new Map<number, string>()
  for (const batch of inBatches([...new Set(targets.map((manifest) => manifest.repositoryId))])) {
    const rows = await tx.selectFrom('repository').select(['id', 'name']).where('id', 'in', batch).execute()
    for (const row of rows) names.set(row.id, row.name)
  }
  return targets.map(({ id, repositoryId, digest }) => ({
    manifestId: id,
    repositoryId,
    repositoryName: names.get(repositoryId) ?? '',
    digest,
    tags: [],
  }))
}

async function removeTags(
  tx: Db,
  root: RemovedRoot,
  fields: { nowMs: number; reason: 'evicted' | 'collected' },
  removal: Removal,
): Promise<void> {
  const rows = await tx
    .selectFrom('tag')
    .select(['id', 'name', 'ended_at'])
    .where('repository_id', '=', root.repositoryId)
    .where('digest', '=', root.digest)
    .where('evicted_at', 'is', null)
    .execute()
  root.tags = [...new Set(rows.map((row) => row.name))].sort()
  const current = rows.filter((row) => row.ended_at === null)
  removal.tags.push(...current.map(({ name }) => ({ repositoryId: root.repositoryId, name })))
  for (const batch of inBatches(rows.map((row) => row.id))) {
    if (fields.reason === 'collected') {
      await tx.deleteFrom('tag').where('id', 'in', batch).execute()
      continue
    }
    await tx
      .updateTable('tag')
      .set((eb) => ({ evicted_at: fields.nowMs, ended_at: eb.fn.coalesce('ended_at', eb.val(fields.nowMs)) }))
      .where('id', 'in', batch)
      .execute()
  }
}

/** What makes them roots goes, also of those that stay because an index holds them. */
async function unmarkRoots(tx: Db, targets: readonly TreeManifest[]): Promise<void> {
  for (const { repositoryId, digest } of targets) {
    await tx
      .deleteFrom('pin')
      .where('repository_id', '=', repositoryId)
      .where('kind', '=', 'digest')
      .where('reference', '=', digest)
      .execute()
  }
  for (const batch of inBatches(targets.map((manifest) => manifest.id))) {
    await tx.deleteFrom('root').where('manifest_id', 'in', batch).execute()
    await tx
      .updateTable('manifest')
      .set({ is_by_digest: 0, expires_at: null })
      .where('id', 'in', batch)
      .where('is_by_digest', '=', 1)
      .execute()
  }
}

async function deleteManifests(
  tx: Db,
  fields: { organizationId: number; nowMs: number },
  going: readonly TreeManifest[],
  removal: Removal,
): Promise<void> {
  const blobs = new Set<string>()
  for (const batch of inBatches(going.map((manifest) => manifest.id))) {
    const links = tx.deleteFrom('manifest_blob').where('manifest_id', 'in', batch).returning('digest')
    for (const { digest } of await links.execute()) blobs.add(digest)
    await tx.deleteFrom('manifest_child').where('manifest_id', 'in', batch).execute()
    const ended = await tx.deleteFrom('reservation').where('manifest_id', 'in', batch).executeTakeFirst()
    removal.reservations += Number(ended.numDeletedRows)
    await tx.deleteFrom('manifest').where('id', 'in', batch).execute()
  }
  const digests = going.map((manifest) => manifest.digest)
  const manifestBytes = await releaseManifests(tx, fields.organizationId, digests)
  const { freedBytes, garbage } = await releaseBlobs(tx, fields.organizationId, [...blobs], fields.nowMs)
  removal.freedBytes = manifestBytes + freedBytes
  removal.manifests = going.map(({ repositoryId, digest }) => ({ repositoryId, digest }))
  removal.blobs = [...blobs] as Digest[]
  removal.garbage = garbage
}
