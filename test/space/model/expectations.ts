/** What the design says that a request must come to, from the rows before it. Simple and slow on purpose. */
import { SECOND_MS } from '../../../src/base/units.ts'
import type { ModelImage } from './content.ts'
import type { Rows, Snapshot } from './place.ts'

type ManifestRow = Rows<'manifest'>[number]
export type Items = Map<string, number>

/** What is known of an organization without looking at its images. */
export type Policy = { organizationId: number; generation: number; limitBytes: number | undefined }

export function findRepositoryId(rows: Snapshot, policy: Policy, name: string): number | undefined {
  return rows.repository.find(
    (row) => row.organization_id === policy.organizationId && row.generation === policy.generation && row.name === name,
  )?.id
}

export function findManifestRow(rows: Snapshot, repositoryId: number | undefined, digest: string) {
  return rows.manifest.find((row) => row.repository_id === repositoryId && row.digest === digest)
}

export function findTagRow(rows: Snapshot, repositoryId: number | undefined, name: string) {
  return rows.tag.find((row) => row.repository_id === repositoryId && row.name === name && row.ended_at === null)
}

/** The manifest and everything of it and under it that is held. */
export function closure(rows: Snapshot, top: ManifestRow): ManifestRow[] {
  const found = new Map([[top.id, top]])
  for (const manifest of found.values()) {
    for (const child of rows.manifest_child.filter((row) => row.manifest_id === manifest.id)) {
      const held = findManifestRow(rows, manifest.repository_id, child.digest)
      if (held !== undefined) found.set(held.id, held)
    }
  }
  return [...found.values()]
}

/** The ledger's items of manifests. */
export function itemsOf(rows: Snapshot, manifests: readonly ManifestRow[]): Items {
  const items: Items = new Map()
  for (const manifest of manifests) {
    items.set(`manifest ${manifest.digest}`, manifest.size_bytes)
    for (const link of rows.manifest_blob.filter((row) => row.manifest_id === manifest.id)) {
      const isCharged = rows.ledger.some(
        (row) => row.organization_id === manifest.organization_id && row.kind === 'blob' && row.digest === link.digest,
      )
      if (isCharged) items.set(`blob ${link.digest}`, link.size_bytes)
    }
  }
  return items
}

function pinnedItems(rows: Snapshot, organizationId: number, movedManifestId?: number): Items {
  const pinned = rows.root.filter(
    (row) => row.organization_id === organizationId && row.is_pinned === 1 && row.manifest_id !== movedManifestId,
  )
  const tops = rows.manifest.filter((row) => pinned.some((root) => root.manifest_id === row.id))
  return itemsOf(
    rows,
    tops.flatMap((top) => closure(rows, top)),
  )
}

export function imageItems(image: ModelImage): Items {
  const items: Items = new Map(image.blobs.map((blob) => [`blob ${blob.digest}`, blob.size]))
  return items.set(`manifest ${image.digest}`, image.manifest.bytes.byteLength)
}

export function sum(items: Items): number {
  return [...items.values()].reduce((total, size) => total + size, 0)
}

/** It would not fit with everything unpinned gone. A pin follows its tag: what a moving tag named is free then. */
export function isTooLarge(
  rows: Snapshot,
  policy: Policy,
  image: ModelImage,
  moving?: { repositoryId: number | undefined; tag: string },
): boolean {
  const { organizationId, limitBytes } = policy
  if (limitBytes === undefined) return false
  const pinned = pinnedItems(rows, organizationId, moving && pinnedByTag(rows, moving))
  const needed = new Map([...imageItems(image)].filter(([key]) => !pinned.has(key)))
  return sum(needed) > Math.max(0, limitBytes - sum(pinned))
}

/** The manifest that nothing but this tag's pin pins. */
function pinnedByTag(
  rows: Snapshot,
  { repositoryId, tag }: { repositoryId: number | undefined; tag: string },
): number | undefined {
  const row = findTagRow(rows, repositoryId, tag)
  if (row === undefined) return undefined
  const names = rows.tag
    .filter((other) => other.repository_id === repositoryId && other.ended_at === null && other.digest === row.digest)
    .map((other) => other.name)
  const pins = rows.pin.filter(
    (pin) => pin.repository_id === repositoryId && (pin.reference === row.digest || names.includes(pin.reference)),
  )
  const isAlone = pins.length === 1 && pins[0]?.reference === tag
  return isAlone ? findManifestRow(rows, repositoryId, row.digest)?.id : undefined
}

/** All of it is charged already. */
function needsNothing(rows: Snapshot, organizationId: number, image: ModelImage): boolean {
  const charged = rows.ledger.filter((row) => row.organization_id === organizationId)
  const has = (kind: string, digest: string) => charged.some((row) => row.kind === kind && row.digest === digest)
  return has('manifest', image.digest) && image.blobs.every((blob) => has('blob', blob.digest))
}

/** Whether an image that is not too large may be passed through all the same: something in its way must stay. */
export function mayBeBlocked(
  rows: Snapshot,
  policy: Policy,
  asked: { repositoryId: number | undefined; image: ModelImage; nowMs: number; isReceiving: boolean },
): boolean {
  const { organizationId, limitBytes } = policy
  const { repositoryId, image, nowMs } = asked
  if (limitBytes === undefined) return false
  // Where the limit was set below what is pinned, nothing can be put in order.
  if (needsNothing(rows, organizationId, image) && sum(pinnedItems(rows, organizationId)) > limitBytes) return true
  const isYoung = (row: Rows<'reservation'>[number]) => row.created_at > nowMs - 10 * SECOND_MS
  if (asked.isReceiving || rows.reservation.some((row) => row.organization_id === organizationId && isYoung(row))) {
    return true
  }
  // The indexes that hold it are no candidates.
  const above = rows.manifest.filter((row) => row.repository_id === repositoryId && holds(rows, row, image.digest))
  const staying = new Map([...pinnedItems(rows, organizationId), ...imageItems(image)])
  for (const row of above) staying.set(`manifest ${row.digest}`, row.size_bytes)
  for (const [key, size] of itemsOf(rows, heldChildren(rows, repositoryId, image, above))) staying.set(key, size)
  return sum(staying) > limitBytes
}

/**
 * Of the image and the indexes above it, those that are not displaced: its own children, siblings that are roots
 * themselves, and what is beside the index that holds it.
 */
function heldChildren(
  rows: Snapshot,
  repositoryId: number | undefined,
  image: ModelImage,
  above: readonly ManifestRow[],
): ManifestRow[] {
  const roots = new Set(rows.root.map((row) => row.manifest_id))
  const own = image.children.flatMap((child) => findManifestRow(rows, repositoryId, child.digest) ?? [])
  const isChildOf = (manifest: ManifestRow, digest: string) =>
    rows.manifest_child.some((child) => child.manifest_id === manifest.id && child.digest === digest)
  const parents = above.filter((row) => isChildOf(row, image.digest))
  const isDisplaced = (row: ManifestRow) =>
    !roots.has(row.id) && parents.some((parent) => isChildOf(parent, row.digest))
  const below = above.flatMap((row) => closure(rows, row)).filter((row) => !above.includes(row))
  const beside = below.filter((row) => !isDisplaced(row))
  return [...own, ...beside].flatMap((row) => closure(rows, row))
}

export function holds(rows: Snapshot, manifest: ManifestRow, digest: string): boolean {
  return rows.manifest_child.some((child) => {
    if (child.manifest_id !== manifest.id) return false
    const below = findManifestRow(rows, manifest.repository_id, child.digest)
    return child.digest === digest || (below !== undefined && holds(rows, below, digest))
  })
}

/** Names of the current tags that name the digest, or an index that holds it. */
export function tagsAbove(rows: Snapshot, repositoryId: number, digest: string): Rows<'tag'> {
  return rows.tag.filter((tag) => {
    if (tag.repository_id !== repositoryId || tag.ended_at !== null) return false
    const manifest = findManifestRow(rows, repositoryId, tag.digest)
    return tag.digest === digest || (manifest !== undefined && holds(rows, manifest, digest))
  })
}

/** Whether the organization may have the blob's bytes in that repository without asking anybody. */
export function isHeldBlob(rows: Snapshot, policy: Policy, repositoryId: number | undefined, digest: string): boolean {
  const isNamed = rows.manifest_blob.some((row) => row.repository_id === repositoryId && row.digest === digest)
  return isNamed && findLedgerRow(rows, policy.organizationId, digest)?.stored_at != null
}

export function findLedgerRow(rows: Snapshot, organizationId: number, digest: string) {
  return rows.ledger.find(
    (row) => row.organization_id === organizationId && row.kind === 'blob' && row.digest === digest,
  )
}

/** Roots that neither a pin, an open reservation nor a client keeps from going. */
export function freeRoots(rows: Snapshot, organizationId: number, isBusy: (manifest: ManifestRow) => boolean) {
  const reserved = new Set(rows.reservation.map((row) => row.manifest_id))
  return rows.root.filter((root) => {
    const top = rows.manifest.find((row) => row.id === root.manifest_id)
    if (root.organization_id !== organizationId || root.is_pinned === 1 || top === undefined) return false
    return !closure(rows, top).some((row) => reserved.has(row.id) || isBusy(row))
  })
}
