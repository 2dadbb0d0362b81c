/** DESIGN part 4, *Blobs*: what breaks on the way, and that no client ever gets a complete wrong answer. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { blob, image } from '../fakes/content.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { Gate, Valve } from '../fakes/gate.ts'
import type { Quirks } from '../fakes/quirks.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import { eventually } from './eventually.ts'
import type { ClientAnswer } from './registry-client.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot({ FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false })
})
after(() => entrepot.stop())

const layer = blob('faulty layer', 300_000)
const small = blob('small layer', 1_000)
const path = `app/blobs/${layer.digest}`
const GET = (status: number | '-', from?: number) =>
  `GET /v2/${path} ${status}${from === undefined ? '' : ` Range=bytes=${from}-`}`

async function named(t: Parameters<Entrepot['cache']>[0]): Promise<Cache> {
  const cache = await entrepot.cache(t, { app: { latest: image({ layers: [layer, small] }) } })
  assert.equal((await cache.get('app/manifests/latest')).status, 200)
  cache.upstream.transcript.take()
  return cache
}

async function assertStored(cache: Cache): Promise<void> {
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
}

/** Pull a blob whose first answer breaks only when the client has had all that came of it. */
async function pullBroken(cache: Cache, brokenAt: number): Promise<ClientAnswer> {
  const gate = new Gate()
  cache.upstream.quirk('GET */blobs/*', { truncateBlobAt: brokenAt, breakWhen: gate }, 1)
  const answer = await cache.open(path)
  assert.equal(await answer.read(brokenAt), brokenAt)
  gate.open()
  return answer.rest()
}

test('broken at byte N: asked again with Range, and a 206 that continues is accepted', async (t) => {
  const cache = await named(t)
  assertServed(await pullBroken(cache, 100_000), { outcome: 'miss', bytes: layer.bytes })
  await assertStored(cache)
  assert.deepEqual(cache.upstream.transcript.take(['Range']), [GET(200), GET(206, 100_000)])
})

test('broken at byte N, Range ignored: N bytes of the 200 are skipped', async (t) => {
  const cache = await named(t)
  cache.upstream.quirk('GET */blobs/*', { ignoreRange: true })
  assertServed(await pullBroken(cache, 100_000), { outcome: 'miss', bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take(['Range']), [GET(200), GET(200, 100_000)])
})

test('broken again and again, each try bringing some bytes: all of it arrives', async (t) => {
  const cache = await named(t)
  cache.upstream.quirk('GET */blobs/*', { cutEvery: 40_000 })
  assertServed(await pullBroken(cache, 40_000), { outcome: 'miss', bytes: layer.bytes })
  const continued = [1, 2, 3, 4, 5, 6, 7].map((cut) => GET(206, cut * 40_000))
  assert.deepEqual(cache.upstream.transcript.take(['Range']), [GET(200), ...continued])
})

// The pauses between the tries are real, so these wait side by side.
describe('given up', { concurrency: true }, () => {
  test('five tries in a row that bring no byte end it: the connection is destroyed, never ended', async (t) => {
    const cache = await named(t)
    cache.upstream.quirk('GET */blobs/*', { truncateBlobAt: 100_000 })
    const answer = await pullBroken(cache, 100_000)
    assert.deepEqual([answer.status, answer.isWhole], [200, false])
    assert.ok(answer.body.equals(layer.bytes.subarray(0, answer.body.byteLength)))
    const tries = Array.from({ length: 5 }, () => GET(206, 100_000))
    assert.deepEqual(cache.upstream.transcript.take(['Range']), [GET(200), ...tries])
    cache.upstream.clearQuirks()
    assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  })

  test('a 206 that begins elsewhere is not taken for the rest', async (t) => {
    const cache = await named(t)
    const off = cache.upstream.quirk('GET */blobs/*', { headers: { 'content-range': 'bytes 0-299999/300000' } })
    const answer = await pullBroken(cache, 100_000)
    assert.ok(!answer.isWhole || answer.body.equals(layer.bytes))
    off()
    assertServed(await cache.get(path), { bytes: layer.bytes })
  })

  test('a body that ends too early without a length is not taken for whole', async (t) => {
    const cache = await named(t)
    cache.upstream.quirk('GET */blobs/*', { lengthDelta: -100, omitContentLength: true })
    const answer = await cache.get(path)
    assert.equal(answer.isWhole, false)
  })
})

test('after a redirect the registry’s own URL is asked again, since signed addresses end', async (t) => {
  const cdn = await startFakeUpstream(t, { app: { latest: image({ layers: [layer] }) } })
  const cache = await named(t)
  let signature = 0
  cache.upstream.quirk('GET */blobs/*', { redirectTo: (target) => `${cdn.url}${target}?signature=${++signature}` })
  const gate = new Gate()
  cdn.quirk('*', { truncateBlobAt: 100_000, breakWhen: gate }, 1)
  const answer = await cache.open(path)
  await answer.read(100_000)
  gate.open()
  assertServed(await answer.rest(), { outcome: 'miss', bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take().length, 2)
  assert.deepEqual(cdn.transcript.take(['Range']), [
    `GET /v2/${path}?signature=1 200`,
    `GET /v2/${path}?signature=2 206 Range=bytes=100000-`,
  ])
})

test('a blob that changes while it is continued is caught by its digest', async (t) => {
  const cache = await named(t)
  cache.upstream.quirk('GET */blobs/*', { wrongByteAt: 200_000 }, 2)
  const answer = await pullBroken(cache, 100_000)
  assert.equal(answer.isWhole, false)
  assert.ok(answer.body.byteLength <= layer.bytes.byteLength - 65_536)
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
})

for (const delta of [-1, 1, 1_000_000]) {
  test(`an upstream length ${delta} off the descriptor’s fails before the first byte`, async (t) => {
    const cache = await named(t)
    cache.upstream.quirk('GET */blobs/*', { lengthDelta: delta })
    assertRefused(await cache.get(path), 502, 'UNAVAILABLE')
    cache.upstream.clearQuirks()
    assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  })
}

test('an ingest stops at the byte after the descriptor’s size', async (t) => {
  const cache = await named(t)
  cache.upstream.quirk('GET */blobs/*', { lengthDelta: 50_000_000, omitContentLength: true })
  const answer = await cache.get(path)
  assert.ok(!answer.isWhole || answer.body.equals(layer.bytes)) // Verified before the byte too many came, or not.
  await cache.upstream.transcript.until(({ entries }) => entries.every((entry) => entry.isOver))
  for (const { bodyBytes } of cache.upstream.transcript.entries) assert.ok(bodyBytes < 20_000_000, `${bodyBytes}`)
})

test('wrong bytes never complete: the last 64 KiB are withheld, nothing is stored', async (t) => {
  const cache = await named(t)
  for (const position of [0, 299_999]) {
    const end = cache.upstream.quirk('GET */blobs/*', { wrongByteAt: position })
    const answer = await cache.get(path)
    assert.equal(answer.isWhole, false)
    assert.ok(answer.body.byteLength <= layer.bytes.byteLength - 65_536)
    end()
  }
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
})

test('wrong bytes that come slowly: still the last 64 KiB are withheld', async (t) => {
  const cache = await named(t)
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { wrongByteAt: 7, valve })
  valve.allow(layer.bytes.byteLength - 1)
  const answer = await cache.open(path)
  const early = layer.bytes.byteLength - 65_536
  assert.equal(await answer.read(early), early)
  const rest = answer.rest()
  await entrepot.roundTrips()
  valve.open()
  const { isWhole, body } = await rest
  assert.deepEqual([isWhole, body.byteLength], [false, early])
})

test('wrong bytes of a blob under 64 KiB: the client gets not one of them', async (t) => {
  const cache = await named(t)
  const end = cache.upstream.quirk('GET */blobs/*', { wrongByteAt: 5 })
  const answer = await cache.get(`app/blobs/${small.digest}`)
  assert.ok(answer.status === 502 || (!answer.isWhole && answer.body.byteLength === 0))
  end()
  assertServed(await cache.get(`app/blobs/${small.digest}`), { bytes: small.bytes })
})

test('wrong bytes reach none of many clients, and a range of them neither', async (t) => {
  const cache = await named(t)
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { wrongByteAt: 10, valve })
  const pulls = [...Array.from({ length: 5 }, () => cache.get(path)), cache.get(path, { range: 'bytes=0-299999' })]
  await entrepot.roundTrips()
  valve.open()
  for (const answer of await Promise.all(pulls)) assert.equal(answer.isWhole && answer.status < 300, false)
})

const refusals: readonly [string, Quirks, number, string][] = [
  ['404', { status: 404 }, 404, 'BLOB_UNKNOWN'],
  ['401', { status: 401 }, 403, 'DENIED'],
  ['403', { status: 403 }, 403, 'DENIED'],
  ['429', { status: 429, retryAfter: '7' }, 429, 'TOOMANYREQUESTS'],
  ['500', { status: 500 }, 502, 'UNAVAILABLE'],
  ['503', { status: 503 }, 502, 'UNAVAILABLE'],
  ['a reset', { reset: true }, 502, 'UNAVAILABLE'],
  ['a redirect loop', { redirectLoop: true }, 502, 'UNAVAILABLE'],
]
for (const [title, quirks, status, code] of refusals) {
  test(`${title} before the first byte: ${status} ${code}`, async (t) => {
    const cache = await named(t)
    const end = cache.upstream.quirk('GET */blobs/*', quirks)
    assertRefused(await cache.get(path), status, code)
    end()
    await entrepot.clock.advance(61_000)
    assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  })
}

test('refused connections: 502 UNAVAILABLE', async (t) => {
  const cache = await named(t)
  await cache.upstream.refuse()
  assertRefused(await cache.get(path), 502, 'UNAVAILABLE')
})

test('broken by a restart of the upstream: continued where it was', async (t) => {
  const cache = await named(t)
  const valve = new Valve()
  const end = cache.upstream.quirk('GET */blobs/*', { valve })
  valve.allow(100_000)
  const pull = cache.get(path)
  await cache.upstream.transcript.until(({ entries }) => entries[0]?.bodyBytes === 100_000)
  end()
  await entrepot.roundTrips()
  cache.upstream.breakConnections()
  assertServed(await pull, { outcome: 'miss', bytes: layer.bytes })
  const lines = cache.upstream.transcript.take(['Range'])
  assert.equal(lines.length, 2)
  assert.match(lines[1] ?? '', / 206 Range=bytes=\d+-$/)
})

test('a stored blob that is damaged or missing is fetched again', async (t) => {
  const cache = await named(t)
  await cache.get(path)
  await assertStored(cache)
  await entrepot.removeBlob(layer.digest)
  cache.upstream.transcript.take()
  assertServed(await cache.get(path), { bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
  await assertStored(cache)
})
