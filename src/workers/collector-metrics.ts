/** What collection tells Prometheus. */
import type { Metrics } from '../base/metrics.ts'
import { countBacklog } from '../metadata/collection-backlog.ts'
import type { Metadata } from '../metadata/open.ts'
import type { Removal } from '../metadata/removal.ts'
import type { CollectorEvents } from './collector.ts'

/** Expired images that are counted; more are said to be so many. */
const countedMax = 10_000

export type CountReservations = (reason: 'idle' | 'fulfilled' | 'refused' | 'removed', count: number) => void

/** Counts reservations that ended. */
export function makeReservationCounter(metrics: Metrics): CountReservations {
  const name = 'entrepot_reservations_ended_total'
  const count = metrics.addCounter(name, 'Reservations that ended, by why.', 'reason')
  return (reason, by) => {
    if (by > 0) count(by, reason)
  }
}

/** Counts what went, from what is reported of it: `image_evicted`, `images_expired` and `blobs_removed`. */
export function makeRemovalCounter(
  metrics: Metrics,
  countReservations: CountReservations,
): (event: string, fields: Record<string, unknown>) => void {
  const images = metrics.addCounter('entrepot_images_removed_total', 'Images that went, by why.', 'reason')
  const freed = metrics.addCounter('entrepot_freed_bytes_total', 'Bytes by which charges fell, by why.', 'reason')
  const blobs = metrics.addCounter('entrepot_blobs_removed_total', 'Blobs removed from the store.')
  const bytes = metrics.addCounter('entrepot_blob_bytes_removed_total', 'Bytes of blobs removed from the store.')
  return (event, fields) => {
    const { images: names, count, reason, freedBytes, sizeBytes } = fields
    if (event === 'image_evicted' || event === 'images_expired') {
      images(Array.isArray(names) ? names.length : 0, String(reason))
      freed(Number(freedBytes), String(reason))
      countReservations('removed', Number(fields['reservations'] ?? 0))
    }
    if (event === 'blobs_removed') {
      blobs(Number(count))
      bytes(Number(sizeBytes))
    }
  }
}

/** What a step of the collector removed, for the log and `makeRemovalCounter`. */
export function describeExpired(removal: Removal): Record<string, unknown> {
  const images = removal.roots.map((root) => `${root.repositoryName}@${root.digest}`)
  return { reason: 'expired', images, freedBytes: removal.freedBytes, reservations: removal.reservations }
}

/** Counters, and gauges that ask the database when somebody looks. */
export function makeCollectorMetrics(
  metrics: Metrics,
  deps: { metadata: Metadata; clock: () => number; isHeld: () => boolean; countReservations: CountReservations },
): CollectorEvents & { rowsRemoved: (removal: Removal) => void } {
  const runs = metrics.addCounter(
    'entrepot_collector_runs_total',
    'Runs of the collector, by how they ended.',
    'result',
  )
  const seconds = metrics.addCounter('entrepot_collector_seconds_total', 'Seconds that the collector has run.')
  const rows = metrics.addCounter('entrepot_collector_rows_total', 'Rows that collection and eviction deleted.', 'kind')
  const addBacklog = (name: string, help: string, of: (backlog: Backlog) => number) =>
    metrics.addGauge(name, help, async () => of(await countBacklog(deps.metadata.db, deps.clock(), countedMax)))
  addBacklog('entrepot_expired_images_waiting', 'Expired images to be collected.', (backlog) => backlog.expiredRoots)
  addBacklog('entrepot_garbage_bytes_waiting', 'Bytes to be unlinked.', (backlog) => backlog.garbageBytes)
  addBacklog('entrepot_reservations_open', 'Images that are still expected.', (backlog) => backlog.openReservations)
  const heldHelp = 'Whether collection of expired images waits because the clock jumped.'
  metrics.addGauge('entrepot_collection_held', heldHelp, () => (deps.isHeld() ? 1 : 0))
  return {
    ran: (result, took) => {
      runs(1, result)
      seconds(took)
    },
    reservationsEnded: deps.countReservations,
    historyRemoved: (count) => rows(count, 'history'),
    rowsRemoved: (removal) => {
      rows(removal.manifests.length, 'manifest')
      rows(removal.blobs.length, 'blob')
    },
  }
}

type Backlog = Awaited<ReturnType<typeof countBacklog>>
