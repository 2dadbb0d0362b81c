/** What an admission must have evicted, planned again in the plainest way (DESIGN part 5, Admission). */
import assert from 'node:assert/strict'
import { SECOND_MS } from '../../../src/base/units.ts'
import type { ModelImage } from './content.ts'
import { closure, findManifestRow, holds, imageItems, itemsOf, type Policy, sum } from './expectations.ts'
import type { Rows, Snapshot } from './place.ts'

type ManifestRow = Rows<'manifest'>[number]
type Candidate = { manifest: ManifestRow; lastUsedAt: number; expiresAt: number | null }

export type Admitted = {
  policy: Policy
  repositoryId: number | undefined
  image: ModelImage
  nowMs: number
  /** Rows of tags that were used since uses were last written, and when. */
  uses: ReadonlyMap<number, number>
}

/** The roots that went for an image that was kept are those of the plan: in order, and no more than were needed. */
export function checkEviction(before: Snapshot, after: Snapshot, admitted: Admitted): void {
  const { policy, nowMs } = admitted
  const { limitBytes = Number.POSITIVE_INFINITY } = policy
  const candidates = listCandidates(before, after, admitted)
  const fits = (gone: readonly Candidate[]) => chargeWithout(before, admitted, gone) <= limitBytes
  const taken: Candidate[] = []
  for (const candidate of inOrder(candidates, nowMs)) {
    if (fits(taken)) break
    taken.push(candidate)
  }
  if (!fits(taken)) return // Platforms of an index went too.
  const needed = [...taken]
  for (const candidate of taken.toReversed()) {
    const without = needed.filter((other) => other !== candidate)
    if (fits(without)) needed.splice(0, needed.length, ...without)
  }
  const roots = new Set(after.root.map((row) => row.manifest_id))
  const gone = candidates.filter(({ manifest }) => !roots.has(manifest.id))
  const digests = (list: readonly Candidate[]) => list.map(({ manifest }) => manifest.digest).sort()
  assert.deepEqual(digests(gone), digests(needed), 'other images were evicted than had to be')
}

/** Kept before alive, the longest expired first; then the least recently used. */
function inOrder(candidates: readonly Candidate[], nowMs: number): Candidate[] {
  const rank = ({ manifest, lastUsedAt, expiresAt }: Candidate) =>
    expiresAt !== null && expiresAt <= nowMs ? [0, expiresAt, manifest.id] : [1, lastUsedAt, manifest.id]
  return candidates.toSorted((one, other) => {
    const [left, right] = [rank(one), rank(other)]
    const differing = left.findIndex((value, index) => value !== right[index])
    return (left[differing] ?? 0) - (right[differing] ?? 0)
  })
}

function listCandidates(before: Snapshot, after: Snapshot, admitted: Admitted): Candidate[] {
  const { policy, repositoryId, image, nowMs } = admitted
  const young = new Set(
    before.reservation.filter((row) => row.created_at > nowMs - 10 * SECOND_MS).map((row) => row.manifest_id),
  )
  return before.root.flatMap((root): Candidate[] => {
    const manifest = before.manifest.find((row) => row.id === root.manifest_id)
    if (manifest === undefined || root.organization_id !== policy.organizationId || root.is_pinned === 1) return []
    const contains = manifest.digest === image.digest || holds(before, manifest, image.digest)
    if (manifest.repository_id === repositoryId && contains) return []
    if (closure(before, manifest).some((row) => young.has(row.id))) return []
    return [{ manifest, ...usesOf(before, after, manifest, admitted.uses) }]
  })
}

/** Uses that were pending are written before it is planned: they are in the rows after it, also of what was evicted. */
function usesOf(before: Snapshot, after: Snapshot, manifest: ManifestRow, uses: Admitted['uses']) {
  const was = new Map(before.tag.map((row) => [row.id, row]))
  const tags = after.tag.filter(
    (row) =>
      row.repository_id === manifest.repository_id &&
      row.digest === manifest.digest &&
      was.get(row.id)?.evicted_at === null,
  )
  const isByDigest = manifest.is_by_digest === 1
  const ends = tags.map((row) => was.get(row.id)?.ended_at ?? row.expires_at ?? Number.POSITIVE_INFINITY)
  if (isByDigest) ends.push(manifest.expires_at ?? Number.POSITIVE_INFINITY)
  const expiresAt = Math.max(...ends)
  return {
    lastUsedAt: Math.max(
      manifest.last_used_at,
      ...tags.map((row) => Math.max(row.last_used_at, uses.get(row.id) ?? 0)),
    ),
    expiresAt: expiresAt === Number.POSITIVE_INFINITY ? null : expiresAt,
  }
}

function chargeWithout(rows: Snapshot, { policy, repositoryId, image }: Admitted, gone: readonly Candidate[]): number {
  const goneIds = new Set(gone.map(({ manifest }) => manifest.id))
  const roots = new Set(rows.root.filter((row) => !goneIds.has(row.manifest_id)).map((row) => row.manifest_id))
  const own = image.children.flatMap((child) => findManifestRow(rows, repositoryId, child.digest) ?? [])
  const tops = rows.manifest.filter((row) => row.organization_id === policy.organizationId && roots.has(row.id))
  const staying = new Set([...tops, ...own].flatMap((top) => closure(rows, top)))
  return sum(new Map([...itemsOf(rows, [...staying]), ...imageItems(image)]))
}
