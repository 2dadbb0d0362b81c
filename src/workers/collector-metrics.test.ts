import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CollectionRig } from '../../test/fakes/collection-rig.ts'
import { Metrics } from '../base/metrics.ts'
import { MINUTE_MS } from '../base/units.ts'
import {
  describeExpired,
  makeCollectorMetrics,
  makeRemovalCounter,
  makeReservationCounter,
} from './collector-metrics.ts'

test('what waits and what went is what Prometheus reads', async (t) => {
  const rig = await CollectionRig.open(t)
  const metrics = new Metrics()
  const countReservations = makeReservationCounter(metrics)
  let isHeld = true
  const deps = { metadata: rig.metadata, clock: () => rig.nowMs, isHeld: () => isHeld, countReservations }
  const counters = makeCollectorMetrics(metrics, deps)
  const count = makeRemovalCounter(metrics, countReservations)
  const organization = await rig.organization()
  await rig.image(organization, 'v1', { expiresInMs: 1 })
  await rig.image(organization, 'v2', { isReserved: true })
  await rig.metadata.db.insertInto('garbage').values({ digest: 'sha256:x', size_bytes: 9, created_at: 1 }).execute()
  await rig.pass(MINUTE_MS)
  const before = (await metrics.render()).split('\n')
  for (const line of [
    'entrepot_expired_images_waiting 1',
    'entrepot_garbage_bytes_waiting 9',
    'entrepot_reservations_open 1',
    'entrepot_collection_held 1',
  ]) {
    assert.ok(before.includes(line), line)
  }
  isHeld = false
  await rig.collector().run()
  for (const removal of rig.removals) {
    counters.rowsRemoved(removal)
    count('images_expired', describeExpired(removal))
  }
  for (const { event, fields } of rig.reports) count(event, fields)
  counters.ran('done', 2)
  counters.reservationsEnded('idle', 3)
  countReservations('fulfilled', 0)
  count('image_evicted', { reason: 'admission', images: ['a'], freedBytes: 1, reservations: 2 })
  const after = (await metrics.render()).split('\n')
  for (const line of [
    'entrepot_expired_images_waiting 0',
    'entrepot_collection_held 0',
    'entrepot_collector_runs_total{result="done"} 1',
    'entrepot_collector_seconds_total 2',
    'entrepot_images_removed_total{reason="expired"} 1',
    'entrepot_collector_rows_total{kind="blob"} 2',
    'entrepot_reservations_ended_total{reason="idle"} 3',
    'entrepot_reservations_ended_total{reason="removed"} 2',
    'entrepot_blobs_removed_total 2',
    'entrepot_blob_bytes_removed_total 300',
  ]) {
    assert.ok(after.includes(line), line)
  }
})
