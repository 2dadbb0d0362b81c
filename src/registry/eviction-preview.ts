/** What an eviction for so many bytes more would take now, in order: the plan of an admission, changing nothing. */
import { loadRootFacts, type RootFacts } from '../metadata/eviction-facts.ts'
import { findChargeBytes } from '../metadata/ledger.ts'
import type { Metadata } from '../metadata/open.ts'
import { describeRoots } from '../metadata/purge-roots.ts'
import { listPinnedRoots } from '../metadata/roots.ts'
import type { Digest } from '../oci/digest.ts'
import { findTooLarge, previewEviction } from './admission.ts'
import { EvictionSimulation } from './eviction-plan.ts'
import type { Transfers } from './transfers.ts'

export type EvictionPreview = {
  /** blocked: only images that are being received stand in the way. tooLarge: not with everything unpinned gone. */
  outcome: 'fits' | 'evicts' | 'blocked' | 'tooLarge'
  chargeBytes: number
  limitBytes: number | undefined
  freedBytes: number
  /** In the order in which they go; none unless it `evicts`. */
  images: PreviewedImage[]
}

export type PreviewedImage = {
  repositoryName: string
  digest: Digest
  /** That name it now. */
  tags: string[]
  lastUsedAtMs: number
  sizeBytes: number
  /** What goes with it, after those before it: less than its size when others share its blobs. */
  freesBytes: number
}

/** `bytes`: what is needed and not in the ledger yet. `limitBytes` undefined: no limit. */
export async function previewForBytes(
  deps: { metadata: Metadata; transfers: Transfers },
  need: { organizationId: number; bytes: number; limitBytes: number | undefined; nowMs: number },
): Promise<EvictionPreview> {
  const { organizationId, bytes, limitBytes, nowMs } = need
  const { db } = deps.metadata
  const chargeBytes = await findChargeBytes(db, organizationId)
  const shared = { chargeBytes, limitBytes, freedBytes: 0, images: [] }
  const deficitBytes = chargeBytes + bytes - (limitBytes ?? Number.POSITIVE_INFINITY)
  if (limitBytes === undefined || deficitBytes <= 0) return { outcome: 'fits', ...shared }
  const pinned = await loadRootFacts(db, organizationId, await listPinnedRoots(db, organizationId))
  const items = [{ kind: 'blob', digest: unknownDigest, sizeBytes: bytes }] as const
  if (findTooLarge(items, limitBytes, pinned) !== undefined) return { outcome: 'tooLarge', ...shared }
  const plan = await previewEviction(db, { organizationId, deficitBytes, nowMs }, deps.transfers)
  if (!plan.isEnough) return { outcome: 'blocked', ...shared }
  const images = await describe(deps.metadata, plan.roots)
  return { outcome: 'evicts', ...shared, freedBytes: plan.freedBytes, images }
}

/** Of what would come, and is not known: nothing that is stored has it. */
const unknownDigest = `sha256:${'0'.repeat(64)}` as Digest

async function describe(metadata: Metadata, roots: readonly RootFacts[]): Promise<PreviewedImage[]> {
  const described = await describeRoots(
    metadata.db,
    roots.map((root) => root.manifestId),
  )
  const simulation = new EvictionSimulation(new Set())
  return roots.flatMap((root) => {
    const freesBytes = simulation.removeRoot(root)
    const found = described.get(root.manifestId)
    if (found === undefined) return []
    const { repositoryName, digest, tags, lastUsedAtMs } = found
    return [{ repositoryName, digest, tags, lastUsedAtMs, sizeBytes: sizeOf(root), freesBytes }]
  })
}

function sizeOf(root: RootFacts): number {
  const items = new Map<string, number>()
  for (const manifest of root.manifests) {
    for (const { kind, digest, sizeBytes } of manifest.items) items.set(`${kind} ${digest}`, sizeBytes)
  }
  return [...items.values()].reduce((sum, bytes) => sum + bytes, 0)
}
