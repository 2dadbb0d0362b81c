/** DESIGN part 5, Roots and Admission: who has to go for an image that is asked for, over HTTP. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, type TestContext, test } from 'node:test'
import { blob, blobsOf, type FakeManifest, image, index } from '../fakes/content.ts'
import { assertServed } from '../pull-through/assert-answer.ts'
import type { Cache } from '../pull-through/cache.ts'
import { errorOf } from '../pull-through/registry-client.ts'
import { HELD_BYTES, type SpaceRig, sizeOf, startRig } from './space-rig.ts'

let rig: SpaceRig
before(async () => {
  rig = await startRig()
})
after(() => rig.stop())

const layerBytes = 20_000
/** Of equal size, and others for each test: organizations share what is stored. */
let [a, b, c, d, e] = makeImages('0')
let tests = 0
beforeEach(() => {
  ;[a, b, c, d, e] = makeImages(String(++tests))
})

function makeImages(test: string): [FakeManifest, FakeManifest, FakeManifest, FakeManifest, FakeManifest] {
  const make = (name: string) => image({ seed: `${test} ${name}`, layers: 2, layerBytes })
  return [make('a'), make('b'), make('c'), make('d'), make('e')]
}

/** An image whose one layer `rig.receive` holds up, and that layer's digest. */
function makeSlow(seed: string): [FakeManifest, string] {
  const slow = image({ seed, layerBytes: HELD_BYTES })
  return [slow, slow.layers[0]?.digest ?? '']
}

/** An organization that holds `pulled`, in that order, and no byte more. */
async function full(t: TestContext, ...pulled: (readonly [string, FakeManifest])[]): Promise<Cache> {
  const tags = { ...Object.fromEntries(pulled), d, e }
  const cache = await rig.entrepot.cache(t, { app: tags })
  for (const [tag, content] of pulled) await rig.pull(cache, 'app', tag, content)
  await rig.setQuota(cache, await rig.charge(cache))
  return cache
}

function fullOfThree(t: TestContext): Promise<Cache> {
  return full(t, ['a', a], ['b', b], ['c', c])
}

test('the least recently used image goes for one that does not fit, and the charge never exceeds the limit', async (t) => {
  const cache = await fullOfThree(t)
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c', 'd'])
  assert.equal(await rig.charge(cache), sizeOf(b, c, d))
})

test('need counts only what is not in the ledger: what shares its layers with what is held evicts nothing', async (t) => {
  const shared = image({ seed: 'other config', layers: a.layers })
  const cache = await fullOfThree(t)
  await rig.setQuota(cache, sizeOf(a, b, c, shared))
  cache.upstream.repository('app').tag('shared', shared)
  cache.upstream.transcript.take()
  await rig.pull(cache, 'app', 'shared', shared)
  assert.deepEqual(cache.upstream.transcript.take(), [
    'GET /v2/app/manifests/shared 200',
    `GET /v2/app/blobs/${shared.config?.digest} 200`,
  ])
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b', 'c', 'shared'])
  assert.equal(await rig.charge(cache), sizeOf(a, b, c, shared))
})

test('one byte less, and one image goes', async (t) => {
  const shared = image({ seed: 'other config', layers: a.layers })
  const cache = await fullOfThree(t)
  await rig.setQuota(cache, sizeOf(a, b, c, shared) - 1)
  cache.upstream.repository('app').tag('shared', shared)
  await rig.pull(cache, 'app', 'shared', shared)
  assert.equal((await rig.tags(cache, 'app')).length, 3)
})

test('what is only in the Time Machine goes before what is alive, however lately it was used', async (t) => {
  const cache = await fullOfThree(t)
  assert.equal((await rig.changeTag(cache, 'app:b', 'DELETE')).status, 204)
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'c', 'd'])
  assert.deepEqual(await rig.stored([a, b, c]), [true, false, true])
})

test('of what is only in the Time Machine the longest expired goes first', async (t) => {
  const cache = await fullOfThree(t)
  for (const tag of ['c', 'b']) {
    assert.equal((await rig.changeTag(cache, `app:${tag}`, 'DELETE')).status, 204)
    await rig.entrepot.clock.advance(1000)
  }
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual(await rig.stored([a, b, c, d]), [true, true, false, true])
})

test('a pull counts as use at once, by tag and by digest: uses that are not written yet are applied before', async (t) => {
  const cache = await fullOfThree(t)
  await rig.ask(cache, 'app', 'a', a)
  await rig.ask(cache, 'app', b.digest, b)
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b', 'd'])
})

test('what turns out not to be needed is put back', async (t) => {
  const small = image({ seed: `${t.name} small`, layerBytes: 5000 })
  const large = image({ seed: `${t.name} large`, layerBytes: 60_000 })
  const cache = await full(t, ['small', small], ['large', large])
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['d', 'small'])
  assert.equal(rig.log(cache, 'evict_image').length, 1)
})

test('an image that is pinned stays', async (t) => {
  const cache = await fullOfThree(t)
  await rig.pin(cache, 'app:a')
  await rig.pull(cache, 'app', 'd', d)
  await rig.pull(cache, 'app', 'e', e)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'd', 'e'])
})

test('an image of which a client is receiving a blob stays, however long ago it was asked for', async (t) => {
  const [slow, layer] = makeSlow(t.name)
  const cache = await rig.entrepot.cache(t, { app: { slow, b, d } })
  await rig.setQuota(cache, sizeOf(slow, b))
  await rig.ask(cache, 'app', 'slow', slow)
  const { gate, answer } = await rig.receive(cache, 'app', layer)
  await rig.entrepot.clock.advance(60_000)
  await rig.pullBeside(cache, 'app', 'b', b)
  await rig.pullBeside(cache, 'app', 'd', d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['d', 'slow'])
  gate.open()
  assertServed(await answer.rest(), { bytes: slow.layers[0]?.bytes ?? Buffer.alloc(0) })
})

test('a tag that moves keeps its former image in the history, which goes like any other', async (t) => {
  const cache = await full(t, ['a', a], ['b', b])
  await rig.setQuota(cache, sizeOf(a, b, d))
  cache.upstream.repository('app').tag('a', d)
  await rig.pull(cache, 'app', 'a', d)
  assert.equal(await rig.charge(cache), sizeOf(a, b, d))
  await rig.pull(cache, 'app', 'e', e)
  assert.deepEqual(await rig.stored([a, b, d, e]), [false, true, true, true])
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b', 'e'])
})

test('all tags of an image go together', async (t) => {
  const cache = await full(t, ['a', a], ['also-a', a], ['b', b])
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'd'])
})

test('a child that does not fit beside its siblings displaces the least recently used of them', async (t) => {
  const children = [a, b, c]
  const whole = index(children)
  const cache = await rig.entrepot.cache(t, { app: { latest: whole } })
  await rig.setQuota(cache, sizeOf(a, b) + whole.bytes.byteLength)
  await rig.ask(cache, 'app', 'latest', whole)
  for (const child of children) await rig.pull(cache, 'app', child.digest, child)
  assert.deepEqual(await rig.tags(cache, 'app'), ['latest'])
  assert.deepEqual(await rig.stored(children), [false, true, true])
  assert.equal(await rig.charge(cache), sizeOf(b, c) + whole.bytes.byteLength)
})

test('other images go before the siblings of what is asked for', async (t) => {
  const whole = index([a, b])
  const cache = await rig.entrepot.cache(t, { app: { latest: whole, d } })
  await rig.setQuota(cache, sizeOf(whole))
  await rig.ask(cache, 'app', 'latest', whole)
  await rig.pull(cache, 'app', a.digest, a)
  await rig.pull(cache, 'app', 'd', d)
  await rig.pull(cache, 'app', b.digest, b)
  assert.deepEqual(await rig.tags(cache, 'app'), ['latest'])
  assert.deepEqual(await rig.stored([a, b, d]), [true, true, false])
})

test('a child of a live index is no image of its own; asked for without one, it is', async (t) => {
  const whole = index([a, b])
  const cache = await rig.entrepot.cache(t, { app: { latest: whole, d } })
  await rig.ask(cache, 'app', 'latest', whole)
  await rig.pull(cache, 'app', a.digest, a)
  await rig.pull(cache, 'app', d.digest, d)
  const answer = await rig.entrepot.api('GET', `/api/v1/repository/${cache.organization}/app/image/`)
  const digests = JSON.stringify(JSON.parse(answer.body.toString()))
  assert.equal(digests.includes(d.digest), true)
  assert.equal(digests.includes(a.digest), false)
})

test('an image larger than the limit is refused with what podman prints, and nothing goes', async (t) => {
  const cache = await full(t, ['a', a], ['b', b])
  const limit = sizeOf(a, b)
  const huge = image({ seed: `${t.name} huge`, layers: 3, layerBytes: 40_000 })
  cache.upstream.repository('app').tag('huge', huge)
  const answer = await cache.get('app/manifests/huge')
  assert.equal(answer.status, 403)
  assert.deepEqual(errorOf(answer), {
    code: 'DENIED',
    message: 'Quota has been exceeded on namespace',
    detail: { needed: sizeOf(huge), available: limit, limit },
  })
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b'])
  assert.deepEqual(await rig.stored([a, b]), [true, true])
  assert.equal(await rig.charge(cache), limit)
  assert.deepEqual(rig.log(cache, 'evict_image'), [])
  assert.equal(rig.notifications(cache, 'quota_error').length, 1)
})

test('what is pinned is not available: an image that would fit without it is refused, and nothing goes', async (t) => {
  const cache = await full(t, ['a', a], ['b', b])
  await rig.pin(cache, 'app:a')
  const wide = image({ seed: `${t.name} wide`, layers: 3, layerBytes })
  cache.upstream.repository('app').tag('wide', wide)
  const answer = await cache.get('app/manifests/wide')
  assert.equal(answer.status, 403)
  const limit = sizeOf(a, b)
  assert.deepEqual(errorOf(answer).detail, { needed: sizeOf(wide), available: limit - sizeOf(a), limit })
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b'])
})

test('when a moved tag does not fit it is 403, and the old copy stays and pulls by its digest', async (t) => {
  const cache = await full(t, ['a', a], ['b', b])
  const huge = image({ seed: `${t.name} huge`, layers: 3, layerBytes: 40_000 })
  cache.upstream.repository('app').tag('a', huge)
  assert.equal((await cache.get('app/manifests/a')).status, 403)
  await cache.upstream.refuse()
  await rig.ask(cache, 'app', a.digest, a)
  await rig.pullBlobs(cache, 'app', a)
  const current = (await rig.history(cache, 'app', 'onlyActiveTags=true')).find((tag) => tag.name === 'a')
  assert.equal(current?.manifest_digest, a.digest)
})

test('when only images that are being received stand in the way, it is passed through uncached', async (t) => {
  const [slow, layer] = makeSlow(t.name)
  const cache = await rig.entrepot.cache(t, { app: { slow, d } })
  await rig.setQuota(cache, sizeOf(slow))
  await rig.ask(cache, 'app', 'slow', slow)
  const { gate, answer } = await rig.receive(cache, 'app', layer)
  await rig.entrepot.clock.advance(60_000)
  cache.upstream.transcript.take()
  for (let time = 0; time < 2; time++) {
    await rig.ask(cache, 'app', 'd', d)
    await rig.pullBlobs(cache, 'app', d)
  }
  const blobs = blobsOf(d).map(({ digest }) => `GET /v2/app/blobs/${digest} 200`)
  const once = ['GET /v2/app/manifests/d 200', ...blobs]
  assert.deepEqual(cache.upstream.transcript.take(), [...once, ...once])
  assert.equal(await rig.charge(cache), sizeOf(slow))
  assert.deepEqual(await rig.tags(cache, 'app'), ['slow'])
  assert.deepEqual(await rig.stored([d]), [false])
  assert.deepEqual(rig.log(cache, 'evict_image'), [])
  gate.open()
  await answer.rest()
})

test('an image that was given a moment ago is not evicted before its client could ask for its blobs', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a, d } })
  await rig.setQuota(cache, sizeOf(a) + 100)
  await rig.ask(cache, 'app', 'a', a)
  await rig.ask(cache, 'app', 'd', d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a'])
  await rig.pullBlobs(cache, 'app', a)
  await rig.entrepot.ingestsEnded()
  await rig.entrepot.clock.advance(11_000)
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['d'])
})

test('an organization may let images pass that are too large', async (t) => {
  const cache = await full(t, ['a', a])
  await rig.entrepot.must('PUT', `/api/v1/organization/${cache.organization}`, { passes_too_large: true })
  const huge = image({ seed: `${t.name} huge`, layers: 3, layerBytes: 40_000 })
  cache.upstream.repository('app').tag('huge', huge)
  await rig.pull(cache, 'app', 'huge', huge)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a'])
  assert.deepEqual(await rig.stored([a, huge]), [true, false])
  assert.equal(await rig.charge(cache), sizeOf(a))
})

test('HEAD never reserves or evicts', async (t) => {
  const cache = await full(t, ['a', a])
  assert.equal((await cache.head('app/manifests/d')).status, 200)
  assert.equal((await cache.head(`app/blobs/${d.layers[0]?.digest}`)).status, 200)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a'])
  assert.equal(await rig.charge(cache), sizeOf(a))
  assert.equal(rig.reservations(cache), 0)
})

test('HEAD by tag and GET by digest, as Docker asks, evict as GET by tag does, and bring the tag', async (t) => {
  const cache = await fullOfThree(t)
  const head = await cache.head('app/manifests/d')
  await rig.pull(cache, 'app', String(head.headers['docker-content-digest']), d)
  assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c', 'd'])
})

test('blobs that lie elsewhere (`urls`) are not waited for', async (t) => {
  const foreign = image({
    seed: `${t.name} foreign`,
    layers: [blob('foreign', 500_000), ...d.layers],
    layerFields: (position) => (position === 0 ? { urls: ['https://elsewhere.example/blob'] } : {}),
  })
  const cache = await fullOfThree(t)
  await rig.setQuota(cache, sizeOf(a, b, c) + 1000)
  cache.upstream.repository('app').tag('foreign', foreign)
  await rig.ask(cache, 'app', 'foreign', foreign)
  assert.equal(await rig.charge(cache), sizeOf(b, c, foreign) - 500_000)
  assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c', 'foreign'])
})
