/** What runs beside the traffic to keep space, put together. Part of the composition root. */
import { type Clock, systemClock } from './base/clock.ts'
import { SingleFlight } from './base/single-flight.ts'
import { delayMs, everyMs, type Timer } from './base/timers.ts'
import type { Cache } from './cache.ts'
import type { Config } from './config/load.ts'
import type { Foundations } from './foundations.ts'
import { lockUsage } from './metadata/ledger.ts'
import { touchReservations } from './metadata/reservations.ts'
import type { Observation } from './observation.ts'
import { CLOCK_LIMITS, ClockGuard } from './workers/clock-guard.ts'
import { COLLECTOR_LIMITS, Collector } from './workers/collector.ts'
import { runDueJobs } from './workers/collector-jobs.ts'
import { describeExpired, makeCollectorMetrics } from './workers/collector-metrics.ts'
import { LogPruner } from './workers/log-pruner.ts'
import { OrphanSweep } from './workers/orphan-sweep.ts'
import { currentProcess, formatProcess } from './workers/process-identity.ts'
import { Shrinker } from './workers/shrinker.ts'

export type Collection = {
  collector: Collector
  /** After a limit was lowered: evict until the organization fits. */
  shrinker: Shrinker
  /** Do the jobs that are due; joins a turn that is under way, so that none is done twice at once. */
  runJobs(): Promise<void>
  start(): void
  /** What is running ends after its step. */
  stop(): Promise<void>
}

export type CollectionOptions = {
  config: Config
  foundations: Foundations
  cache: Cache
  clock: Clock
  observation: Observation
}

export function assembleCollection(options: CollectionOptions): Collection {
  const { config, foundations, clock } = options
  const { metadata, lease, store } = foundations
  const { report, metrics, countReservations } = options.observation
  const { limits, memory, uses, shelf, transfers, forgetRemoved, onEvicted } = options.cache.space
  const guard = new ClockGuard({ metadata, clock, report })
  const isHeld = () => guard.isHeld(clock())
  const { rowsRemoved, ...events } = makeCollectorMetrics(metrics, { metadata, clock, isHeld, countReservations })
  const stopping = new AbortController()
  const pause = () => delayMs(COLLECTOR_LIMITS.pauseMs, { signal: stopping.signal })
  const shared = { metadata, clock, report, memory, uses, shelf, transfers }
  const shrinker = new Shrinker({ ...shared, limits, pause, onEvicted })
  const orphans = new OrphanSweep({ metadata, store, shelf, report, realClock: systemClock })
  const jobs = new SingleFlight<void>()
  const jobsDeps = {
    ...{ metadata, clock, report },
    writeUses: () => uses.settle(),
    onTagsChanged: (repositoryId: number, names: readonly string[]) => {
      for (const name of names) memory.forgetTag(repositoryId, name)
    },
  }
  const runJobs = () => jobs.run('jobs', () => runDueJobs(jobsDeps))
  const collector = new Collector({
    ...{ metadata, clock, report, uses, shelf, transfers, guard, shrinker, orphans, events, delayMs },
    logs: new LogPruner({ metadata, clock, keepMs: config.usageLogMs }),
    realClock: systemClock,
    leaseId: lease.leaseId,
    holder: formatProcess(currentProcess()),
    collectsExpired: config.featureGarbageCollection,
    runJobs,
    touchActive: () => touchActive(options),
    onCollected: async (removal) => {
      rowsRemoved(removal)
      report('images_expired', describeExpired(removal))
      await forgetRemoved([removal])
    },
  })
  const timers: Timer[] = []
  const run = () => {
    if (!collector.isRunning) void collector.run()
  }
  const tick = () => void guard.tick().catch((error: unknown) => report('clock_tick_failed', { error }))
  return {
    collector,
    shrinker,
    runJobs,
    start() {
      timers.push(everyMs(CLOCK_LIMITS.tickMs, tick), everyMs(config.garbageCollectionMs, run))
      run()
    },
    async stop() {
      for (const timer of timers) timer.cancel()
      stopping.abort(new Error('the server is stopping'))
      await collector.stop()
      await shrinker.settled()
    },
  }
}

/** Which reservations are being received for is known in memory; the sweep asks the rows. */
async function touchActive({ foundations, cache, clock }: CollectionOptions): Promise<void> {
  for (const { organizationId, digests } of cache.space.transfers.takeTouched()) {
    await foundations.metadata.transaction(async (tx) => {
      await lockUsage(tx, organizationId)
      await touchReservations(tx, organizationId, digests, clock())
    })
  }
}
