/** DESIGN part 5: what an eviction does and does not do, also between organizations and over the whole store. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { blobsOf, type FakeManifest, image } from '../fakes/content.ts'
import { assertServed } from '../pull-through/assert-answer.ts'
import { eventually } from '../pull-through/eventually.ts'
import { type SpaceRig, sizeOf, startRig } from './space-rig.ts'

const layerBytes = 20_000
let [a, b, c] = makeImages('0')
let tests = 0
beforeEach(() => {
  ;[a, b, c] = makeImages(String(++tests))
})

/** Of equal size, and others for each test: organizations share what is stored. */
function makeImages(test: string): [FakeManifest, FakeManifest, FakeManifest] {
  const make = (name: string) => image({ seed: `${test} ${name}`, layers: 2, layerBytes })
  return [make('a'), make('b'), make('c')]
}

/** Of one server: an organization that holds `a` and `b` and not a byte more, with `c` to come. */
async function fullOfTwo(rig: SpaceRig, t: TestContext, options: Parameters<typeof rig.entrepot.cache>[2] = {}) {
  const cache = await rig.entrepot.cache(t, { app: { a, b, c } }, options)
  await rig.pull(cache, 'app', 'a', a)
  await rig.pull(cache, 'app', 'b', b)
  await rig.setQuota(cache, sizeOf(a, b))
  return cache
}

describe('with quotas', () => {
  let rig: SpaceRig
  before(async () => {
    rig = await startRig()
  })
  after(() => rig.stop())

  test('a client that holds the manifest of an evicted image still gets every blob, with the right bytes', async (t) => {
    const cache = await fullOfTwo(rig, t)
    await rig.pull(cache, 'app', 'c', c)
    cache.upstream.transcript.take()
    await rig.pullBlobs(cache, 'app', a)
    const asked = blobsOf(a).map(({ digest }) => `GET /v2/app/blobs/${digest} 200`)
    assert.deepEqual(cache.upstream.transcript.take(), asked)
    assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c'])
    assert.equal(await rig.charge(cache), sizeOf(b, c))
    assert.deepEqual(await rig.stored([a]), [false])
  })

  test('a client that is in the middle of a stored blob gets its end though the image is evicted', async (t) => {
    const large = image({ seed: t.name, layerBytes: 30_000_000 })
    const cache = await rig.entrepot.cache(t, { app: { large, c } })
    await rig.pull(cache, 'app', 'large', large)
    const [layer] = large.layers
    assert.ok(layer)
    const reading = await cache.open(`app/blobs/${layer.digest}`)
    await reading.read(1)
    await rig.setQuota(cache, sizeOf(c))
    const id = rig.idOf(cache)
    await rig.entrepot.must('POST', `/api/v1/repository/${cache.organization}/app/tag/large/expire`, {
      manifest_digest: large.digest,
      is_alive: true,
    })
    await eventually(async () => assert.equal(await rig.isInStore(layer.digest), false))
    assert.deepEqual(rig.rows('select 1 from ledger where organization_id = ?', id), [])
    assertServed(await reading.rest(), { bytes: layer.bytes })
  })

  test('the bytes are unlinked at once, and of no other image', async (t) => {
    const cache = await fullOfTwo(rig, t)
    await rig.ask(cache, 'app', 'c', c)
    assert.deepEqual(await rig.stored([a, b]), [false, true])
    await rig.pullBlobs(cache, 'app', c)
    await rig.entrepot.ingestsEnded()
    await rig.files()
    assert.deepEqual(rig.rows('select digest from garbage'), [])
  })

  test('what two images share stays until the last of them goes', async (t) => {
    const [shared] = a.layers
    assert.ok(shared)
    const twin = image({ seed: `${t.name} twin`, layers: [shared] })
    const cache = await rig.entrepot.cache(t, { app: { a, twin, b, c } })
    await rig.pull(cache, 'app', 'a', a)
    await rig.pull(cache, 'app', 'twin', twin)
    await rig.setQuota(cache, sizeOf(a, twin))
    await rig.pull(cache, 'app', 'a', a)
    await rig.setQuota(cache, sizeOf(a, twin, b) - 1)
    await rig.pull(cache, 'app', 'b', b)
    assert.deepEqual([await rig.tags(cache, 'app'), await rig.isInStore(shared.digest)], [['a', 'b'], true])
    await rig.setQuota(cache, sizeOf(b, c))
    await rig.pull(cache, 'app', 'c', c)
    assert.deepEqual([await rig.tags(cache, 'app'), await rig.isInStore(shared.digest)], [['b', 'c'], false])
  })

  test('two organizations that share blobs do not disturb each other, and each is charged for them', async (t) => {
    const cache = await fullOfTwo(rig, t)
    const other = await rig.entrepot.cache(t, {}, { upstream: cache.upstream })
    await rig.pull(other, 'app', 'a', a)
    await rig.pull(cache, 'app', 'c', c)
    assert.deepEqual([await rig.charge(cache), await rig.charge(other)], [sizeOf(b, c), sizeOf(a)])
    await cache.upstream.refuse()
    await rig.pull(other, 'app', a.digest, a)
    assert.deepEqual(await rig.stored([a, b, c]), [true, true, true])
  })

  test('a log entry says what went, what for and what it freed; the administrators are told; metrics count', async (t) => {
    const cache = await fullOfTwo(rig, t)
    const counted = 'entrepot_freed_bytes_total{reason="admission"}'
    const before = (await rig.entrepot.metric(counted)) || 0
    await rig.pull(cache, 'app', 'c', c)
    const freed_bytes = sizeOf(a)
    const reason = { kind: 'admission', repository: 'app', reference: 'c' }
    const images = [{ repository: 'app', digest: a.digest, tags: ['a'] }]
    assert.deepEqual(rig.log(cache, 'evict_image'), [{ images, manifests: [a.digest], freed_bytes, reason }])
    assert.deepEqual(rig.notifications(cache, 'image_evicted'), [{ images: 1, freed_bytes, reason }])
    assert.equal((await rig.entrepot.metric(counted)) - before, freed_bytes)
  })

  test('an evicted tag stays in the history as a record and cannot be restored', async (t) => {
    const cache = await fullOfTwo(rig, t)
    await rig.pull(cache, 'app', 'c', c)
    const row = (await rig.history(cache, 'app')).find((tag) => tag.name === 'a')
    assert.equal(row?.manifest_digest, a.digest)
    assert.notEqual(row?.end_ts, undefined)
    const answer = await rig.changeTag(cache, 'app:a', 'POST restore', { manifest_digest: a.digest })
    assert.ok(answer.status >= 400 && answer.status < 500, String(answer.status))
  })

  test('an evicted image is pulled again as if it had never been here', async (t) => {
    const cache = await fullOfTwo(rig, t)
    await rig.pull(cache, 'app', 'c', c)
    await rig.pull(cache, 'app', 'a', a)
    assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'c'])
  })

  test('a quota set below the charge shrinks, least recently used first, and says what went', async (t) => {
    const cache = await fullOfTwo(rig, t)
    await rig.setQuota(cache, sizeOf(b))
    await eventually(async () => assert.deepEqual(await rig.tags(cache, 'app'), ['b']))
    assert.equal(await rig.charge(cache), sizeOf(b))
    await eventually(async () => assert.deepEqual(await rig.stored([a, b]), [false, true]))
    assert.deepEqual(
      rig.log(cache, 'evict_image').map(({ reason }) => reason),
      [{ kind: 'limit_lowered' }],
    )
  })

  test('views say by how much a charge is over its limit while something that may not go is in the way', async (t) => {
    const cache = await fullOfTwo(rig, t)
    for (const tag of ['a', 'b']) await rig.pin(cache, `app:${tag}`)
    await rig.setQuota(cache, sizeOf(b))
    const answer = await rig.entrepot.api('GET', `/api/v1/organization/${cache.organization}`)
    const { quota_bytes, over_bytes } = JSON.parse(answer.body.toString()).quota_report
    assert.deepEqual([quota_bytes, over_bytes], [sizeOf(a, b), sizeOf(a)])
    assert.equal((await cache.get('app/manifests/c')).status, 403)
    assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b'])
  })

  test('a Reject percentage is the limit when it is the smaller; Warning tells once for each crossing', async (t) => {
    const cache = await rig.entrepot.cache(t, { app: { a, b, c } })
    await rig.setQuota(cache, 2 * sizeOf(a, b))
    await rig.addLimit(cache, 'Reject', 50)
    await rig.addLimit(cache, 'Warning', 40)
    await rig.pull(cache, 'app', 'a', a)
    assert.equal(rig.notifications(cache, 'quota_warning').length, 0)
    await rig.pull(cache, 'app', 'b', b)
    await rig.pull(cache, 'app', 'c', c)
    assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c'])
    assert.equal(await rig.charge(cache), sizeOf(b, c))
    assert.deepEqual(
      rig.notifications(cache, 'quota_warning').map(({ threshold_percent }) => threshold_percent),
      [40],
    )
  })
})

test('without a quota the system default is the limit', async (t) => {
  const rig = await startRig({ DEFAULT_SYSTEM_REJECT_QUOTA_BYTES: sizeOf(a, b) })
  t.after(() => rig.stop())
  const cache = await rig.entrepot.cache(t, { app: { a, b, c } })
  for (const [tag, content] of Object.entries({ a, b, c })) await rig.pull(cache, 'app', tag, content)
  assert.deepEqual(await rig.tags(cache, 'app'), ['b', 'c'])
  await rig.setQuota(cache, sizeOf(a, b, c))
  await rig.pull(cache, 'app', 'a', a)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b', 'c'])
})

test('STORAGE_LIMIT_BYTES evicts by last use over all organizations, what is only kept first', async (t) => {
  const bytes = 3 * blobBytes(a) + 10 // Configs differ by some bytes.
  const rig = await startRig({ STORAGE_LIMIT_BYTES: bytes })
  t.after(() => rig.stop())
  const [one, two] = [
    await rig.entrepot.cache(t, { app: { a, b, c } }),
    await rig.entrepot.cache(t, { app: { a, b, c } }),
  ]
  const [d, e] = [image({ seed: 'store', layers: 2, layerBytes }), image({ seed: 'stora', layers: 2, layerBytes })]
  for (const cache of [one, two])
    for (const [tag, content] of Object.entries({ d, e })) cache.upstream.repository('app').tag(tag, content)
  await rig.pull(one, 'app', 'a', a)
  await rig.pull(two, 'app', 'b', b)
  await rig.pull(one, 'app', 'c', c)
  await rig.pull(two, 'app', 'd', d)
  assert.deepEqual([await rig.tags(one, 'app'), await rig.tags(two, 'app')], [['c'], ['b', 'd']])
  assert.deepEqual(
    rig.log(one, 'evict_image').map(({ reason }) => reason),
    [{ kind: 'store_full' }],
  )
  assert.equal((await rig.changeTag(one, 'app:c', 'DELETE')).status, 204)
  await rig.pull(two, 'app', 'e', e)
  assert.deepEqual([await rig.tags(one, 'app'), await rig.tags(two, 'app')], [[], ['b', 'd', 'e']])
  const [store] = rig.rows<{ bytes: number }>('select blob_bytes as bytes from store_usage')
  assert.equal((store?.bytes ?? 0) <= bytes, true)
})

test('below MINIMUM_FREE_BYTES nothing new is cached and pulls stream through, at any time', async (t) => {
  const rig = await startRig({ MINIMUM_FREE_BYTES: '8000 TB' })
  t.after(() => rig.stop())
  const cache = await rig.entrepot.cache(t, { app: { a } })
  for (let time = 0; time < 2; time++) await rig.pull(cache, 'app', 'a', a)
  assert.deepEqual([await rig.charge(cache), await rig.files()], [0, []])
})

test('FEATURE_QUOTA_MANAGEMENT: false admits everything, keeps the ledger, and hides the API of quotas', async (t) => {
  const settings = { DEFAULT_SYSTEM_REJECT_QUOTA_BYTES: 10 }
  const rig = await startRig({ FEATURE_QUOTA_MANAGEMENT: false, ...settings })
  t.after(() => rig.stop())
  const cache = await rig.entrepot.cache(t, { app: { a, b, c } })
  for (const [tag, content] of Object.entries({ a, b, c })) await rig.pull(cache, 'app', tag, content)
  assert.deepEqual(await rig.tags(cache, 'app'), ['a', 'b', 'c'])
  const ledger = rig.rows('select sum(size_bytes) as bytes from ledger')
  assert.deepEqual(ledger, [{ bytes: sizeOf(a, b, c) }])
  assert.deepEqual(rig.rows('select charge_bytes as bytes from usage'), ledger)
  const path = `/api/v1/organization/${cache.organization}`
  assert.equal((await rig.entrepot.api('GET', `${path}/quota`)).status, 404)
  const view = JSON.parse((await rig.entrepot.api('GET', path)).body.toString())
  assert.deepEqual([view.quotas, view.quota_report], [undefined, undefined])
})

function blobBytes(content: FakeManifest): number {
  return sizeOf(content) - content.bytes.byteLength
}
