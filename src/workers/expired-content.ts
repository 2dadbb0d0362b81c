/**
 * Expired content collected in steps, each one bounded transaction: roots whose Time Machine window has passed, oldest
 * first, and history rows that are older than it.
 */
import type { Clock } from '../base/clock.ts'
import {
  type ExpiredBacklog,
  listOrganizationsWithExpired,
  listOrganizationsWithOldHistory,
  listReservedManifests,
  removeOldHistory,
} from '../metadata/collection-backlog.ts'
import { loadRootFacts, type RootFacts } from '../metadata/eviction-facts.ts'
import { lockUsage } from '../metadata/ledger.ts'
import { addLogEntry } from '../metadata/log-entries.ts'
import type { Db, Metadata } from '../metadata/open.ts'
import { type Removal, removeRoots } from '../metadata/removal.ts'
import { listExpiredRoots } from '../metadata/roots.ts'
import type { Transfers } from '../registry/transfers.ts'

export const EXPIRY_LIMITS = {
  /** Of one transaction, which takes some milliseconds then. One image alone may have more. */
  rowsPerStep: 100,
  /** Candidates of one step; each is a row at least. */
  rootsPerStep: 50,
  /** Roots that are passed over because something of them is being received; then it is left to the next run. */
  busyMax: 1000,
} as const

export type ExpiredContentDeps = {
  metadata: Metadata
  clock: Clock
  transfers: Pick<Transfers, 'isReceiving'>
  /** A step was committed; for what was remembered of it, its bytes, and metrics. Never rejects. */
  onCollected: (removal: Removal) => Promise<void>
}

/** Collect what is expired for good. `pause` is awaited between steps; it rejects to end the work. */
export async function collectExpiredRoots(deps: ExpiredContentDeps, pause: () => Promise<void>): Promise<void> {
  for (const backlog of await listOrganizationsWithExpired(deps.metadata.db, deps.clock())) {
    const busy = new Set<number>()
    while (busy.size < EXPIRY_LIMITS.busyMax) {
      const removal = await deps.metadata.transaction((tx) => collectStep(tx, deps, backlog, busy))
      if (removal === undefined) break
      await deps.onCollected(removal)
      await pause()
    }
  }
}

/** Delete history rows that are older than the window; resolves to their number. */
export async function collectHistory(deps: ExpiredContentDeps, pause: () => Promise<void>): Promise<number> {
  let rows = 0
  for (const backlog of await listOrganizationsWithOldHistory(deps.metadata.db, deps.clock())) {
    const limit = EXPIRY_LIMITS.rowsPerStep
    for (let isMore = true; isMore; ) {
      const removed = await deps.metadata.transaction((tx) => removeOldHistory(tx, { ...backlog, limit }))
      rows += removed
      isMore = removed === limit
      await pause()
    }
  }
  return rows
}

/**
 * Remove the roots that are next in turn; undefined when none is left that may go. What is listed under the lock has
 * not been pulled again meanwhile. Those that may not go are added to `busy`.
 */
async function collectStep(
  tx: Db,
  deps: ExpiredContentDeps,
  backlog: ExpiredBacklog,
  busy: Set<number>,
): Promise<Removal | undefined> {
  const { organizationId, endedBeforeMs } = backlog
  if ((await lockUsage(tx, organizationId)) === undefined) return undefined
  const limit = EXPIRY_LIMITS.rootsPerStep + busy.size
  const expired = await listExpiredRoots(tx, { organizationId, endedBeforeMs, limit })
  const reserved = new Set(await listReservedManifests(tx, organizationId))
  const manifestIds: number[] = []
  let rows = 0
  for (const manifestId of expired) {
    if (busy.has(manifestId)) continue
    const [root] = await loadRootFacts(tx, organizationId, [manifestId])
    if (root === undefined || isBusy(root, organizationId, reserved, deps.transfers)) {
      busy.add(manifestId)
      continue
    }
    manifestIds.push(manifestId)
    rows += rowsOf(root)
    if (rows >= EXPIRY_LIMITS.rowsPerStep) break
  }
  if (manifestIds.length === 0) return undefined
  const nowMs = deps.clock()
  const removal = await removeRoots(tx, { organizationId, manifestIds, nowMs, reason: 'collected' })
  await logExpiry(tx, organizationId, nowMs, removal)
  return removal
}

/** Something of it is being received, or still expected. */
function isBusy(
  root: RootFacts,
  organizationId: number,
  reserved: ReadonlySet<number>,
  transfers: Pick<Transfers, 'isReceiving'>,
): boolean {
  return root.manifests.some(({ manifestId, items }) => {
    if (reserved.has(manifestId)) return true
    const digests = items.filter((item) => item.kind === 'blob').map((item) => item.digest)
    return transfers.isReceiving(organizationId, root.repositoryId, digests)
  })
}

/** The root, and of each manifest itself and what it names. */
function rowsOf(root: RootFacts): number {
  return root.manifests.reduce((rows, manifest) => rows + manifest.items.length, 1)
}

async function logExpiry(tx: Db, organizationId: number, nowMs: number, removal: Removal): Promise<void> {
  const images = removal.roots.map(({ repositoryName, digest, tags }) => ({ repository: repositoryName, digest, tags }))
  const metadata = { images, count: images.length, freed_bytes: removal.freedBytes }
  await addLogEntry(tx, { organizationId, kind: 'expire_image', nowMs, metadata })
}
