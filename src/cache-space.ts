/** What is kept and what goes, put together: memory, shelf, admission and eviction. Part of the composition root. */
import type { Clock } from './base/clock.ts'
import type { Config } from './config/load.ts'
import type { Foundations, Report } from './foundations.ts'
import type { LimitSettings } from './metadata/quotas.ts'
import type { Removal } from './metadata/removal.ts'
import { BlobShelf, type ReservationsEnded } from './registry/blob-shelf.ts'
import { type EvictionReason, forgetRemoved } from './registry/evictions.ts'
import type { BlobEvents } from './registry/ingest-limits.ts'
import { LastUses } from './registry/last-uses.ts'
import { ManifestMemory } from './registry/manifest-memory.ts'
import { Space } from './registry/space.ts'
import { StoreSpace } from './registry/store-space.ts'
import { Transfers } from './registry/transfers.ts'

export type CacheSpace = {
  limits: LimitSettings
  memory: ManifestMemory
  uses: LastUses
  shelf: BlobShelf
  transfers: Transfers
  space: Space
  /** An eviction was done. */
  onEvicted: (removal: Removal, reason: EvictionReason) => void
  /** After the commit of a removal: what is remembered of it goes, and its bytes. Never throws. */
  forgetRemoved(removals: readonly Removal[]): Promise<void>
}

export function assembleSpace(options: {
  config: Config
  foundations: Foundations
  clock: Clock
  report: Report
  onEvent: BlobEvents
  onReservationsEnded?: ReservationsEnded | undefined
}): CacheSpace {
  const { config, clock, report, onEvent, onReservationsEnded } = options
  const { metadata, store, room } = options.foundations
  const limits = {
    hasQuotaManagement: config.featureQuotaManagement,
    systemRejectBytes: config.defaultSystemRejectQuotaBytes,
  }
  const memory = new ManifestMemory()
  const uses = new LastUses(metadata, (repositoryId, tag) => memory.forgetTag(repositoryId, tag), report)
  const shelf = new BlobShelf({ metadata, store, clock, limits, onEvent, onReservationsEnded })
  const transfers = new Transfers()
  const onEvicted = (removal: Removal, reason: EvictionReason) =>
    report('image_evicted', {
      reason: reason.kind,
      images: removal.roots.map((root) => `${root.repositoryName}@${root.digest}`),
      freedBytes: removal.freedBytes,
      reservations: removal.reservations,
    })
  const shared = { metadata, clock, uses, transfers, memory, shelf, onEvicted }
  const storeSpace = new StoreSpace({ ...shared, room, storageLimitBytes: config.storageLimitBytes })
  const space = new Space({ ...shared, limits, store: storeSpace, onReservationsEnded })
  return {
    ...{ limits, memory, uses, shelf, transfers, space, onEvicted },
    forgetRemoved: (removals) => forgetRemoved({ memory, shelf }, removals),
  }
}
