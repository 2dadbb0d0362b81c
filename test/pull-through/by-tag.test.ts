/** DESIGN part 4, *By tag*: the rows of its table in which a copy is held. Each title is a row, or a part of one. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image, index } from '../fakes/content.ts'
import { Gate } from '../fakes/gate.ts'
import { assertRefused, assertServed, outcomeOf } from './assert-answer.ts'
import type { Cache, CacheOptions } from './cache.ts'
import { misbehave, UNUSABLE } from './misbehaviour.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const tag = 'library/alpine/manifests/3.20'
const v1 = image({ seed: 'v1' })
const v2 = image({ seed: 'v2' })
const HEAD = (status: number | '-') => `HEAD /v2/${tag} ${status}`
const GET = (status: number | '-') => `GET /v2/${tag} ${status}`
const dayMs = 86_400_000

/** A cache that holds `3.20`, confirmed just now, with an upstream that has forgotten the requests. */
async function holding(t: Parameters<Entrepot['cache']>[0], options: CacheOptions = {}): Promise<Cache> {
  const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': v1 } }, options)
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
  return cache
}

test('alive, confirmed less than revalidate_after_s ago: not asked, 200 hit', async (t) => {
  const cache = await holding(t, { policy: { revalidate_after_s: 60 } })
  await entrepot.clock.advance(59_000)
  const answer = await cache.get(tag)
  assertServed(answer, { outcome: 'hit', bytes: v1.bytes })
  assert.equal(answer.headers.age, '59')
  assert.deepEqual(cache.upstream.transcript.take(), [])

  await entrepot.clock.advance(1_000)
  const asked = await cache.get(tag)
  assertServed(asked, { outcome: 'revalidated', bytes: v1.bytes })
  assert.equal(asked.headers.age, '0')
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200)])
})

test('alive, HEAD names the same digest: 200 revalidated, nothing is downloaded', async (t) => {
  const cache = await holding(t)
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200)])
})

test('kept, HEAD names the same digest: 200 revalidated, and the tag lives again', async (t) => {
  const cache = await holding(t, { expiration_s: 600 })
  await entrepot.clock.advance(601_000)
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
  cache.upstream.repository('library/alpine').untag('3.20')
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes }) // Kept, it would be a 404.
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200), HEAD(404), GET(404)])
})

test('one HEAD is shared by all who ask at once', async (t) => {
  const cache = await holding(t)
  const gate = new Gate()
  cache.upstream.quirk(`HEAD /v2/${tag}`, { hangBeforeHeaders: gate })
  const pulls = Array.from({ length: 10 }, () => cache.get(tag))
  await cache.upstream.transcript.until(({ entries }) => entries.length === 1)
  await entrepot.roundTrips()
  gate.open()
  for (const answer of await Promise.all(pulls)) assertServed(answer, { outcome: 'revalidated', bytes: v1.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200)])
})

test('one GET is shared by all who ask at once for what is not held', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': v1 } })
  const gate = new Gate()
  cache.upstream.quirk(`GET /v2/${tag}`, { hangBeforeHeaders: gate })
  const pulls = Array.from({ length: 10 }, () => cache.get(tag))
  await cache.upstream.transcript.until(({ entries }) => entries.length === 1)
  await entrepot.roundTrips()
  gate.open()
  for (const answer of await Promise.all(pulls)) assertServed(answer, { outcome: 'miss', bytes: v1.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

for (const state of ['alive', 'kept'] as const) {
  test(`${state}, HEAD names another digest and GET succeeds: 200 miss, the tag moves`, async (t) => {
    const cache = await holding(t, { expiration_s: 600, policy: { revalidate_after_s: 60 } })
    cache.upstream.repository('library/alpine').tag('3.20', v2)
    await entrepot.clock.advance(state === 'alive' ? 61_000 : 601_000)
    assertServed(await cache.get(tag), { outcome: 'miss', bytes: v2.bytes })
    assertServed(await cache.get(tag), { outcome: 'hit', bytes: v2.bytes })
    assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200), GET(200)])
    assertServed(await cache.get(`library/alpine/manifests/${v1.digest}`), { outcome: 'hit', bytes: v1.bytes })
    assert.deepEqual(cache.upstream.transcript.take(), []) // The old digest is in the history, and whole.
  })
}

test('HEAD names another digest and GET fails: as if HEAD had failed that way', async (t) => {
  for (const [status, code] of [
    [429, 200],
    [500, 200],
    [404, 200],
    [403, 200],
  ] as const) {
    const cache = await holding(t)
    cache.upstream.repository('library/alpine').tag('3.20', v2)
    cache.upstream.quirk(`GET /v2/${tag}`, { status })
    const answer = await cache.get(tag)
    assert.equal(answer.status, code, `GET ${status}`)
    assertServed(answer, { outcome: 'stale', bytes: v1.bytes })
    assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200), GET(status)], `GET ${status}`)
  }
})

for (const how of UNUSABLE) {
  const lines = how.held.map((line) => line.replace(' ', ` /v2/${tag} `))

  test(`alive, the upstream ${how.title}: 200 stale`, async (t) => {
    const cache = await holding(t)
    await misbehave(cache.upstream, how, 'library/alpine')
    const answer = await cache.get(tag)
    assertServed(answer, { outcome: 'stale', bytes: v1.bytes })
    assert.deepEqual(cache.upstream.transcript.lines(), lines)
    for (const { bodyBytes } of cache.upstream.transcript.entries) assert.ok(bodyBytes < 20_000_000)
  })

  test(`kept, the upstream ${how.title}: 200 stale`, async (t) => {
    const cache = await holding(t, { expiration_s: 600 })
    await entrepot.clock.advance(700_000)
    await misbehave(cache.upstream, how, 'library/alpine')
    assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
    assert.deepEqual(cache.upstream.transcript.lines(), lines)
  })

  test(`confirmed longer than max_stale_s ago, the upstream ${how.title}: ${how.status} ${how.code}`, async (t) => {
    const cache = await holding(t, { policy: { max_stale_s: 300 } })
    await misbehave(cache.upstream, how, 'library/alpine')
    await entrepot.clock.advance(299_000)
    assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
    await entrepot.clock.advance(62_000) // Past a minute, a 429 gate is open again.
    const answer = await cache.get(tag)
    assertRefused(answer, how.status, how.code)
  })
}

test('a stale answer says why, and how old it is', async (t) => {
  const cache = await holding(t)
  cache.upstream.quirk(`HEAD /v2/${tag}`, { status: 503 })
  await entrepot.clock.advance(30_000)
  const answer = await cache.get(tag)
  assertServed(answer, { outcome: 'stale', bytes: v1.bytes })
  assert.match(String(answer.headers['cache-status']), /503|server_error/)
  assert.equal(answer.headers.age, '30')
})

test('stale answers do not put off the expiry: a kept copy of a tag that is gone is a 404', async (t) => {
  const cache = await holding(t, { expiration_s: 600 })
  await entrepot.clock.advance(500_000)
  const end = cache.upstream.quirk(`HEAD /v2/${tag}`, { status: 503 })
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  end()
  cache.upstream.repository('library/alpine').untag('3.20')
  await entrepot.clock.advance(101_000)
  assertRefused(await cache.get(tag), 404, 'MANIFEST_UNKNOWN')
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(503), HEAD(404), GET(404)])
})

test('hit and revalidated put off the expiry', async (t) => {
  for (const revalidateAfter of [0, 3000]) {
    const cache = await holding(t, { expiration_s: 600, policy: { revalidate_after_s: revalidateAfter } })
    await entrepot.clock.advance(500_000)
    assertServed(await cache.get(tag), { outcome: revalidateAfter === 0 ? 'revalidated' : 'hit', bytes: v1.bytes })
    cache.upstream.repository('library/alpine').untag('3.20')
    await entrepot.clock.advance(500_000)
    const answer = await cache.get(tag)
    assertServed(answer, { outcome: revalidateAfter === 0 ? 'stale' : 'hit', bytes: v1.bytes })
  }
})

test('with expiration_s 0 a tag lives for ever', async (t) => {
  const cache = await holding(t, { expiration_s: 0 })
  cache.upstream.repository('library/alpine').untag('3.20')
  await entrepot.clock.advance(400 * dayMs)
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
})

test('alive, 404 to HEAD and to one GET: 200 stale', async (t) => {
  const cache = await holding(t)
  cache.upstream.repository('library/alpine').untag('3.20')
  const answer = await cache.get(tag)
  assertServed(answer, { outcome: 'stale', bytes: v1.bytes })
  assert.match(String(answer.headers['cache-status']), /gone|404/)
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(404), GET(404)])
})

test('404 to HEAD alone is believed of no upstream: GET decides', async (t) => {
  const cache = await holding(t)
  cache.upstream.quirk(`HEAD /v2/${tag}`, { status: 404 })
  const answer = await cache.get(tag)
  assert.ok(['revalidated', 'miss'].includes(outcomeOf(answer) ?? ''))
  assertServed(answer, { bytes: v1.bytes })
  cache.upstream.repository('library/alpine').tag('3.20', v2)
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v2.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(404), GET(200), HEAD(404), GET(200)])
})

for (const status of [401, 403]) {
  test(`alive, ${status}: 200 stale (denied)`, async (t) => {
    const cache = await holding(t)
    cache.upstream.quirk('/v2/library/alpine/*', { status })
    const answer = await cache.get(tag)
    assertServed(answer, { outcome: 'stale', bytes: v1.bytes })
    assert.match(String(answer.headers['cache-status']), /denied/)
    assert.deepEqual(cache.upstream.transcript.take(), [HEAD(status)])
  })

  test(`alive, ${status}, with refuse_when_denied: 403 DENIED, and by digest too as long as it lasts`, async (t) => {
    const cache = await holding(t, { policy: { refuse_when_denied: true } })
    const end = cache.upstream.quirk('/v2/library/alpine/*', { status })
    assertRefused(await cache.get(tag), 403, 'DENIED', /library\/alpine/)
    assertRefused(await cache.get(`library/alpine/manifests/${v1.digest}`), 403, 'DENIED')
    end()
    assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
    assertServed(await cache.get(`library/alpine/manifests/${v1.digest}`), { outcome: 'hit', bytes: v1.bytes })
  })

  test(`kept, ${status}: 403 DENIED`, async (t) => {
    const cache = await holding(t, { expiration_s: 600 })
    await entrepot.clock.advance(700_000)
    cache.upstream.quirk('/v2/library/alpine/*', { status })
    assertRefused(await cache.get(tag), 403, 'DENIED')
  })
}

test('beyond the Time Machine a copy is none', async (t) => {
  const cache = await holding(t, { expiration_s: 600 })
  await entrepot.clock.advance(15 * dayMs)
  await cache.upstream.refuse()
  assertRefused(await cache.get(tag), 502, 'UNAVAILABLE')
})

test('no digest header: HEAD names nothing, so GET decides', async (t) => {
  const cache = await holding(t)
  cache.upstream.quirk('/v2/library/alpine/*', { omitDigestHeader: true })
  assertServed(await cache.get(tag), { bytes: v1.bytes })
  cache.upstream.repository('library/alpine').tag('3.20', v2)
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v2.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200), GET(200), HEAD(200), GET(200)])
})

test('the tag of an index is that of its bytes; children are not asked for', async (t) => {
  const both = index([v1, v2])
  const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': both } })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: both.bytes, mediaType: both.mediaType })
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: both.bytes, mediaType: both.mediaType })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200), HEAD(200)])
})
