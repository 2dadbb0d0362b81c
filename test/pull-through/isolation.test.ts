/** DESIGN part 4: *Nothing crosses organizations by itself*. Whoever runs an upstream can name anyone's digest. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { blob, image } from '../fakes/content.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import type { Cache, CacheOptions } from './cache.ts'
import { eventually } from './eventually.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot({ FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false })
})
after(() => entrepot.stop())

const secret = blob('a secret layer', 200_000)
const content = image({ layers: [secret] })
const path = `app/blobs/${secret.digest}`
const login = { username: 'ann', password: 'secret' }

/** An organization that has the secret in the store. */
async function holder(t: Parameters<Entrepot['cache']>[0], options: CacheOptions = {}): Promise<Cache> {
  const cache = await entrepot.cache(t, { app: { latest: content } }, options)
  await cache.get('app/manifests/latest')
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: secret.bytes }))
  cache.upstream.transcript.take()
  return cache
}

test('a hostile upstream that names another organization’s digest gets nothing of it', async (t) => {
  await holder(t, { tls: true })
  const hostile = await entrepot.cache(t, { app: { latest: content } }, { tls: true })
  hostile.upstream.repository('app').delete(secret.digest)
  assert.equal((await hostile.get('app/manifests/latest')).status, 200)
  assertRefused(await hostile.get(path), 404, 'BLOB_UNKNOWN')
  assertRefused(await hostile.get(path, { range: 'bytes=0-10' }), 404, 'BLOB_UNKNOWN')
  const lines = hostile.upstream.transcript.take().filter((line) => line.includes('/blobs/'))
  assert.ok(lines.length > 0 && lines.every((line) => line.endsWith(' 404')), lines.join('\n'))
})

test('nor does one that says by HEAD that it has it', async (t) => {
  await holder(t, { tls: true })
  const hostile = await entrepot.cache(t, { app: { latest: content } }, { tls: true })
  hostile.upstream.quirk('GET */blobs/*', { status: 404 })
  await hostile.get('app/manifests/latest')
  assert.equal((await hostile.get(path)).status, 404)
})

test('nor one that sends other bytes under the digest', async (t) => {
  await holder(t, { tls: true })
  const hostile = await entrepot.cache(t, { app: { latest: content } }, { tls: true })
  hostile.upstream.quirk('GET */blobs/*', { wrongByteAt: 0 })
  await hostile.get('app/manifests/latest')
  assert.equal((await hostile.get(path)).isWhole, false)
})

test('by HEAD a guessed digest tells nothing', async (t) => {
  await holder(t)
  const other = await entrepot.cache(t, { app: { latest: image({ seed: 'other' }) } })
  await other.get('app/manifests/latest')
  assert.equal((await other.head(path)).status, 404)
  assert.equal((await other.head(`app/manifests/${content.digest}`)).status, 404)
})

test('the same host over verified TLS that answers 200 to a HEAD replaces the download', async (t) => {
  const first = await holder(t, { tls: true })
  const second = await entrepot.cache(t, {}, { upstream: first.upstream, login })
  await second.get('app/manifests/latest')
  first.upstream.transcript.take()
  assertServed(await second.get(path), { bytes: secret.bytes })
  assert.deepEqual(first.upstream.transcript.take(), [`HEAD /v2/${path} 200`])
  await first.upstream.refuse()
  assertServed(await second.get(path), { outcome: 'hit', bytes: secret.bytes })
})

for (const status of [401, 403, 404]) {
  test(`the same host that answers ${status} to these credentials gives nothing`, async (t) => {
    const first = await holder(t, { tls: true })
    const second = await entrepot.cache(t, {}, { upstream: first.upstream, login })
    await second.get('app/manifests/latest')
    first.upstream.quirk('*/blobs/*', { status })
    assert.equal((await second.get(path)).status, status === 404 ? 404 : 403)
  })
}

test('the same host over plain HTTP is downloaded again, and kept as one copy', async (t) => {
  const first = await holder(t)
  const second = await entrepot.cache(t, {}, { upstream: first.upstream, login })
  await second.get('app/manifests/latest')
  first.upstream.transcript.take()
  assertServed(await second.get(path), { outcome: 'miss', bytes: secret.bytes })
  assert.deepEqual(
    first.upstream.transcript.take().filter((line) => line.startsWith('GET')),
    [`GET /v2/${path} 200`],
  )
})

test('two upstreams with the same bytes are each asked', async (t) => {
  await holder(t, { tls: true })
  const second = await entrepot.cache(t, { app: { latest: content } }, { tls: true })
  await second.get('app/manifests/latest')
  assertServed(await second.get(path), { outcome: 'miss', bytes: secret.bytes })
  assert.ok(second.upstream.transcript.take().includes(`GET /v2/${path} 200`))
})

test('a member of one organization reads nothing of another', async (t) => {
  const cache = await holder(t)
  const stranger = cache.as(await entrepot.createUser())
  for (const target of [path, 'app/manifests/latest', 'app/tags/list']) {
    const answer = await stranger.get(target)
    assert.ok([401, 403].includes(answer.status), `${target}: ${answer.status}`)
  }
  assert.deepEqual(cache.upstream.transcript.take(), [])
})
