/** Log and metrics put together: what each part tells, and at which level. Part of the composition root. */
import type { Clock } from './base/clock.ts'
import { createLogger, type Logger, type LogLevel } from './base/logger.ts'
import { Metrics } from './base/metrics.ts'
import type { Report } from './foundations.ts'
import { makeAccessLog } from './http/access-log.ts'
import type { ObserveAccess } from './http/access-record.ts'
import type { BlobEvent, BlobEvents } from './registry/ingest-limits.ts'
import type { ObserveUpstream } from './upstream/upstream-event.ts'
import { type CountReservations, makeRemovalCounter, makeReservationCounter } from './workers/collector-metrics.ts'

export type Observation = {
  logger: Logger
  metrics: Metrics
  report: Report
  observeAccess: ObserveAccess
  observeUpstream: ObserveUpstream
  observeBlobs: BlobEvents
  countReservations: CountReservations
}

/** Of interest to whoever looks for the course of one pull, not to whoever runs the server. */
const DEBUG_EVENTS: ReadonlySet<BlobEvent> = new Set(['ingest_started', 'ingest_verified', 'ingest_published'])
/** What an operator should look at although nothing has failed. */
const WARNINGS: ReadonlySet<string> = new Set([
  'blob_damaged',
  'blobs_missing',
  'collection_held',
  'digest_mismatch',
  'ingest_straight_through',
  'last_uses_dropped',
  'lease_lost',
  'over_limit',
  'repository_denied',
  'store_nearly_full',
])

export function openObservation(level: LogLevel, clock: Clock): Observation {
  const logger = createLogger({ level, nowMs: clock })
  const metrics = new Metrics()
  const countReservations = makeReservationCounter(metrics)
  const countRemoval = makeRemovalCounter(metrics, countReservations)
  const report: Report = (event, fields) => {
    countRemoval(event, fields)
    if ('error' in fields || WARNINGS.has(event)) logger.warn(event, fields)
    else logger.info(event, fields)
  }
  const writeLine = logger.isEnabled('info') ? (line: string) => logger.writeLine(line) : undefined
  return {
    logger,
    metrics,
    report,
    countReservations,
    observeAccess: makeAccessLog(clock, metrics, writeLine),
    observeUpstream: makeUpstreamObserver(metrics, logger),
    observeBlobs: (event, fields) => {
      countIngest(metrics, event, fields)
      if (DEBUG_EVENTS.has(event)) logger.debug(event, fields)
      else report(event, fields)
    },
  }
}

function makeUpstreamObserver(metrics: Metrics, logger: Logger): ObserveUpstream {
  return (event) => {
    switch (event.event) {
      case 'request':
        metrics.countUpstreamRequest(event)
        break
      case 'availability':
        metrics.setUpstreamUp(event.host, event.availability === 'up')
        logger.warn(`upstream_${event.availability}`, { host: event.host, reason: event.message })
        break
      case 'credentials_refused':
        logger.warn('upstream_credentials_refused', { host: event.host })
        break
      default:
        throw new Error(`unhandled upstream event: ${JSON.stringify(event satisfies never)}`)
    }
  }
}

function countIngest(metrics: Metrics, event: BlobEvent, fields: Record<string, unknown>): void {
  if (event === 'ingest_verified') metrics.countIngestedBytes(Number(fields['sizeBytes'] ?? 0))
  if (event === 'ingest_published') metrics.countIngest('published')
  if (event === 'ingest_failed') metrics.countIngest('failed')
  if (event === 'ingest_straight_through') metrics.countIngest('straight_through')
}
