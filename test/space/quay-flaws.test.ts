/**
 * What is known to go wrong in Quay's proxy organizations (quay-behaviour.md 3.3, and part 7 by its numbers), each as a
 * test that it does not here.
 */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { blobsOf, type FakeManifest, image, index } from '../fakes/content.ts'
import type { Cache } from '../pull-through/cache.ts'
import { type SpaceRig, sizeOf, startRig } from './space-rig.ts'

let rig: SpaceRig
before(async () => {
  rig = await startRig()
})
after(() => rig.stop())

const layerBytes = 20_000
let [a, b, c, d] = makeImages('0')
let tests = 0
beforeEach(() => {
  ;[a, b, c, d] = makeImages(String(++tests))
})

function makeImages(test: string): [FakeManifest, FakeManifest, FakeManifest, FakeManifest] {
  const make = (name: string) => image({ seed: `${test} ${name}`, layers: 2, layerBytes })
  return [make('a'), make('b'), make('c'), make('d')]
}

/** Three images, and not a byte of room. */
async function full(t: TestContext): Promise<Cache> {
  const cache = await rig.entrepot.cache(t, { app: { a, b, c, d } })
  for (const [tag, content] of Object.entries({ a, b, c })) await rig.pull(cache, 'app', tag, content)
  await rig.setQuota(cache, sizeOf(a, b, c))
  return cache
}

describe('3.3: pruning on a pull', () => {
  test('what is asked for counts with its config, and without the layers that are cached', async (t) => {
    const cache = await full(t)
    const rebuilt = image({ seed: `${tests} rebuilt`, layers: c.layers })
    cache.upstream.repository('app').tag('rebuilt', rebuilt)
    const need = sizeOf(rebuilt, c) - sizeOf(c)
    await rig.setQuota(cache, sizeOf(a, b, c) + need)
    await rig.pull(cache, 'app', 'rebuilt', rebuilt)
    assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b', 'c', 'rebuilt'])
    assert.equal(await rig.charge(cache), sizeOf(a, b, c, rebuilt))
  })

  test('a tag that never expires may be evicted', async (t) => {
    const cache = await rig.entrepot.cache(t, { app: { a, b, c, d } }, { expiration_s: 0 })
    for (const [tag, content] of Object.entries({ a, b, c })) await rig.pull(cache, 'app', tag, content)
    await rig.setQuota(cache, sizeOf(a, b, c))
    await rig.pull(cache, 'app', 'd', d)
    assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c', 'd'])
  })

  test('a restored tag may be evicted', async (t) => {
    const cache = await full(t)
    assert.equal((await rig.changeTag(cache, 'app:c', 'DELETE')).status, 204)
    const restored = await rig.changeTag(cache, 'app:c', 'POST restore', { manifest_digest: c.digest })
    assert.equal(restored.status, 200)
    await rig.entrepot.clock.advance(1000)
    for (const tag of ['a', 'b']) await rig.pull(cache, 'app', tag, tag === 'a' ? a : b)
    await rig.pull(cache, 'app', 'd', d)
    assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b', 'd'])
  })

  test('concurrent pulls do not overshoot', async (t) => {
    const cache = await full(t)
    const more = ['e', 'f', 'g'].map((name) => image({ seed: `${tests} ${name}`, layers: 2, layerBytes }))
    for (const [position, content] of more.entries()) cache.upstream.repository('app').tag(`new${position}`, content)
    await Promise.all(more.map((content, position) => rig.ask(cache, 'app', `new${position}`, content)))
    assert.equal(await rig.charge(cache), sizeOf(...more))
    assert.deepEqual(await rig.tags(cache, 'app'), ['new0', 'new1', 'new2'])
  })
})

test('4: images that were pulled by digest alone are evicted, and do not end in 403 for ever', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a, b, c, d } })
  for (const content of [a, b, c]) await rig.pull(cache, 'app', content.digest, content)
  await rig.setQuota(cache, sizeOf(a, b, c))
  await rig.pull(cache, 'app', d.digest, d)
  assert.deepEqual(await rig.stored([a, b, c, d]), [false, true, true, true])
})

test('5: expired tags in the Time Machine are evicted', async (t) => {
  const cache = await full(t)
  for (const tag of ['a', 'b', 'c']) assert.equal((await rig.changeTag(cache, `app:${tag}`, 'DELETE')).status, 204)
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual([await rig.tags(cache, 'app'), await rig.charge(cache)], [['d'], sizeOf(b, c, d)])
})

test('6: evicting a tag of several platforms frees them at once', async (t) => {
  const whole = index([a, b, c])
  const cache = await rig.entrepot.cache(t, { app: { latest: whole, d } })
  await rig.ask(cache, 'app', 'latest', whole)
  for (const child of [a, b, c]) await rig.pull(cache, 'app', child.digest, child)
  await rig.setQuota(cache, sizeOf(whole))
  await rig.pull(cache, 'app', 'd', d)
  assert.deepEqual([await rig.tags(cache, 'app'), await rig.charge(cache)], [['d'], sizeOf(d)])
  assert.deepEqual(await rig.stored([a, b, c]), [false, false, false])
})

describe('7', () => {
  test('no more is pruned than the deficit asks for', async (t) => {
    const cache = await full(t)
    await rig.setQuota(cache, sizeOf(a, b, c) + sizeOf(d) - 1)
    await rig.pull(cache, 'app', 'd', d)
    assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c', 'd'])
  })

  test('a pull that cannot succeed prunes nothing', async (t) => {
    const cache = await full(t)
    const huge = image({ seed: `${tests} huge`, layers: 7, layerBytes })
    cache.upstream.repository('app').tag('huge', huge)
    assert.equal((await cache.get('app/manifests/huge')).status, 403)
    assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b', 'c'])
  })

  test('space that was freed is free: the next pull prunes nothing again', async (t) => {
    const cache = await full(t)
    await rig.ask(cache, 'app', 'd', d)
    await rig.pullBlobs(cache, 'app', d)
    await rig.ask(cache, 'app', 'd', d)
    assert.equal(rig.log(cache, 'evict_image').length, 1)
    assert.equal(await rig.charge(cache), sizeOf(b, c, d))
  })
})

describe('8', () => {
  test('a Reject percentage holds for pulls', async (t) => {
    const cache = await full(t)
    await rig.setQuota(cache, 2 * sizeOf(a, b, c))
    await rig.addLimit(cache, 'Reject', 50)
    await rig.pull(cache, 'app', 'd', d)
    assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c', 'd'])
  })

  test('an eviction is logged, told and counted', async (t) => {
    const cache = await full(t)
    const name = 'entrepot_images_removed_total{reason="admission"}'
    const before = (await rig.entrepot.metric(name)) || 0
    await rig.pull(cache, 'app', 'd', d)
    const seen = [rig.log(cache, 'evict_image').length, rig.notifications(cache, 'image_evicted').length]
    assert.deepEqual([...seen, (await rig.entrepot.metric(name)) - before], [1, 1, 1])
  })
})

test('11: what is pulled while it is collected is served whole, and stays whole', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } }, { expiration_s: 60 })
  await rig.entrepot.must('PUT', `/api/v1/organization/${cache.organization}`, { tag_expiration_s: 0 })
  for (let round = 0; round < 3; round++) {
    await rig.pull(cache, 'app', 'a', a)
    await rig.entrepot.clock.advance(61_000)
    // Each of the two may come first; both ways every answer is whole.
    await Promise.all([rig.runInPlace(), rig.ask(cache, 'app', 'a', a), rig.pullBlobs(cache, 'app', a)])
  }
  await rig.pull(cache, 'app', 'a', a)
  await cache.upstream.refuse()
  await rig.pullBlobs(cache, 'app', a)
  await rig.files()
  assert.equal(await rig.charge(cache), sizeOf(a))
})

test('13: many first pulls of one image at once are one, and are charged once', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } })
  await Promise.all(Array.from({ length: 20 }, () => rig.ask(cache, 'app', 'a', a)))
  await Promise.all(Array.from({ length: 20 }, () => rig.pullBlobs(cache, 'app', a)))
  await rig.entrepot.ingestsEnded()
  assert.equal(await rig.charge(cache), sizeOf(a))
  const blobs = blobsOf(a).map(({ digest }) => `GET /v2/app/blobs/${digest} 200`)
  const expected = ['GET /v2/app/manifests/a 200', ...blobs]
  const asked = cache.upstream.transcript.take().filter((line) => !line.startsWith('HEAD'))
  assert.deepEqual(asked.toSorted(), expected.toSorted())
})
