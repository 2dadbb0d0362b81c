/**
 * The cache put together: upstreams, manifests, blobs, and the organizations in front. Part of the composition root.
 */

import { upstreamConfigOf, withOperatorsCredential } from './admin/upstream-credentials.ts'
import type { Clock } from './base/clock.ts'
import { delayMs, everyMs, type Timer } from './base/timers.ts'
import { assembleSpace, type CacheSpace } from './cache-space.ts'
import type { Config } from './config/load.ts'
import type { Foundations, Report } from './foundations.ts'
import type { BlobShelf, ReservationsEnded } from './registry/blob-shelf.ts'
import { Completion } from './registry/completion.ts'
import type { BlobEvents } from './registry/ingest-limits.ts'
import { Ingests } from './registry/ingests.ts'
import { LAST_USE_LIMITS } from './registry/last-uses.ts'
import { OrganizationDirectory } from './registry/organization-directory.ts'
import { ROOM_LIMITS } from './registry/store-room.ts'
import { QUESTION_LIMITS, type QuestionTimes } from './registry/upstream-manifests.ts'
import { Verification } from './registry/verification.ts'
import type { UpstreamLimits } from './upstream/limits.ts'
import type { ObserveUpstream } from './upstream/upstream-event.ts'
import { createUpstreamPool, type HttpUpstreamPool } from './upstream/upstream-pool.ts'

/** Blobs that are completed in the background at a time: behind every client, and few. */
const completionsMax = 2

/** What tests set so that nobody waits: not for operators. */
export type CacheLimits = { upstream?: Partial<UpstreamLimits>; questions?: Partial<QuestionTimes> }

export type CacheOptions = {
  config: Config
  foundations: Foundations
  clock: Clock
  report: Report
  version: string
  observeUpstream: ObserveUpstream
  observeBlobs: BlobEvents
  countReservations: ReservationsEnded
  limits?: CacheLimits
}

export type Cache = {
  upstreams: HttpUpstreamPool
  directory: OrganizationDirectory
  ingests: Ingests
  space: CacheSpace
  verification: Verification
  /** Begin the work beside the requests. */
  start(): void
  /** End it: nothing new, what is running is dropped, what was used is written. */
  stop(): Promise<void>
}

export function assembleCache(options: CacheOptions): Cache {
  const { config, foundations, clock, report, limits = {} } = options
  const { metadata, room, secretBox } = foundations
  const upstreams = createUpstreamPool({
    clock,
    ssrfAllowedHosts: config.ssrfAllowedHosts,
    realmHosts: config.upstreamRealmHosts,
    ...(config.egressProxy === undefined
      ? {}
      : { egressProxy: { ...config.egressProxy, noProxy: [...config.egressProxy.noProxy] } }),
    limits: limits.upstream ?? {},
    observe: options.observeUpstream,
    userAgent: `entrepot/${options.version}`,
  })
  const { observeBlobs: onEvent, countReservations: onReservationsEnded } = options
  const cacheSpace = assembleSpace({ config, foundations, clock, report, onEvent, onReservationsEnded })
  const { memory, uses, shelf, transfers, space } = cacheSpace
  const ingests = new Ingests({ shelf, space, transfers, hasRoom: () => room.hasRoomFor(0), delayMs, onEvent })
  const completion = config.featureProxyCacheBlobDownload
    ? new Completion({
        metadata,
        clock,
        delayMs,
        onEvent,
        concurrency: completionsMax,
        findOrganization: (id) => directory.findCompleted(id),
      })
    : undefined
  const directory: OrganizationDirectory = new OrganizationDirectory({
    metadata,
    memory,
    uses,
    clock,
    space,
    report,
    questionTimes: { ...QUESTION_LIMITS, ...limits.questions },
    delayMs: (ms, signal) => delayMs(ms, signal === undefined ? {} : { signal }),
    openUpstream: (organization, proxyCache) =>
      upstreams.open(
        withOperatorsCredential(
          config.upstreamCredentials.get(organization.name),
          upstreamConfigOf(secretBox, organization, proxyCache),
        ),
      ),
    blobs: { shelf, ingests, transfers, clock, completion },
  })
  const verification = openVerification(options, shelf, directory)
  const timers: Timer[] = []
  return {
    ...{ upstreams, directory, ingests },
    space: cacheSpace,
    verification,
    start() {
      timers.push(everyMs(LAST_USE_LIMITS.flushMs, () => void uses.flush()))
      timers.push(everyMs(ROOM_LIMITS.refreshMs, () => void room.hasRoomFor(0)))
      completion?.start()
    },
    async stop() {
      for (const timer of timers) timer.cancel()
      await verification.cancel()
      await completion?.stop()
      await ingests.stop()
      await upstreams.close()
      await shelf.drain()
      await uses.flush()
    },
  }
}

function openVerification(
  { foundations, clock, report }: CacheOptions,
  shelf: BlobShelf,
  directory: OrganizationDirectory,
): Verification {
  const { metadata, store } = foundations
  return new Verification({
    ...{ metadata, store, shelf, clock, report, delayMs },
    random: Math.random,
    findOrganization: (id) => directory.findCompleted(id),
  })
}
