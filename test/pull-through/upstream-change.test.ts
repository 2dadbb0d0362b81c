/** What is being received when an organization is pointed at another upstream belongs to the former one. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { blob, image } from '../fakes/content.ts'
import { type FakeUpstream, startFakeUpstream } from '../fakes/fake-upstream.ts'
import { Valve } from '../fakes/gate.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import { eventually } from './eventually.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot({ FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false })
})
after(() => entrepot.stop())

const layer = blob('of the former upstream', 300_000)
const content = image({ layers: [layer] })
const path = `app/blobs/${layer.digest}`
const former = { username: 'former', password: 'secret of the former' }

/** A client reads a blob of the former upstream, of which 200,000 bytes have come, and then there is another. */
async function changeWhileReading(t: Parameters<Entrepot['cache']>[0]) {
  const cache = await entrepot.cache(t, { app: { latest: content } }, { login: former })
  await cache.get('app/manifests/latest')
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { valve })
  valve.allow(200_000)
  const reading = await cache.open(path)
  await reading.read(100_000)
  const next = await startFakeUpstream(t, { app: { latest: content } })
  await cache.setUpstream(next)
  await cache.get('app/manifests/latest')
  next.transcript.take()
  return { cache, next, valve, reading }
}

async function ended(upstream: FakeUpstream): Promise<void> {
  await upstream.transcript.until(({ entries }) => entries.every((entry) => entry.isOver))
}

async function assertUnknown(cache: Cache, next: FakeUpstream): Promise<void> {
  const answer = await cache.open(path) // Of the former upstream's bytes there would be no end.
  assert.equal(answer.status, 404)
  assertRefused(await answer.rest(), 404, 'BLOB_UNKNOWN')
  assertRefused(await cache.get(path, { range: 'bytes=0-10' }), 404, 'BLOB_UNKNOWN')
  assert.equal((await cache.head(path)).status, 404)
  const lines = next.transcript.take()
  assert.ok(lines.length >= 3 && lines.every((line) => line.endsWith(' 404')), lines.join('\n'))
}

test('a blob that the former upstream is sending is asked of the new one, and its readers may end', async (t) => {
  const { cache, next, valve, reading } = await changeWhileReading(t)
  const pull = cache.get(path)
  await eventually(async () => assert.equal(next.transcript.lines().length, 1))
  assertServed(await pull, { outcome: 'miss', bytes: layer.bytes })
  assert.deepEqual(next.transcript.take(), [`GET /v2/${path} 200`])
  valve.open()
  assertServed(await reading.rest(), { outcome: 'miss', bytes: layer.bytes })
})

test('while the former upstream sends a blob, the new one that does not have it is believed', async (t) => {
  const { cache, next, valve, reading } = await changeWhileReading(t)
  next.repository('app').delete(layer.digest)
  await assertUnknown(cache, next)
  valve.open()
  assert.equal((await reading.rest()).isWhole, true)
})

test('what the former upstream sent to its end gives no right to it', async (t) => {
  const { cache, next, valve, reading } = await changeWhileReading(t)
  next.repository('app').delete(layer.digest)
  valve.open()
  assert.equal((await reading.rest()).isWhole, true)
  await ended(cache.upstream)
  await entrepot.ingestsEnded()
  await assertUnknown(cache, next)
})
