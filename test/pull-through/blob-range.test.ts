/** DESIGN part 4: `Range` on stored blobs, and on those that are missing or arriving. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { blob, image } from '../fakes/content.ts'
import { Gate, Valve } from '../fakes/gate.ts'
import { assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import { eventually } from './eventually.ts'
import type { ClientAnswer } from './registry-client.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot({ FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false })
})
after(() => entrepot.stop())

const MiB = 1024 * 1024
const layer = blob('ranged layer', 300_000)
const big = blob('big ranged layer', 24 * MiB)
const path = `app/blobs/${layer.digest}`
const bigPath = `app/blobs/${big.digest}`

async function named(t: Parameters<Entrepot['cache']>[0]): Promise<Cache> {
  const cache = await entrepot.cache(t, { app: { latest: image({ layers: [layer, big] }) } })
  assert.equal((await cache.get('app/manifests/latest')).status, 200)
  cache.upstream.transcript.take()
  return cache
}

function assertPart(answer: ClientAnswer, bytes: Buffer, start: number, end: number): void {
  assert.deepEqual(
    [answer.status, answer.headers['content-range'], answer.headers['content-length'], answer.isWhole],
    [206, `bytes ${start}-${end}/${bytes.byteLength}`, String(end - start + 1), true],
  )
  assert.ok(answer.body.equals(bytes.subarray(start, end + 1)))
}

test('of a stored blob a single range is served from the store', async (t) => {
  const cache = await named(t)
  await cache.get(path)
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
  await cache.upstream.refuse()
  const last = layer.bytes.byteLength - 1
  for (const [range, start, end] of [
    ['bytes=0-0', 0, 0],
    ['bytes=100-199', 100, 199],
    ['bytes=299990-', 299_990, last],
    ['bytes=-5', last - 4, last],
    ['bytes=100-99999999', 100, last],
    ['bytes=-99999999', 0, last],
    ['bytes=0-', 0, last],
  ] as const) {
    assertPart(await cache.get(path, { range }), layer.bytes, start, end)
  }
})

test('of a stored blob what lies outside is 416, what is not understood is all of it', async (t) => {
  const cache = await named(t)
  await cache.get(path)
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
  for (const range of ['bytes=300000-', 'bytes=999999999-', 'bytes=-0']) {
    const answer = await cache.get(path, { range })
    assert.deepEqual([answer.status, answer.headers['content-range']], [416, 'bytes */300000'], range)
  }
  for (const range of [
    'bytes=0-1,5-6',
    'bytes=5-1',
    'lines=1-2',
    'bytes=a-b',
    'bytes=',
    '',
    'bytes=1e2-',
    'bytes=--1',
  ]) {
    assertServed(await cache.get(path, { range }), { bytes: layer.bytes })
  }
})

test('HEAD says that ranges are understood, and ignores them', async (t) => {
  const cache = await named(t)
  const answer = await cache.send(path, { method: 'HEAD', headers: { range: 'bytes=0-9' } })
  assert.deepEqual(
    [answer.status, answer.headers['content-length'], answer.headers['accept-ranges']],
    [200, '300000', 'bytes'],
  )
})

test('of a missing blob a range from 0 is the ingest, answered 206', async (t) => {
  const cache = await named(t)
  assertPart(await cache.get(path, { range: 'bytes=0-99' }), layer.bytes, 0, 99)
  assertPart(await cache.get(path, { range: 'bytes=0-' }), layer.bytes, 0, 299_999)
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
  assert.deepEqual(cache.upstream.transcript.take(['Range']), [`GET /v2/${path} 200`])
})

test('up to 16 MiB ahead of what has arrived a range waits for the ingest', async (t) => {
  const cache = await named(t)
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { valve })
  const whole = cache.get(bigPath)
  await cache.upstream.transcript.until(({ entries }) => entries.length === 1)
  const ahead = cache.get(bigPath, { range: `bytes=${15 * MiB}-${15 * MiB + 9}` })
  await entrepot.roundTrips()
  valve.open()
  assertPart(await ahead, big.bytes, 15 * MiB, 15 * MiB + 9)
  assertServed(await whole, { bytes: big.bytes })
  assert.deepEqual(cache.upstream.transcript.take(['Range']), [`GET /v2/${bigPath} 200`])
})

test('further ahead it is asked of the upstream and passed on while the ingest fills', async (t) => {
  const cache = await named(t)
  const gate = new Gate()
  cache.upstream.quirk('GET */blobs/*', { hangMidBodyAt: { bytes: 100_000, gate } }, 1)
  const whole = cache.get(bigPath)
  await cache.upstream.transcript.until(({ entries }) => entries[0]?.bodyBytes === 100_000)
  const start = 20 * MiB
  assertPart(await cache.get(bigPath, { range: `bytes=${start}-${start + 9}` }), big.bytes, start, start + 9)
  gate.open()
  assertServed(await whole, { bytes: big.bytes })
  const [ingest, range, ...more] = cache.upstream.transcript.take(['Range'])
  assert.deepEqual([ingest, more], [`GET /v2/${bigPath} 200`, []])
  assert.match(range ?? '', new RegExp(`^GET /v2/${bigPath} 206 Range=bytes=${start}-`))
})

test('at most two ranges of a blob are asked of the upstream at a time', async (t) => {
  const cache = await named(t)
  const [gate, held] = [new Gate(), new Gate()]
  cache.upstream.quirk('GET */blobs/*', { hangBeforeHeaders: held })
  cache.upstream.quirk('GET */blobs/*', { hangBeforeHeaders: gate }, 1)
  const whole = cache.get(bigPath)
  await cache.upstream.transcript.until(({ entries }) => entries.length === 1)
  const starts = [18, 19, 20, 21].map((position) => position * MiB)
  const parts = starts.map((start) => cache.get(bigPath, { range: `bytes=${start}-${start + 9}` }))
  await cache.upstream.transcript.until(({ entries }) => entries.length === 3)
  await entrepot.roundTrips()
  assert.equal(cache.upstream.transcript.entries.length, 3)
  held.open()
  gate.open()
  for (const [position, part] of (await Promise.all(parts)).entries()) {
    const start = starts[position] ?? 0
    assertPart(part, big.bytes, start, start + 9)
  }
  assertServed(await whole, { bytes: big.bytes })
})
