/** What is cached goes now, because somebody says so: in steps of a few images, without what is pinned or received. */
import type { Clock } from '../base/clock.ts'
import { findContainingRoots, loadRootFacts } from '../metadata/eviction-facts.ts'
import { lockUsage } from '../metadata/ledger.ts'
import type { Db, Metadata } from '../metadata/open.ts'
import { describeRoots, listRoots, type PurgedRoot, type PurgeScope } from '../metadata/purge-roots.ts'
import { type Removal, removeManifests, removeRoots } from '../metadata/removal.ts'
import type { Digest } from '../oci/digest.ts'
import { findBusy } from './admission.ts'
import { EvictionSimulation } from './eviction-plan.ts'
import type { Transfers } from './transfers.ts'

export const PURGE_LIMITS = {
  /** Images that go in one transaction. */
  rootsPerStep: 10,
  /** Images that a purge removes before it answers; more are removed behind the answer. */
  rootsAtOnceMax: 300,
  /** Images that are named in what would go; the rest is counted. */
  listedMax: 50,
} as const

/** One image: what a tag names now, or a digest, which need not be a root. */
export type PurgedImage = { repositoryId: number; manifestId: number; digest: Digest; isByDigest: boolean }

export type PurgeRequest = PurgeScope & {
  /** Undefined: everything in the scope. */
  image: PurgedImage | undefined
  includesPinned: boolean
}

export type PurgeDeps = {
  metadata: Metadata
  clock: Clock
  transfers: Transfers
  /** After a commit: forget what went, and remove its bytes. */
  forgetRemoved: (removal: Removal) => Promise<void>
}

export type PurgeCounts = {
  seen: number
  removedImages: number
  freedBytes: number
  skippedPinned: number
  /** A client is receiving them, or is about to. */
  skippedBusy: number
}

export function noPurgeCounts(): PurgeCounts {
  return { seen: 0, removedImages: 0, freedBytes: 0, skippedPinned: 0, skippedBusy: 0 }
}

/** Purge, counting into `counts` after each step. Errors: the database's own; what was removed stays removed. */
export async function purge(deps: PurgeDeps, request: PurgeRequest, counts: PurgeCounts): Promise<void> {
  if (request.image !== undefined) {
    await purgeImage(deps, request, request.image, counts)
    return
  }
  for (let afterId: number | undefined = 0; afterId !== undefined; ) {
    const after: number = afterId
    const step = await deps.metadata.transaction((tx) => purgePage(tx, deps, request, after))
    await finish(deps, step, counts)
    afterId = step.lastId
  }
}

type Step = {
  removals: Removal[]
  removedImages: number
  skippedPinned: number
  skippedBusy: number
  lastId: number | undefined
}

async function purgePage(tx: Db, deps: PurgeDeps, request: PurgeRequest, afterId: number): Promise<Step> {
  const { organizationId } = request
  const nowMs = deps.clock()
  await lockUsage(tx, organizationId)
  const page = await listRoots(tx, request, afterId, PURGE_LIMITS.rootsPerStep)
  const { going, skippedPinned, skippedBusy } = await choose(tx, deps, request, page)
  const removal = await removeRoots(tx, { organizationId, manifestIds: going, nowMs, reason: 'evicted' })
  const lastId = page.at(-1)?.manifestId
  return { removals: [removal], removedImages: removal.roots.length, skippedPinned, skippedBusy, lastId }
}

/** Those of a page that may go. */
async function choose(
  db: Db,
  { transfers, clock }: Pick<PurgeDeps, 'transfers' | 'clock'>,
  { organizationId, includesPinned }: PurgeRequest,
  page: readonly PurgedRoot[],
) {
  const unpinned = page.filter((root) => includesPinned || !root.isPinned)
  const ids = unpinned.map((root) => root.manifestId)
  const facts = await loadRootFacts(db, organizationId, ids)
  const isBusy = await findBusy(db, organizationId, clock(), transfers)
  const free = facts.filter((root) => !isBusy(root))
  return {
    facts: free,
    going: free.map((root) => root.manifestId),
    skippedPinned: page.length - unpinned.length,
    skippedBusy: facts.length - free.length,
  }
}

async function purgeImage(
  deps: PurgeDeps,
  request: PurgeRequest,
  image: PurgedImage,
  counts: PurgeCounts,
): Promise<void> {
  const { organizationId } = request
  const step = await deps.metadata.transaction(async (tx): Promise<Step> => {
    const nowMs = deps.clock()
    await lockUsage(tx, organizationId)
    const skipped = { removals: [], removedImages: 0, skippedPinned: 0, skippedBusy: 0, lastId: undefined }
    if (!request.includesPinned && (await isPinned(tx, image))) return { ...skipped, skippedPinned: 1 }
    const manifestIds = [image.manifestId]
    const facts = await loadRootFacts(tx, organizationId, manifestIds)
    const isBusy = await findBusy(tx, organizationId, nowMs, deps.transfers)
    if (facts.some(isBusy)) return { ...skipped, skippedBusy: 1 }
    const removals = [await removeRoots(tx, { organizationId, manifestIds, nowMs, reason: 'evicted' })]
    // An index may hold it: by its digest it goes all the same.
    if (image.isByDigest) removals.push(await removeManifests(tx, { organizationId, manifestIds, nowMs }))
    const isGone = removals.some(({ roots, manifests }) => roots.length + manifests.length > 0)
    return { ...skipped, removals, removedImages: isGone ? 1 : 0 }
  })
  await finish(deps, step, counts)
  counts.seen += 1
}

/** Whether it is pinned itself, or, when it goes by its digest, something that holds it is. */
async function isPinned(tx: Db, { repositoryId, manifestId, digest, isByDigest }: PurgedImage): Promise<boolean> {
  const ids = isByDigest ? await findContainingRoots(tx, repositoryId, digest) : [manifestId]
  return [...(await describeRoots(tx, ids)).values()].some((root) => root.isPinned)
}

async function finish(deps: PurgeDeps, step: Step, counts: PurgeCounts): Promise<void> {
  for (const removal of step.removals) {
    counts.freedBytes += removal.freedBytes
    await deps.forgetRemoved(removal)
  }
  counts.removedImages += step.removedImages
  counts.skippedPinned += step.skippedPinned
  counts.skippedBusy += step.skippedBusy
  counts.seen += step.removedImages + step.skippedPinned + step.skippedBusy
}

export type ForeseenPurge = {
  images: number
  /** Undefined when there are more images than are looked at for this. */
  freedBytes: number | undefined
  skippedPinned: number
  skippedBusy: number
  listed: { repositoryName: string; digest: Digest; tags: string[] }[]
}

/** What a purge would do, changing nothing. */
export async function foreseePurge(
  deps: Pick<PurgeDeps, 'metadata' | 'clock' | 'transfers'>,
  request: PurgeRequest,
  total: number,
): Promise<ForeseenPurge> {
  const { db } = deps.metadata
  const page = await pageOf(db, request)
  const { facts, going, skippedPinned, skippedBusy } = await choose(db, deps, request, page)
  const simulation = new EvictionSimulation(new Set())
  for (const root of facts) simulation.removeRoot(root)
  const described = await describeRoots(db, going.slice(0, PURGE_LIMITS.listedMax))
  const isWhole = total <= PURGE_LIMITS.rootsAtOnceMax
  return {
    images: isWhole ? going.length : total,
    freedBytes: isWhole ? simulation.freedBytes : undefined,
    skippedPinned,
    skippedBusy,
    listed: [...described.values()].map(({ repositoryName, digest, tags }) => ({ repositoryName, digest, tags })),
  }
}

async function pageOf(db: Db, request: PurgeRequest): Promise<PurgedRoot[]> {
  const { image } = request
  if (image === undefined) return listRoots(db, request, 0, PURGE_LIMITS.rootsAtOnceMax)
  const found = (await describeRoots(db, [image.manifestId])).get(image.manifestId)
  return found === undefined ? [] : [{ ...found, isPinned: await isPinned(db, image) }]
}
