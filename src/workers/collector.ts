/**
 * What runs beside the traffic to keep space: idle reservations end, expired images and old history go, bytes that
 * nobody needs are unlinked, organizations shrink to their limits, orphaned files are found. Everything it knows is in
 * rows, so that it goes on where a crash left it; of several processes the one with the lease does it.
 */
import { type Clock, monotonicMs } from '../base/clock.ts'
import { MINUTE_MS, SECOND_MS } from '../base/units.ts'
import { acquireLease, heartbeatLease, releaseLease } from '../metadata/leases.ts'
import type { LastUses } from '../registry/last-uses.ts'
import type { ClockGuard } from './clock-guard.ts'
import { collectExpiredRoots, collectHistory, type ExpiredContentDeps } from './expired-content.ts'
import { type GarbageDeps, removeGarbageBytes } from './garbage-removal.ts'
import { endIdleReservations, type IdleDeps } from './idle-reservations.ts'
import type { LogPruner } from './log-pruner.ts'
import type { OrphanSweep } from './orphan-sweep.ts'
import type { Shrinker } from './shrinker.ts'

export const COLLECTOR_LIMITS = {
  /** Between two steps: requests that came meanwhile are answered. */
  pauseMs: 2,
  heartbeatMs: 5 * SECOND_MS,
  /** A collector that has not said anything for this long has ended. */
  leaseStaleAfterMs: MINUTE_MS,
} as const

const leaseName = 'collector'

export type Phase =
  | 'clock'
  | 'reservations'
  | 'expired'
  | 'history'
  | 'logs'
  | 'limits'
  | 'jobs'
  | 'garbage'
  | 'orphans'

/** What a run has done, for metrics. */
export type CollectorEvents = {
  ran: (result: 'done' | 'failed' | 'elsewhere', seconds: number) => void
  reservationsEnded: (reason: 'idle', count: number) => void
  historyRemoved: (rows: number) => void
}

export type CollectorDeps = ExpiredContentDeps &
  GarbageDeps &
  IdleDeps & {
    /** Real time: other processes compare leases with it. */
    realClock: Clock
    delayMs: (ms: number, options: { signal: AbortSignal }) => Promise<void>
    /** Of this process, and who it is. */
    leaseId: string
    holder: string
    guard: ClockGuard
    orphans: OrphanSweep
    shrinker: Shrinker
    logs?: Pick<LogPruner, 'run'>
    /** Uses that were counted in memory are written first: what was just pulled has not expired. */
    uses: Pick<LastUses, 'flush'>
    /** Jobs of `collector-jobs.ts`. */
    runJobs: () => Promise<void>
    /** FEATURE_GARBAGE_COLLECTION: when false, what is expired and old history stay. */
    collectsExpired: boolean
    events: CollectorEvents
    report: (event: string, fields: Record<string, unknown>) => void
  }

export class Collector {
  readonly #deps: CollectorDeps
  readonly #stop = new AbortController()
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #beatAtMs = 0

  constructor(deps: CollectorDeps) {
    this.#deps = deps
  }

  get isRunning(): boolean {
    return this.#running !== undefined
  }

  /**
   * Do all that can be done now: what is waiting when this is called is gone when it resolves, unless it is held, busy
   * or another process collects. Never rejects: what fails is reported and tried again by the next run.
   */
  run(): Promise<void> {
    // A run under way may be past what the caller waits for. All who wait share the one after it.
    if (this.#running !== undefined) {
      this.#next ??= this.#running.then(() => {
        this.#next = undefined
        return this.run()
      })
      return this.#next
    }
    this.#running = this.#runOnce().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** End what is running after its step. Idempotent; nothing runs afterwards. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the collector was stopped'))
    await this.#running
  }

  async #runOnce(): Promise<void> {
    if (this.#stop.signal.aborted) return
    const { metadata, events, report } = this.#deps
    const startedMs = monotonicMs()
    try {
      if (!(await this.#acquire())) return events.ran('elsewhere', 0)
      try {
        const failed = await this.#runPhases()
        events.ran(failed ? 'failed' : 'done', (monotonicMs() - startedMs) / SECOND_MS)
      } finally {
        await releaseLease(metadata.db, { name: leaseName, leaseId: this.#deps.leaseId })
      }
    } catch (error) {
      report('collection_failed', { error })
      events.ran('failed', (monotonicMs() - startedMs) / SECOND_MS)
    }
  }

  /** Each phase on its own: one that fails keeps no other from its work. Resolves to whether one failed. */
  async #runPhases(): Promise<boolean> {
    const { guard, clock, events, shrinker, orphans, uses } = this.#deps
    const pause = () => this.#pause()
    const mayExpire = () => this.#deps.collectsExpired && !guard.isHeld(clock())
    const phases: [Phase, () => Promise<unknown>][] = [
      ['clock', () => guard.tick()],
      [
        'reservations',
        async () => {
          const { ended } = await endIdleReservations(this.#deps, pause)
          events.reservationsEnded('idle', ended)
        },
      ],
      [
        'expired',
        async () => {
          await uses.flush()
          if (mayExpire()) await collectExpiredRoots(this.#deps, pause)
        },
      ],
      [
        'history',
        async () => {
          if (mayExpire()) events.historyRemoved(await collectHistory(this.#deps, pause))
        },
      ],
      [
        'logs',
        async () => {
          if (!guard.isHeld(clock())) await this.#deps.logs?.run(pause)
        },
      ],
      ['limits', () => shrinker.shrinkAll()],
      ['jobs', () => this.#deps.runJobs()],
      ['garbage', () => removeGarbageBytes(this.#deps, pause)],
      ['orphans', () => orphans.run(pause)],
    ]
    let isFailed = false
    for (const [phase, work] of phases) {
      if (this.#stop.signal.aborted) break
      try {
        await work()
      } catch (error) {
        if (this.#stop.signal.aborted) break
        isFailed = true
        this.#deps.report('collection_failed', { phase, error })
      }
    }
    return isFailed
  }

  /** Rejects when the work must end: it was stopped, or another process has taken the lease. */
  async #pause(): Promise<void> {
    const { delayMs, metadata, leaseId, realClock } = this.#deps
    await delayMs(COLLECTOR_LIMITS.pauseMs, { signal: this.#stop.signal })
    if (monotonicMs() - this.#beatAtMs < COLLECTOR_LIMITS.heartbeatMs) return
    this.#beatAtMs = monotonicMs()
    if (await heartbeatLease(metadata.db, { name: leaseName, leaseId, nowMs: realClock() })) return
    throw new Error('another process has taken over collection')
  }

  async #acquire(): Promise<boolean> {
    const { metadata, leaseId, holder, realClock } = this.#deps
    this.#beatAtMs = monotonicMs()
    const staleAfterMs = COLLECTOR_LIMITS.leaseStaleAfterMs
    const fields = { name: leaseName, leaseId, holder, nowMs: realClock(), staleAfterMs }
    return (await acquireLease(metadata.db, fields)).acquired
  }
}
