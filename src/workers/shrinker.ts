/**
 * Organizations that are charged for more than their limit, because it was lowered, evict in small steps until they
 * fit: what is only in the Time Machine first, then by last use, as for an admission (DESIGN part 5, Limit).
 */
import type { Clock } from '../base/clock.ts'
import { listOrganizationsOverLimit } from '../metadata/collection-backlog.ts'
import { loadRootFacts, type RootFacts } from '../metadata/eviction-facts.ts'
import { lockUsage } from '../metadata/ledger.ts'
import type { Db, Metadata } from '../metadata/open.ts'
import { findLimit, type LimitSettings } from '../metadata/quotas.ts'
import type { Removal } from '../metadata/removal.ts'
import { type EvictionCandidate, listEvictionCandidates } from '../metadata/roots.ts'
import { findBusy } from '../registry/admission.ts'
import { carryOutEviction, type EvictionDeps, forgetRemoved } from '../registry/evictions.ts'
import type { LastUses } from '../registry/last-uses.ts'
import type { Transfers } from '../registry/transfers.ts'

export const SHRINK_LIMITS = {
  /** Candidates that are listed at a time. One root goes in one transaction. */
  candidatesPerPage: 20,
} as const

const REASON = { kind: 'limit_lowered' } as const

export type ShrinkerDeps = EvictionDeps & {
  metadata: Metadata
  clock: Clock
  limits: LimitSettings
  transfers: Transfers
  uses: Pick<LastUses, 'flush'>
  /** Between two steps: the traffic goes first. Rejects to end the work. */
  pause: () => Promise<void>
  report: (event: string, fields: Record<string, unknown>) => void
}

type Step = { removals: Removal[]; overBytes: number }

export class Shrinker {
  readonly #deps: ShrinkerDeps
  /** Organizations of which it was told that nothing more can go. */
  readonly #stuck = new Set<number>()
  #work: Promise<void> = Promise.resolve()

  constructor(deps: ShrinkerDeps) {
    this.#deps = deps
  }

  /**
   * Evict until the organization fits, or nothing that is left may go: the next run of the collector tries again.
   * Never rejects.
   */
  shrink(organizationId: number): Promise<void> {
    // One after the other: whoever lowers a limit during a run is served by the next.
    this.#work = this.#work.then(async () => {
      try {
        await this.#shrink(organizationId)
      } catch (error) {
        this.#deps.report('shrink_failed', { organizationId, error })
      }
    })
    return this.#work
  }

  /** Resolves when nothing that was asked for is under way. */
  settled(): Promise<void> {
    return this.#work
  }

  /** All that are over their limit. Errors: the database's. */
  async shrinkAll(): Promise<void> {
    const { metadata, limits } = this.#deps
    if (!limits.hasQuotaManagement) return
    for (const id of await listOrganizationsOverLimit(metadata.db, limits.systemRejectBytes)) await this.shrink(id)
  }

  async #shrink(organizationId: number): Promise<void> {
    const { metadata, uses, pause } = this.#deps
    await uses.flush()
    const passed = new Set<number>()
    for (;;) {
      const { removals, overBytes } = await metadata.transaction((tx) => this.#step(tx, organizationId, passed))
      await forgetRemoved(this.#deps, removals)
      for (const removal of removals) this.#deps.onEvicted(removal, REASON)
      if (removals.length === 0) return this.#tell(organizationId, overBytes)
      await pause()
    }
  }

  /** Evict the root that is next in turn, if the organization is over its limit. */
  async #step(tx: Db, organizationId: number, passed: Set<number>): Promise<Step> {
    const usage = await lockUsage(tx, organizationId)
    const { limitBytes } = await findLimit(tx, organizationId, this.#deps.limits)
    const overBytes = Math.max(0, (usage?.chargeBytes ?? 0) - (limitBytes ?? Number.POSITIVE_INFINITY))
    if (overBytes === 0) return { removals: [], overBytes }
    const nowMs = this.#deps.clock()
    const root = await this.#findNext(tx, organizationId, nowMs, passed)
    if (root === undefined) return { removals: [], overBytes }
    const plan = { isEnough: true, roots: [root], siblings: [], freedBytes: 0 }
    return { removals: await carryOutEviction(tx, { organizationId, plan, reason: REASON, nowMs }), overBytes }
  }

  async #findNext(tx: Db, organizationId: number, nowMs: number, passed: Set<number>): Promise<RootFacts | undefined> {
    const isBusy = await findBusy(tx, organizationId, nowMs, this.#deps.transfers)
    const limit = SHRINK_LIMITS.candidatesPerPage
    for (const phase of ['kept', 'alive'] as const) {
      let after: EvictionCandidate | undefined
      for (;;) {
        const page = await listEvictionCandidates(tx, { organizationId, nowMs, phase, after, limit })
        for (const { manifestId } of page) {
          if (passed.has(manifestId)) continue
          passed.add(manifestId)
          const [root] = await loadRootFacts(tx, organizationId, [manifestId])
          if (root !== undefined && !isBusy(root)) return root
        }
        if (page.length < limit) break
        after = page.at(-1)
      }
    }
    return undefined
  }

  /** Once for each time that an organization cannot be brought below its limit. */
  #tell(organizationId: number, overBytes: number): void {
    if (overBytes === 0) this.#stuck.delete(organizationId)
    if (overBytes === 0 || this.#stuck.has(organizationId)) return
    this.#stuck.add(organizationId)
    const reason = 'what is left is pinned or being received'
    this.#deps.report('over_limit', { organizationId, overBytes, reason })
  }
}
