/** DESIGN part 5, Expiration, Time Machine and Collection, by the clock that tests set. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, type TestContext, test } from 'node:test'
import { blobsOf, type FakeManifest, image, index } from '../fakes/content.ts'
import type { Cache } from '../pull-through/cache.ts'
import { type SpaceRig, sizeOf, startRig } from './space-rig.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const dayMs = 24 * hourMs

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
  const make = (name: string) => image({ seed: `${test} ${name}`, layers: 2 })
  return [make('a'), make('b')]
}

/** Pulled images that expire after an hour, in an organization with a window. */
async function cached(t: TestContext, tags: Record<string, FakeManifest>, windowSeconds: number): Promise<Cache> {
  const cache = await rig.entrepot.cache(t, { app: tags }, { expiration_s: 3600 })
  const path = `/api/v1/organization/${cache.organization}`
  await rig.entrepot.must('PUT', path, { tag_expiration_s: windowSeconds })
  for (const [tag, content] of Object.entries(tags)) {
    await rig.ask(cache, 'app', tag, content)
    if (content.children.length === 0) await rig.pullBlobs(cache, 'app', content)
  }
  await rig.entrepot.ingestsEnded()
  return cache
}

test('a tag is gone from the list the moment it expires, still stored and charged, and asked for it lives again', async (t) => {
  const cache = await cached(t, { a }, 86_400)
  await rig.entrepot.clock.advance(hourMs - 1)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a'])
  await rig.entrepot.clock.advance(1)
  assert.deepEqual(await rig.tags(cache, 'app'), [])
  assert.deepEqual([await rig.charge(cache), await rig.stored([a])], [sizeOf(a), [true]])
  cache.upstream.transcript.take()
  await rig.pull(cache, 'app', 'a', a)
  assert.deepEqual(cache.upstream.transcript.take(), ['HEAD /v2/app/manifests/a 200'])
  assert.deepEqual(await rig.tags(cache, 'app'), ['a'])
})

test('a pull renews the expiration, by tag and by digest', async (t) => {
  const cache = await cached(t, { a, b }, 86_400)
  await rig.entrepot.clock.advance(40 * minuteMs)
  await rig.ask(cache, 'app', a.digest, a)
  await rig.ask(cache, 'app', 'b', b)
  await rig.collect()
  await rig.entrepot.clock.advance(40 * minuteMs)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b'])
  await rig.entrepot.clock.advance(20 * minuteMs)
  assert.deepEqual(await rig.tags(cache, 'app'), [])
})

test('what expired is kept for the window and then collected: rows and bytes are gone', async (t) => {
  const cache = await cached(t, { a }, 86_400)
  const id = rig.idOf(cache)
  await rig.passTime(hourMs + dayMs - 81 * minuteMs)
  assert.deepEqual(await rig.stored([a]), [true])
  await rig.entrepot.clock.advance(2 * minuteMs)
  await rig.collect()
  assert.deepEqual(await rig.stored([a]), [false])
  assert.equal(await rig.charge(cache), 0)
  for (const table of ['manifest', 'manifest_blob', 'tag', 'ledger', 'root', 'reservation']) {
    assert.deepEqual(rig.rows(`select 1 from ${table} where organization_id = ?`, id), [], table)
  }
  await rig.files()
  const images = [{ repository: 'app', digest: a.digest, tags: ['a'] }]
  assert.deepEqual(rig.log(cache, 'expire_image'), [{ images, count: 1, freed_bytes: sizeOf(a) }])
})

test('within the window it is restored by the API with a new expiry, though the upstream is gone', async (t) => {
  const cache = await cached(t, { a }, 86_400)
  await cache.upstream.refuse()
  await rig.passTime(3 * hourMs)
  assert.deepEqual(await rig.tags(cache, 'app'), [])
  const answer = await rig.changeTag(cache, 'app:a', 'POST restore', { manifest_digest: a.digest })
  assert.deepEqual([answer.status, answer.body.toString()], [200, '{}'])
  assert.deepEqual(await rig.tags(cache, 'app'), ['a'])
  assert.equal(await rig.charge(cache), sizeOf(a))
  await rig.pull(cache, 'app', 'a', a)
  await rig.entrepot.clock.advance(hourMs)
  assert.deepEqual(await rig.tags(cache, 'app'), [])
})

test('a window of nothing collects at once, and of nobody else', async (t) => {
  const cache = await cached(t, { a }, 0)
  const other = await cached(t, { b }, 86_400)
  // The clock is looked at now, so that what comes is no jump.
  await rig.collect()
  await rig.entrepot.clock.advance(hourMs)
  await rig.collect()
  assert.deepEqual([await rig.charge(cache), await rig.charge(other)], [0, sizeOf(b)])
  assert.deepEqual(await rig.stored([a, b]), [false, true])
})

test('with 0 seconds of expiration nothing ever expires', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { a } }, { expiration_s: 0 })
  await rig.pull(cache, 'app', 'a', a)
  await rig.passTime(4000 * dayMs)
  assert.deepEqual([await rig.tags(cache, 'app'), await rig.stored([a])], [['a'], [true]])
})

test('an image that was asked for only by digest lives and expires as a tag does', async (t) => {
  const cache = await cached(t, {}, 0)
  cache.upstream.repository('app').add(a)
  await rig.pull(cache, 'app', a.digest, a)
  await rig.entrepot.clock.advance(hourMs - minuteMs)
  await rig.collect()
  assert.equal(await rig.charge(cache), sizeOf(a))
  await rig.entrepot.clock.advance(2 * minuteMs)
  await rig.collect()
  assert.deepEqual([await rig.charge(cache), await rig.stored([a])], [0, [false]])
})

test('a tag that moved leaves its former digest in the history for the window, from where it is restored', async (t) => {
  const cache = await rig.entrepot.cache(t, { app: { v: a } }, { expiration_s: 0 })
  await rig.entrepot.must('PUT', `/api/v1/organization/${cache.organization}`, { tag_expiration_s: 86_400 })
  await rig.pull(cache, 'app', 'v', a)
  cache.upstream.repository('app').tag('v', b)
  await rig.pull(cache, 'app', 'v', b)
  const digests = (await rig.history(cache, 'app')).map((tag) => tag.manifest_digest)
  assert.deepEqual(digests, [b.digest, a.digest])
  assert.equal((await rig.changeTag(cache, 'app:v', 'POST restore', { manifest_digest: a.digest })).status, 200)
  const [current] = await rig.history(cache, 'app', 'onlyActiveTags=true')
  assert.equal(current?.manifest_digest, a.digest)
  await rig.passTime(2 * dayMs)
  assert.deepEqual([await rig.charge(cache), await rig.stored([a, b])], [sizeOf(a), [true, false]])
})

test('what is pinned is never collected, and what is unpinned expires', async (t) => {
  const cache = await cached(t, { a, b }, 0)
  await rig.pin(cache, 'app:a')
  await rig.passTime(30 * dayMs)
  assert.deepEqual([await rig.tags(cache, 'app'), await rig.stored([a, b])], [['a'], [true, false]])
  assert.equal((await rig.changeTag(cache, 'app:a', 'DELETE pin')).status, 204)
  await rig.passTime(2 * hourMs)
  assert.equal(await rig.charge(cache), 0)
})

test('an index is collected with its platforms, and one that another index holds stays', async (t) => {
  const [one, two] = [index([a, b]), index([b])]
  const cache = await cached(t, { one, two }, 0)
  for (const child of [a, b]) await rig.pull(cache, 'app', child.digest, child)
  assert.equal((await rig.changeTag(cache, 'app:one', 'DELETE')).status, 204)
  await rig.collect()
  assert.deepEqual([await rig.charge(cache), await rig.stored([a, b])], [sizeOf(two), [false, true]])
})

test('when the clock has jumped nothing expired is collected for an hour', async (t) => {
  const cache = await cached(t, { a }, 0)
  await rig.collect()
  await rig.entrepot.clock.advance(2 * hourMs)
  await rig.collect()
  assert.equal(await rig.charge(cache), sizeOf(a))
  await rig.entrepot.clock.advance(59 * minuteMs)
  await rig.collect()
  assert.equal(await rig.charge(cache), sizeOf(a))
  await rig.entrepot.clock.advance(2 * minuteMs)
  await rig.collect()
  assert.equal(await rig.charge(cache), 0)
})

test('an expired image is pulled again from the upstream after it was collected, and every blob is asked for', async (t) => {
  const cache = await cached(t, { a }, 0)
  await rig.passTime(2 * hourMs)
  cache.upstream.transcript.take()
  await rig.pull(cache, 'app', 'a', a)
  const blobs = blobsOf(a).map(({ digest }) => `GET /v2/app/blobs/${digest} 200`)
  assert.deepEqual(cache.upstream.transcript.take(), ['GET /v2/app/manifests/a 200', ...blobs])
})
