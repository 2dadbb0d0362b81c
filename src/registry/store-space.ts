/**
 * The whole store, beside the quotas: STORAGE_LIMIT_BYTES and MINIMUM_FREE_BYTES (DESIGN part 5, Limit). When something
 * does not fit, the least recently used roots of all organizations go; when nothing more can go, it is not cached.
 */
import type { Clock } from '../base/clock.ts'
import { findStoreUsage } from '../metadata/blobs.ts'
import { loadRootFacts } from '../metadata/eviction-facts.ts'
import { type LedgerItem, listUnchargedItems, lockUsage } from '../metadata/ledger.ts'
import type { Metadata } from '../metadata/open.ts'
import { type EvictionCandidate, listEvictionCandidates } from '../metadata/roots.ts'
import { findBusy } from './admission.ts'
import { carryOutEviction, type EvictionDeps, forgetRemoved } from './evictions.ts'
import type { LastUses } from './last-uses.ts'
import type { StoreRoom } from './store-room.ts'
import type { Transfers } from './transfers.ts'

export const STORE_SPACE_LIMITS = {
  /** Candidates that are listed at a time. They go one by one, and after each it is looked whether there is room. */
  candidatesPerPage: 10,
  /** Of one request: it does not wait for more, and is not cached. */
  evictionsMax: 1000,
} as const

export type StoreSpaceDeps = EvictionDeps & {
  metadata: Metadata
  clock: Clock
  uses: LastUses
  transfers: Transfers
  room: StoreRoom
  /** STORAGE_LIMIT_BYTES; undefined is as far as the disk goes. */
  storageLimitBytes: number | undefined
}

export class StoreSpace {
  readonly #deps: StoreSpaceDeps
  /** Who needs room waits for those who make it already. */
  #making: Promise<void> = Promise.resolve()

  constructor(deps: StoreSpaceDeps) {
    this.#deps = deps
  }

  /**
   * Whether what the ledger does not have yet of these items may be stored, after evicting if need be. `mayEvict` is
   * asked before anything goes for it: false when it would be for nothing.
   */
  async hasRoomFor(
    organizationId: number,
    items: readonly LedgerItem[],
    mayEvict: () => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<boolean> {
    // Manifests lie in the database.
    const blobs = items.filter((item) => item.kind === 'blob')
    const missing = await listUnchargedItems(this.#deps.metadata.db, organizationId, blobs)
    const bytes = missing.reduce((sum, item) => sum + item.sizeBytes, 0)
    if (await this.#fits(bytes)) return true
    if (!(await mayEvict())) return false
    const making = this.#making.then(() => this.#makeRoom(bytes))
    this.#making = making.then(
      () => {},
      () => {},
    )
    return making
  }

  async #fits(bytes: number): Promise<boolean> {
    return (await this.#shortfall(bytes)).bytes <= 0
  }

  /** What must be freed for so many bytes more; `canSuffice`: the store holds that much. */
  async #shortfall(bytes: number): Promise<{ bytes: number; canSuffice: boolean }> {
    const { metadata, room, storageLimitBytes = Number.POSITIVE_INFINITY } = this.#deps
    const usage = await findStoreUsage(metadata.db)
    // What is reserved is not on the disk yet, or not all of it.
    const expectedBytes = usage.reservedBytes + bytes
    const overLimitBytes = usage.blobBytes + expectedBytes - storageLimitBytes
    const shortfallBytes = Math.max(overLimitBytes, await room.shortfallBytes(expectedBytes))
    return { bytes: shortfallBytes, canSuffice: shortfallBytes <= usage.blobBytes }
  }

  /** Nothing goes in vain: neither when something else fills the disk, nor for what is larger than the store may be. */
  async #makeRoom(bytes: number): Promise<boolean> {
    const shortfall = await this.#shortfall(bytes)
    if (shortfall.bytes <= 0) return true
    if (!shortfall.canSuffice) return false
    await this.#deps.uses.flush()
    const passed = new Set<number>()
    for (let evictions = 0; evictions < STORE_SPACE_LIMITS.evictionsMax; evictions++) {
      if (!(await this.#evictNext(passed))) return false
      if (await this.#fits(bytes)) return true
    }
    return false
  }

  /** Evict the root that is next in turn; false when there is none that may go. */
  async #evictNext(passed: Set<number>): Promise<boolean> {
    const { metadata, clock } = this.#deps
    const nowMs = clock()
    for (const phase of ['kept', 'alive'] as const) {
      let after: EvictionCandidate | undefined
      for (;;) {
        const limit = STORE_SPACE_LIMITS.candidatesPerPage
        const page = await listEvictionCandidates(metadata.db, {
          organizationId: undefined,
          nowMs,
          phase,
          after,
          limit,
        })
        for (const candidate of page) {
          if (passed.has(candidate.manifestId)) continue
          passed.add(candidate.manifestId)
          if (await this.#evict(candidate, nowMs)) return true
        }
        if (page.length < limit) break
        after = page.at(-1)
      }
    }
    return false
  }

  async #evict(candidate: EvictionCandidate, nowMs: number): Promise<boolean> {
    const { metadata, transfers } = this.#deps
    const { organizationId, manifestId } = candidate
    const reason = { kind: 'store_full' } as const
    const removals = await metadata.transaction(async (tx) => {
      if ((await lockUsage(tx, organizationId)) === undefined) return []
      const [root] = await loadRootFacts(tx, organizationId, [manifestId])
      const isBusy = await findBusy(tx, organizationId, nowMs, transfers)
      if (root === undefined || isBusy(root)) return []
      const plan = { isEnough: true, roots: [root], siblings: [], freedBytes: 0 }
      return carryOutEviction(tx, { organizationId, plan, reason, nowMs })
    })
    await forgetRemoved(this.#deps, removals)
    for (const removal of removals) this.#deps.onEvicted(removal, reason)
    return removals.length > 0
  }
}
