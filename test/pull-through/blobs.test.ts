/** DESIGN part 4, *Blobs: one ingest, many readers*: what clients see while all goes well. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { blob, image } from '../fakes/content.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { Valve } from '../fakes/gate.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import { eventually } from './eventually.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot({ FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false })
})
after(() => entrepot.stop())

const layer = blob('layer', 300_000)
const content = image({ layers: [layer] })
const path = `app/blobs/${layer.digest}`
const GET = (status: number | '-') => `GET /v2/${path} ${status}`
const holdBack = 65_536

/** A cache whose clients have pulled the manifest, with an upstream that has forgotten the requests. */
async function named(t: Parameters<Entrepot['cache']>[0], options: Parameters<Entrepot['cache']>[2] = {}) {
  const cache = await entrepot.cache(t, { app: { latest: content } }, options)
  assert.equal((await cache.get('app/manifests/latest')).status, 200)
  cache.upstream.transcript.take()
  return cache
}

test('a blob is fetched once and then served from the store', async (t) => {
  const cache = await named(t)
  const answer = await cache.get(path)
  assertServed(answer, { outcome: 'miss', bytes: layer.bytes })
  assert.equal(answer.headers['docker-content-digest'], layer.digest)
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
  await cache.upstream.refuse()
  assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

test('a hit is as old as what the upstream gave; what it has just given has no age', async (t) => {
  const cache = await named(t)
  assert.equal((await cache.get(path)).headers.age, '0')
  await entrepot.ingestsEnded()
  await entrepot.clock.advance(90_500)
  for (const ask of [() => cache.get(path), () => cache.head(path), () => cache.get(path, { range: 'bytes=5-9' })]) {
    const answer = await ask()
    assert.deepEqual([answer.headers['cache-status']?.includes('hit'), answer.headers.age], [true, '90'])
  }
  await entrepot.clock.advance(-200_000)
  assert.equal((await cache.get(path)).headers.age, '0', 'a clock that went back makes nobody younger than new')
})

test('many clients at once cost one request, and each gets all of it', async (t) => {
  const cache = await named(t)
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { valve })
  const pulls = Array.from({ length: 8 }, () => cache.get(path))
  await entrepot.roundTrips()
  valve.allow(100_000)
  await cache.upstream.transcript.until(({ entries }) => entries[0]?.bodyBytes === 100_000)
  const late = cache.get(path)
  await entrepot.roundTrips()
  valve.open()
  for (const answer of await Promise.all([...pulls, late])) assertServed(answer, { bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

test('the first byte comes as soon as the upstream sends one, and the last 64 KiB when all is verified', async (t) => {
  const cache = await named(t)
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { valve })
  valve.allow(1)
  const answer = await cache.open(path)
  assert.deepEqual([answer.status, answer.headers['content-length']], [200, String(layer.bytes.byteLength)])
  assert.ok((await answer.read(1)) >= 1)
  valve.allow(layer.bytes.byteLength - 2) // All but the last byte.
  const early = layer.bytes.byteLength - holdBack
  assert.equal(await answer.read(early), early)
  await entrepot.roundTrips()
  valve.open()
  assertServed(await answer.rest(), { bytes: layer.bytes })
})

test('a slow client stalls nobody, and gets all of it when it reads on', async (t) => {
  const big = blob('big', 24 * 1024 * 1024)
  const cache = await entrepot.cache(t, { app: { latest: image({ layers: [big] }) } })
  await cache.get('app/manifests/latest')
  const slow = await cache.open(`app/blobs/${big.digest}`)
  await slow.read(1)
  assertServed(await cache.get(`app/blobs/${big.digest}`), { bytes: big.bytes })
  assert.ok(slow.bytesRead < big.bytes.byteLength / 2)
  assertServed(await slow.rest(), { bytes: big.bytes })
  const lines = cache.upstream.transcript.lines().filter((line) => line.includes('/blobs/'))
  assert.deepEqual(lines, [`GET /v2/app/blobs/${big.digest} 200`])
})

test('a client that vanishes cancels nothing', async (t) => {
  const cache = await named(t)
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { valve })
  valve.allow(1000)
  const gone = await cache.open(path)
  await gone.read(1)
  gone.destroy()
  await entrepot.roundTrips()
  valve.open()
  await cache.upstream.transcript.until(({ entries }) => entries[0]?.isOver === true)
  assert.equal(cache.upstream.transcript.entries[0]?.bodyBytes, layer.bytes.byteLength)
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

test('HEAD downloads nothing, and knows the size', async (t) => {
  const cache = await named(t)
  const answer = await cache.head(path)
  assert.deepEqual(
    [answer.status, answer.headers['content-length'], answer.headers['docker-content-digest']],
    [200, String(layer.bytes.byteLength), layer.digest],
  )
  assert.deepEqual(
    cache.upstream.transcript.take().filter((line) => line.startsWith('GET')),
    [],
  )
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
})

test('HEAD of a blob that no manifest names asks the upstream', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: content } })
  const answer = await cache.head(path)
  assert.deepEqual([answer.status, answer.headers['content-length']], [200, String(layer.bytes.byteLength)])
  const absent = await cache.head(`app/blobs/${blob('absent', 10).digest}`)
  assert.equal(absent.status, 404)
  assert.deepEqual(cache.upstream.transcript.take(), [
    `HEAD /v2/${path} 200`,
    `HEAD /v2/app/blobs/${blob('absent', 10).digest} 404`,
  ])
})

test('a blob that no manifest names is asked of the upstream and streamed; its 404 is ours', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: content } })
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  const absent = blob('absent', 10).digest
  assertRefused(await cache.get(`app/blobs/${absent}`), 404, 'BLOB_UNKNOWN')
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200), `GET /v2/app/blobs/${absent} 404`])
})

test('an unnamed blob whose size nobody says is streamed all the same', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: content } })
  cache.upstream.quirk('GET */blobs/*', { omitContentLength: true })
  const answer = await cache.get(path)
  assert.deepEqual([answer.status, answer.isWhole, answer.body.equals(layer.bytes)], [200, true, true])
})

test('a stored blob of another repository opens nothing: the upstream is asked, in this repository', async (t) => {
  const cache = await named(t)
  await cache.get(path)
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
  cache.upstream.repository('other')
  cache.upstream.transcript.take()
  assertRefused(await cache.get(`other/blobs/${layer.digest}`), 404, 'BLOB_UNKNOWN')
  assert.match(cache.upstream.transcript.take().join(), new RegExp(`^(GET|HEAD) /v2/other/blobs/${layer.digest} 404$`))
})

test('nor does one that is just arriving for another repository', async (t) => {
  const cache = await named(t)
  cache.upstream.repository('other')
  const valve = new Valve()
  cache.upstream.quirk(`GET /v2/${path}`, { valve })
  valve.allow(200_000)
  const arriving = await cache.open(path)
  await arriving.read(1)
  assertRefused(await cache.get(`other/blobs/${layer.digest}`), 404, 'BLOB_UNKNOWN')
  assertRefused(await cache.get(`other/blobs/${layer.digest}`, { range: 'bytes=0-9' }), 404, 'BLOB_UNKNOWN')
  valve.open()
  assertServed(await arriving.rest(), { bytes: layer.bytes })
})

test('two repositories that name the blob share one ingest', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: content }, other: { latest: content } })
  for (const name of ['app', 'other']) await cache.get(`${name}/manifests/latest`)
  cache.upstream.transcript.take()
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { valve })
  const first = cache.get(path)
  await cache.upstream.transcript.until(({ entries }) => entries.length === 1)
  const second = cache.get(`other/blobs/${layer.digest}`)
  await entrepot.roundTrips()
  valve.open()
  for (const answer of await Promise.all([first, second])) assertServed(answer, { bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

test('no Content-Length from the upstream: ours is the descriptor’s', async (t) => {
  const cache = await named(t)
  cache.upstream.quirk('GET */blobs/*', { omitContentLength: true })
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
})

test('an empty blob and one of a few bytes', async (t) => {
  for (const bytes of [0, 1, 65_535, 65_536, 65_537, 262_144, 262_145]) {
    const small = blob(`small ${bytes}`, bytes)
    const cache = await entrepot.cache(t, { app: { latest: image({ layers: [small] }) } })
    await cache.get('app/manifests/latest')
    assertServed(await cache.get(`app/blobs/${small.digest}`), { bytes: small.bytes })
  }
})

test('a redirect to another server is followed, and never told our credentials', async (t) => {
  const cdn = await startFakeUpstream(t, { app: { latest: content } })
  const login = { username: 'ann', password: 'secret' }
  const cache = await named(t, { login, authentication: { kind: 'basic', login } })
  cache.upstream.quirk('GET */blobs/*', { redirectTo: `${cdn.url}/v2/${path}?signature=1` })
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(307)])
  assert.deepEqual(cdn.transcript.take(['Authorization']), [`GET /v2/${path}?signature=1 200`])
})

test('sha512 blobs are verified and kept like sha256', async (t) => {
  const { sha512 } = await import('../fakes/content.ts')
  const digest = sha512(layer.bytes)
  const cache = await entrepot.cache(t, { app: {} })
  cache.upstream.repository('app').addBlob({ digest, bytes: layer.bytes })
  assertServed(await cache.get(`app/blobs/${digest}`), { bytes: layer.bytes })
})

test('a client that has the blob gets 304', async (t) => {
  const cache = await named(t)
  await cache.get(path)
  await eventually(async () => {
    const answer = await cache.get(path, { 'if-none-match': `"${layer.digest}"` })
    assert.deepEqual([answer.status, answer.body.byteLength], [304, 0])
  })
})
