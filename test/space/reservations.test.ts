/** DESIGN part 5, Reservations: what a manifest's GET holds, its four ends, and what comes after them. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { blobsOf, type FakeManifest, image } from '../fakes/content.ts'
import { assertServed } from '../pull-through/assert-answer.ts'
import type { Cache } from '../pull-through/cache.ts'
import { eventually } from '../pull-through/eventually.ts'
import { HELD_BYTES, type SpaceRig, sizeOf, startRig } from './space-rig.ts'

const minuteMs = 60_000

let rig: SpaceRig
before(async () => {
  rig = await startRig()
})
after(() => rig.stop())

let [a, b] = makeImages('0')
let tests = 0
beforeEach(() => {
  ;[a, b] = makeImages(String(++tests))
})

function makeImages(test: string): [FakeManifest, FakeManifest] {
  const make = (name: string) => image({ seed: `${test} ${name}`, layers: 2, layerBytes: HELD_BYTES })
  return [make('a'), make('b')]
}

function layer(content: FakeManifest, position: number) {
  const found = content.layers[position]
  assert.ok(found)
  return found
}

async function getLayer(cache: Cache, content: FakeManifest, position: number): Promise<void> {
  const { digest, bytes } = layer(content, position)
  assertServed(await cache.get(`app/blobs/${digest}`), { bytes })
  await rig.entrepot.ingestsEnded()
}

test('the manifest reserves all that is missing of its image, and publishing does not move the charge', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } })
  await rig.ask(cache, 'app', 'a', a)
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a), 1])
  for (const { digest } of blobsOf(a)) {
    await cache.get(`app/blobs/${digest}`)
    await rig.entrepot.ingestsEnded()
    assert.equal(await rig.charge(cache), sizeOf(a))
  }
})

test('it ends when all its blobs are stored, also those that another image brought', async (t) => {
  const twin = image({ seed: `${tests} twin`, layers: a.layers })
  const cache = await rig.entrepot.cache(t, { app: { a, twin } })
  await rig.ask(cache, 'app', 'twin', twin)
  await rig.ask(cache, 'app', 'a', a)
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a, twin), 2])
  await rig.pull(cache, 'app', 'a', a)
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a, twin), 1])
  const config = twin.config?.digest ?? ''
  await cache.get(`app/blobs/${config}`)
  await rig.entrepot.ingestsEnded()
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a, twin), 0])
})

test('it ends 15 minutes after the last byte of any of its blobs, and what did not arrive is released', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } })
  await rig.ask(cache, 'app', 'a', a)
  await rig.entrepot.clock.advance(10 * minuteMs)
  await getLayer(cache, a, 0)
  await rig.runInPlace()
  await rig.passTime(14 * minuteMs)
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a), 1])
  await rig.passTime(2 * minuteMs)
  const missing = layer(a, 1).bytes.byteLength + (a.config?.bytes.byteLength ?? 0)
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a) - missing, 0])
  assert.deepEqual(await rig.tags(cache, 'app'), ['a'])
})

test('a blob that is being received for longer than that keeps it open', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } }, {})
  await rig.setQuota(cache, sizeOf(a))
  await rig.ask(cache, 'app', 'a', a)
  const { gate, answer } = await rig.receive(cache, 'app', layer(a, 0).digest)
  const ended = 'entrepot_reservations_ended_total{reason="idle"}'
  const before = (await rig.entrepot.metric(ended)) || 0
  for (let quarter = 0; quarter < 3; quarter++) {
    await rig.entrepot.clock.advance(16 * minuteMs)
    await rig.runInPlace()
  }
  assert.equal((await rig.entrepot.metric(ended)) || 0, before)
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a), 1])
  gate.open()
  assertServed(await answer.rest(), { bytes: layer(a, 0).bytes })
})

test('it ends when the upstream does not have one of its blobs', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } })
  await rig.ask(cache, 'app', 'a', a)
  await getLayer(cache, a, 0)
  cache.upstream.repository('app').blobs.delete(layer(a, 1).digest)
  assert.equal((await cache.get(`app/blobs/${layer(a, 1).digest}`)).status, 404)
  await eventually(async () => assert.equal(rig.reservations(cache), 0))
  const held = a.bytes.byteLength + layer(a, 0).bytes.byteLength
  assert.equal(await rig.charge(cache), held)
})

test('reservations that end are counted by why', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a, b: image({ seed: `${tests} b`, layers: 1 }) } })
  const counted = async (reason: string) =>
    (await rig.entrepot.metric(`entrepot_reservations_ended_total{reason="${reason}"}`)) || 0
  const before = [await counted('fulfilled'), await counted('refused')] as const
  await rig.ask(cache, 'app', 'a', a)
  for (const blob of [layer(a, 0), layer(a, 1)]) await cache.get(`app/blobs/${blob.digest}`)
  await cache.get(`app/blobs/${a.config?.digest}`)
  await rig.entrepot.ingestsEnded()
  assert.deepEqual([await counted('fulfilled'), await counted('refused')], [before[0] + 1, before[1]])
  assert.equal((await cache.get('app/manifests/b')).status, 200)
  for (const digest of cache.upstream.repository('app').blobs.keys())
    cache.upstream.repository('app').blobs.delete(digest)
  const other = JSON.parse((await cache.get('app/manifests/b')).body.toString()).layers[0].digest
  assert.equal((await cache.get(`app/blobs/${other}`)).status, 404)
  await eventually(async () => assert.equal(await counted('refused'), before[1] + 1))
})

test('charge and limit of an organization are measured', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } })
  await rig.ask(cache, 'app', 'a', a)
  const label = `{organization="${cache.organization}"}`
  assert.equal(await rig.entrepot.metric(`entrepot_charge_bytes${label}`), sizeOf(a))
  assert.ok(Number.isNaN(await rig.entrepot.metric(`entrepot_limit_bytes${label}`)), 'there is none yet')
  await rig.setQuota(cache, sizeOf(a) + 1)
  assert.equal(await rig.entrepot.metric(`entrepot_limit_bytes${label}`), sizeOf(a) + 1)
})

test('that the upstream is down ends nothing', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } })
  await rig.ask(cache, 'app', 'a', a)
  cache.upstream.quirk('GET /v2/app/blobs/*', { status: 500 })
  assert.equal((await cache.get(`app/blobs/${layer(a, 0).digest}`)).status, 502)
  await rig.entrepot.ingestsEnded()
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a), 1])
})

test('it ends with its image, and what another reservation holds stays held', async (t) => {
  const twin = image({ seed: `${tests} twin`, layers: a.layers })
  const cache = await rig.entrepot.cache(t, { app: { a, twin } })
  await rig.ask(cache, 'app', 'a', a)
  await rig.ask(cache, 'app', 'twin', twin)
  const answer = await rig.changeTag(cache, 'app:a', 'POST expire', { manifest_digest: a.digest, is_alive: true })
  assert.equal(answer.status, 200, answer.body.toString())
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(twin), 1])
})

test('a blob that was released is admitted alone when somebody asks for it later', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } })
  await rig.setQuota(cache, sizeOf(a))
  await rig.ask(cache, 'app', 'a', a)
  await rig.passTime(16 * minuteMs)
  assert.equal(await rig.charge(cache), a.bytes.byteLength)
  await getLayer(cache, a, 0)
  assert.equal(await rig.charge(cache), a.bytes.byteLength + layer(a, 0).bytes.byteLength)
  await cache.upstream.refuse()
  await getLayer(cache, a, 0)
})

test('a blob that was released evicts others when it is asked for', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a, b } })
  await rig.setQuota(cache, sizeOf(a))
  await rig.ask(cache, 'app', 'a', a)
  await rig.passTime(16 * minuteMs)
  const small = image({ seed: `${tests} small`, layerBytes: HELD_BYTES })
  cache.upstream.repository('app').tag('small', small)
  await rig.pull(cache, 'app', 'small', small)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'small'])
  for (const position of [0, 1]) await getLayer(cache, a, position)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a'])
  assert.deepEqual(await rig.stored([a, small]), [true, false])
})

test('a blob that was released and does not fit is streamed: once the manifest was given, none is refused', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a, b } })
  await rig.setQuota(cache, sizeOf(a) + b.bytes.byteLength)
  await rig.ask(cache, 'app', 'b', b)
  await rig.passTime(16 * minuteMs)
  await rig.pull(cache, 'app', 'a', a)
  await rig.pin(cache, 'app:a')
  const charge = await rig.charge(cache)
  cache.upstream.transcript.take()
  for (let time = 0; time < 2; time++) await getLayer(cache, b, 0)
  const asked = `GET /v2/app/blobs/${layer(b, 0).digest} 200`
  assert.deepEqual(cache.upstream.transcript.take(), [asked, asked])
  assert.equal(await rig.charge(cache), charge)
  assert.equal(await rig.isInStore(layer(b, 0).digest), false)
})

test('the manifest of an incomplete image that is asked for again opens its reservation no second time', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } })
  for (let time = 0; time < 3; time++) await rig.ask(cache, 'app', 'a', a)
  assert.deepEqual([await rig.charge(cache), rig.reservations(cache)], [sizeOf(a), 1])
})
