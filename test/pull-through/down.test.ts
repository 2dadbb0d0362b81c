/** DESIGN part 4, *Down*, and the gate that a 429 closes. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image } from '../fakes/content.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const tag = 'library/alpine/manifests/3.20'
const other = 'library/alpine/manifests/3.19'
const v1 = image({ seed: 'v1' })
const v2 = image({ seed: 'v2' })
const content = { 'library/alpine': { '3.20': v1, '3.19': v2 } }
const HEAD = (status: number | '-') => `HEAD /v2/${tag} ${status}`

/** Three failures in a row over 3 s: after it the upstream is down. */
async function fail(cache: Cache): Promise<void> {
  for (let failure = 1; failure <= 3; failure++) {
    assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
    await entrepot.clock.advance(1_600)
  }
}

test('three failures in a row over at least 3 s: copies are served at once, unasked', async (t) => {
  const cache = await entrepot.cache(t, content)
  await cache.get(tag)
  const end = cache.upstream.quirk('*', { status: 503 })
  cache.upstream.transcript.take()
  await fail(cache)
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(503), HEAD(503), HEAD(503)])
  const answer = await cache.get(tag)
  assertServed(answer, { outcome: 'stale', bytes: v1.bytes })
  assert.match(String(answer.headers['cache-status']), /down/)
  assert.deepEqual(
    cache.upstream.transcript.take().filter((line) => !line.startsWith('GET /v2/ ')),
    [],
  )
  end()
})

test('when down, what is not held is still tried, once a request', async (t) => {
  const cache = await entrepot.cache(t, content)
  await cache.get(tag)
  cache.upstream.quirk('*', { status: 503 })
  await fail(cache)
  cache.upstream.transcript.take()
  assertRefused(await cache.get(other), 502, 'UNAVAILABLE')
  assert.deepEqual(
    cache.upstream.transcript.take().filter((line) => !line.startsWith('GET /v2/ ')),
    [`GET /v2/${other} 503`],
  )
})

test('three failures within 3 s are not down', async (t) => {
  const cache = await entrepot.cache(t, content)
  await cache.get(tag)
  cache.upstream.quirk('*', { status: 503 })
  for (let pull = 1; pull <= 4; pull++) await cache.get(tag)
  assert.deepEqual(cache.upstream.transcript.take().slice(1), [HEAD(503), HEAD(503), HEAD(503), HEAD(503)])
})

for (const status of [404, 401, 403, 500]) {
  test(`${status} is an answer: it never means down`, async (t) => {
    const cache = await entrepot.cache(t, content)
    await cache.get(tag)
    cache.upstream.quirk('*', { status })
    for (let pull = 1; pull <= 4; pull++) {
      await cache.get(tag)
      await entrepot.clock.advance(1_600)
    }
    const heads = cache.upstream.transcript.take().filter((line) => line.startsWith('HEAD'))
    assert.deepEqual(heads, [HEAD(status), HEAD(status), HEAD(status), HEAD(status)])
  })
}

test('a failure of another server that the registry sends us to does not count', async (t) => {
  const big = image({ seed: 'big', layerBytes: 100 })
  const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': v1, big } })
  await cache.get(tag)
  await cache.get('library/alpine/manifests/big')
  cache.upstream.quirk('GET /v2/library/alpine/blobs/*', { redirectTo: `http://127.0.0.1:1/blob` })
  for (let pull = 1; pull <= 3; pull++) {
    assert.equal((await cache.get(`library/alpine/blobs/${big.layers[0]?.digest}`)).status, 502)
    await entrepot.clock.advance(1_600)
  }
  cache.upstream.transcript.take()
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
})

test('429 closes a gate until Retry-After: copies are served unasked, the rest is refused unasked', async (t) => {
  const cache = await entrepot.cache(t, content)
  await cache.get(tag)
  const end = cache.upstream.quirk('*', { status: 429, retryAfter: '40' })
  cache.upstream.transcript.take()
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  await entrepot.clock.advance(10_000)
  const refused = await cache.get(other)
  assertRefused(refused, 429, 'TOOMANYREQUESTS')
  assert.equal(refused.headers['retry-after'], '30')
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(429)])
  end()
  await entrepot.clock.advance(31_000)
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
  assertServed(await cache.get(other), { outcome: 'miss', bytes: v2.bytes })
})

test('the gate is per credential: another organization of the same upstream goes on', async (t) => {
  const cache = await entrepot.cache(t, content)
  const login = { username: 'ann', password: 'secret' }
  const another = await entrepot.cache(t, {}, { upstream: cache.upstream, login })
  const end = cache.upstream.quirk('*', { status: 429, retryAfter: '40' }, 1)
  assertRefused(await cache.get(tag), 429, 'TOOMANYREQUESTS')
  assertServed(await another.get(tag), { outcome: 'miss', bytes: v1.bytes })
  assertRefused(await cache.get(tag), 429, 'TOOMANYREQUESTS')
  end()
})
