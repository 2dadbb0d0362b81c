/** DESIGN part 4, *By digest*, and what it says of indexes, media types and depth. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, test } from 'node:test'
import {
  artifact,
  descriptor,
  type FakeManifest,
  image,
  index,
  MEDIA_TYPES,
  manifest,
  sha512,
} from '../fakes/content.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const v1 = image({ seed: 'v1' })
const v2 = image({ seed: 'v2' })
const both = index([v1, v2])
const path = (content: FakeManifest, repository = 'app') => `${repository}/manifests/${content.digest}`
const GET = (content: FakeManifest, status: number, repository = 'app') =>
  `GET /v2/${path(content, repository)} ${status}`

test('held whole in that repository means served, no upstream request', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: v1 } })
  await cache.get('app/manifests/latest')
  await cache.upstream.refuse()
  cache.upstream.transcript.take()
  assertServed(await cache.get(path(v1)), { outcome: 'hit', bytes: v1.bytes, mediaType: v1.mediaType })
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('held in another repository opens nothing: the upstream is asked, in this repository', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: v1 }, other: { latest: v2 } })
  await cache.get('app/manifests/latest')
  await cache.get('other/manifests/latest')
  cache.upstream.transcript.take()
  assertRefused(await cache.get(path(v1, 'other')), 404, 'MANIFEST_UNKNOWN')
  assert.deepEqual(cache.upstream.transcript.take(), [GET(v1, 404, 'other')])
})

test('what is not held is asked of the upstream, once; its 404 is ours', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: v1 } })
  assertServed(await cache.get(path(v1)), { outcome: 'miss', bytes: v1.bytes })
  assertServed(await cache.get(path(v1)), { outcome: 'hit', bytes: v1.bytes })
  assertRefused(await cache.get(path(v2)), 404, 'MANIFEST_UNKNOWN')
  assert.deepEqual(cache.upstream.transcript.take(), [GET(v1, 200), GET(v2, 404)])
})

test('an index is never rewritten; its children are fetched when asked for', async (t) => {
  const outer = index([both])
  const cache = await entrepot.cache(t, { app: { latest: outer } })
  const answer = await cache.get('app/manifests/latest')
  assertServed(answer, { outcome: 'miss', bytes: outer.bytes, mediaType: MEDIA_TYPES.ociIndex })
  assertServed(await cache.get(path(both)), { outcome: 'miss', bytes: both.bytes })
  assertServed(await cache.get(path(v1)), { outcome: 'miss', bytes: v1.bytes })
  assertServed(await cache.get(path(v1)), { outcome: 'hit', bytes: v1.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), ['GET /v2/app/manifests/latest 200', GET(both, 200), GET(v1, 200)])
})

test('a Docker list is served as it is', async (t) => {
  const list = index([image({ docker: true })], { docker: true })
  const cache = await entrepot.cache(t, { app: { latest: list } })
  const answer = await cache.get('app/manifests/latest')
  assertServed(answer, { outcome: 'miss', bytes: list.bytes, mediaType: MEDIA_TYPES.dockerList })
})

test('Accept is ignored by digest', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: v1 } })
  const accept = { accept: MEDIA_TYPES.dockerManifest }
  assertServed(await cache.get(path(v1), accept), { outcome: 'miss', bytes: v1.bytes, mediaType: v1.mediaType })
  assertServed(await cache.get(path(v1), accept), { outcome: 'hit', bytes: v1.bytes, mediaType: v1.mediaType })
})

test('bytes of another digest are refused, and not kept', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: v1 } })
  const end = cache.upstream.quirk('GET /v2/app/*', { wrongByteAt: 3 })
  assertRefused(await cache.get(path(v1)), 502, 'UNAVAILABLE')
  end()
  assertServed(await cache.get(path(v1)), { outcome: 'miss', bytes: v1.bytes })
})

test('sha512 is a digest like sha256', async (t) => {
  const digest = sha512(v1.bytes)
  const cache = await entrepot.cache(t, {})
  cache.upstream.repository('app').add({ ...v1, digest })
  const answer = await cache.get(`app/manifests/${digest}`)
  assertServed(answer, { outcome: 'miss', bytes: v1.bytes })
  assert.equal(answer.headers['docker-content-digest'], digest)
  assertServed(await cache.get(`app/manifests/${digest}`), { outcome: 'hit', bytes: v1.bytes })
  assert.equal(createHash('sha512').update(answer.body).digest('hex'), digest.slice('sha512:'.length))
})

test('a pull by digest counts as use of every tag and index that holds it', async (t) => {
  const own = await startEntrepot()
  t.after(() => own.stop())
  const cache = await own.cache(t, { app: { latest: both, one: v1 } }, { expiration_s: 600 })
  await cache.get('app/manifests/latest')
  await cache.get('app/manifests/one')
  await own.clock.advance(500_000)
  assertServed(await cache.get(path(v1)), { outcome: 'hit', bytes: v1.bytes })
  await own.restart() // Uses are written in batches; now they are.
  await own.clock.advance(500_000)
  cache.upstream.repository('app').untag('latest')
  cache.upstream.repository('app').untag('one')
  assertServed(await cache.get('app/manifests/latest'), { outcome: 'stale', bytes: both.bytes }) // Alive.
  assertServed(await cache.get('app/manifests/one'), { outcome: 'stale', bytes: v1.bytes })
})

test('artifacts of any media type pass', async (t) => {
  const chart = artifact({ artifactType: 'application/vnd.cncf.helm.chart' })
  const odd = manifest('application/vnd.example.odd.v1+json', { schemaVersion: 2, layers: [] })
  const cache = await entrepot.cache(t, { app: { chart, odd } })
  for (const [tag, content] of [
    ['chart', chart],
    ['odd', odd],
  ] as const) {
    const answer = await cache.get(`app/manifests/${tag}`)
    assertServed(answer, { outcome: 'miss', bytes: content.bytes, mediaType: content.mediaType })
  }
})

test('indexes inside indexes: depth 8 passes, depth 9 does not', async (t) => {
  const levels = [v1]
  for (let depth = 2; depth <= 9; depth++) levels.push(index([levels.at(-1) ?? v1]))
  const cache = await entrepot.cache(t, { app: { latest: levels.at(-1) ?? v1, eight: levels[7] ?? v1 } })
  const statuses: number[] = []
  for (const level of levels.toReversed()) statuses.push((await cache.get(path(level))).status)
  assert.deepEqual(statuses.slice(0, 8), Array(8).fill(200))
  assert.notEqual(statuses[8], 200)
})

test('10,000 descriptors pass, 10,001 do not', async (t) => {
  const wide = (count: number) =>
    manifest(MEDIA_TYPES.ociIndex, {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: Array(count).fill(descriptor(v1.mediaType, v1)),
    })
  const cache = await entrepot.cache(t, { app: { wide: wide(10_000), wider: wide(10_001) } })
  assert.equal((await cache.get('app/manifests/wide')).status, 200)
  assertRefused(await cache.get('app/manifests/wider'), 502, 'UNAVAILABLE')
})

test('a manifest asked for only by digest outlives the upstream', async (t) => {
  const cache = await entrepot.cache(t, { app: { latest: v1 } }, { expiration_s: 600 })
  await cache.get(path(v1))
  await entrepot.clock.advance(300_000)
  await cache.upstream.refuse()
  assertServed(await cache.get(path(v1)), { outcome: 'hit', bytes: v1.bytes })
})
