/** DESIGN part 4: when a client has asked for a layer, the rest of the image is completed in the background. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { blobsOf, image } from '../fakes/content.ts'
import { Gate } from '../fakes/gate.ts'
import { assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import { eventually } from './eventually.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const content = image({ layers: 4, layerBytes: 20_000 })
const paths = blobsOf(content).map(({ digest }) => `app/blobs/${digest}`)
const [config = '', first = '', ...others] = paths

async function named(t: Parameters<Entrepot['cache']>[0], from = entrepot): Promise<Cache> {
  const cache = await from.cache(t, { app: { latest: content } })
  assert.equal((await cache.get('app/manifests/latest')).status, 200)
  cache.upstream.transcript.take()
  return cache
}

async function assertWhole(cache: Cache, expected = content): Promise<void> {
  for (const { digest, bytes } of blobsOf(expected)) {
    await eventually(async () => assertServed(await cache.get(`app/blobs/${digest}`), { outcome: 'hit', bytes }))
  }
}

test('after the first layer the remaining blobs come in the background, each once', async (t) => {
  const cache = await named(t)
  await cache.get(first)
  await cache.upstream.transcript.until(
    ({ entries }) => entries.filter((entry) => entry.isOver).length === paths.length,
  )
  const lines = cache.upstream.transcript.take()
  assert.equal(lines[0], `GET /v2/${first} 200`)
  assert.deepEqual(lines.toSorted(), paths.map((path) => `GET /v2/${path} 200`).toSorted())
  await cache.upstream.refuse()
  await assertWhole(cache)
})

test('the manifest and the config alone complete nothing', async (t) => {
  const cache = await named(t)
  await cache.get(config)
  await entrepot.roundTrips()
  await entrepot.roundTrips()
  assert.deepEqual(cache.upstream.transcript.take(), [`GET /v2/${config} 200`])
})

test('a client that asks for what is being completed joins it', async (t) => {
  const cache = await named(t)
  const gate = new Gate()
  for (const path of others) cache.upstream.quirk(`GET /v2/${path}`, { hangBeforeHeaders: gate })
  await cache.get(first)
  await cache.upstream.transcript.until(({ entries }) => entries.some(({ target }) => target === `/v2/${others[0]}`))
  const joined = cache.get(others[0] ?? '')
  await entrepot.roundTrips()
  gate.open()
  assertServed(await joined, { bytes: content.layers[1]?.bytes ?? Buffer.alloc(0) })
  await assertWhole(cache)
  const asked = cache.upstream.transcript.take().filter((line) => line.includes(others[0] ?? '-'))
  assert.equal(asked.length, 1)
})

test('descriptors with urls are never completed', async (t) => {
  const foreign = image({
    layers: 3,
    seed: 'foreign',
    layerFields: (position) => (position === 1 ? { urls: ['https://example.com/layer'] } : {}),
  })
  const cache = await entrepot.cache(t, { app: { latest: foreign } })
  await cache.get('app/manifests/latest')
  cache.upstream.transcript.take()
  await cache.get(`app/blobs/${foreign.layers[0]?.digest}`)
  await cache.upstream.transcript.until(({ entries }) => entries.filter((entry) => entry.isOver).length === 3)
  await entrepot.roundTrips()
  const lines = cache.upstream.transcript.take()
  assert.equal(
    lines.some((line) => line.includes(foreign.layers[1]?.digest ?? '-')),
    false,
  )
  assert.equal(lines.length, 3)
})

test('without FEATURE_PROXY_CACHE_BLOB_DOWNLOAD nothing is completed', async (t) => {
  const plain = await startEntrepot({ FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false })
  t.after(() => plain.stop())
  const cache = await named(t, plain)
  await cache.get(first)
  await plain.roundTrips()
  await plain.roundTrips()
  assert.deepEqual(cache.upstream.transcript.take(), [`GET /v2/${first} 200`])
})

test('completion that failed is tried again, also after a restart', async (t) => {
  const own = await startEntrepot()
  t.after(() => own.stop())
  const cache = await named(t, own)
  for (const path of others) cache.upstream.quirk(`GET /v2/${path}`, { status: 503 })
  await cache.get(first)
  await cache.upstream.transcript.until(
    ({ entries }) => entries.filter(({ status }) => status === 503).length >= others.length,
  )
  cache.upstream.clearQuirks()
  await own.restart()
  await own.clock.advance(3_600_000)
  await cache.upstream.transcript.until(({ entries }) =>
    others.every((path) =>
      entries.some((entry) => entry.target === `/v2/${path}` && entry.status === 200 && entry.isOver),
    ),
  )
  await assertWhole(cache)
})

test('completion is given up after 24 hours', async (t) => {
  const own = await startEntrepot()
  t.after(() => own.stop())
  const cache = await named(t, own)
  for (const path of others) cache.upstream.quirk(`GET /v2/${path}`, { status: 503 })
  await cache.get(first)
  await cache.upstream.transcript.until(
    ({ entries }) => entries.filter(({ status }) => status === 503).length >= others.length,
  )
  await own.halt()
  cache.upstream.clearQuirks()
  cache.upstream.transcript.take()
  await own.clock.advance(25 * 3_600_000)
  await own.start()
  await own.roundTrips()
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('a client that asks for what is still waiting in the background goes before whoever asks after it', async (t) => {
  const own = await startEntrepot({}, { upstream: { blobRequestsMax: 1, backgroundRequestsMax: 1 } })
  t.after(() => own.stop())
  const single = image({ layers: 2, seed: 'waits' })
  const later = image({ seed: 'later' })
  const cache = await own.cache(t, { app: { single, later } })
  for (const tag of ['single', 'later']) await cache.get(`app/manifests/${tag}`)
  const [first = '', second = '', third = ''] = [...single.layers, ...later.layers].map(
    ({ digest }) => `app/blobs/${digest}`,
  )
  cache.upstream.transcript.take()
  const gate = new Gate()
  cache.upstream.quirk(`GET /v2/${first}`, { hangBeforeHeaders: gate })
  const pulls = [cache.get(first)]
  await eventually(async () => assert.equal(await own.metric('entrepot_ingests_running'), 3)) // Layers and config.
  for (const path of [second, third]) {
    pulls.push(cache.get(path))
    await own.roundTrips()
  }
  gate.open()
  for (const answer of await Promise.all(pulls)) assert.deepEqual([answer.status, answer.isWhole], [200, true])
  await own.ingestsEnded()
  const asked = cache.upstream.transcript.take().slice(0, 3)
  assert.deepEqual(
    asked,
    [first, second, third].map((path) => `GET /v2/${path} 200`),
  )
})
