/** What happens when the upstream lets us wait: for shorter times than in earnest, and side by side. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { image, sha256 } from '../fakes/content.ts'
import { Gate } from '../fakes/gate.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import { eventually } from './eventually.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

/** Long enough for a busy machine to answer in. */
const shortMs = 500
const upstream = { headersMs: shortMs, blobHeadersMs: shortMs, bodyIdleMs: shortMs, documentMs: shortMs }

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot({}, { upstream })
})
after(() => entrepot.stop())

const tag = 'library/alpine/manifests/3.20'
const v1 = image({ seed: 'v1' })
const v2 = image({ seed: 'v2' })
const layer = `library/alpine/blobs/${v1.layers[0]?.digest}`
const content = { 'library/alpine': { '3.20': v1 } }

describe('an upstream that lets us wait', { concurrency: true }, () => {
  test('none held, no headers: 504 UNAVAILABLE', async (t) => {
    const cache = await entrepot.cache(t, content)
    cache.upstream.quirk('*', { hangBeforeHeaders: true })
    assertRefused(await cache.get(tag), 504, 'UNAVAILABLE', /127\.0\.0\.1/)
    assert.deepEqual(cache.upstream.transcript.take(), [`GET /v2/${tag} -`])
  })

  test('none held, hanging inside the manifest: 504 UNAVAILABLE', async (t) => {
    const cache = await entrepot.cache(t, content)
    cache.upstream.quirk('*', { hangMidBodyAt: 20 })
    assertRefused(await cache.get(tag), 504, 'UNAVAILABLE')
    assert.deepEqual(cache.upstream.transcript.take(), [`GET /v2/${tag} 200`])
  })

  test('a copy held, hanging inside the manifest of a tag that moved: the copy', async (t) => {
    const cache = await entrepot.cache(t, content)
    await cache.get(tag)
    cache.upstream.repository('library/alpine').tag('3.20', v2)
    cache.upstream.quirk('GET *', { hangMidBodyAt: 20 })
    assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  })

  test('while a copy exists the question takes so long at most; it goes on in the background and moves the tag', async (t) => {
    const own = await startEntrepot({}, { questions: { patienceMs: 100 } })
    t.after(() => own.stop())
    const cache = await own.cache(t, content, { policy: { revalidate_after_s: 60 } })
    await cache.get(tag)
    cache.upstream.transcript.take()
    cache.upstream.repository('library/alpine').tag('3.20', v2)
    const gate = new Gate()
    cache.upstream.quirk(`HEAD /v2/${tag}`, { hangBeforeHeaders: gate })
    await own.clock.advance(61_000)
    const answer = await cache.get(tag)
    assertServed(answer, { outcome: 'stale', bytes: v1.bytes })
    assert.match(String(answer.headers['cache-status']), /timeout/)
    gate.open()
    await cache.upstream.transcript.until(({ entries }) =>
      entries.some((entry) => entry.method === 'GET' && entry.isOver),
    )
    await eventually(async () => assert.equal(sha256((await cache.get(tag)).body), v2.digest))
    assertServed(await cache.get(tag), { outcome: 'hit', bytes: v2.bytes })
    assert.deepEqual(cache.upstream.transcript.take(), [`HEAD /v2/${tag} 200`, `GET /v2/${tag} 200`])
  })

  test('a question goes on for so long at most, whatever the upstream may take', async (t) => {
    const own = await startEntrepot({}, { questions: { questionMsMax: shortMs } })
    t.after(() => own.stop())
    const cache = await own.cache(t, content)
    cache.upstream.quirk('*', { hangBeforeHeaders: true }, 1)
    assertRefused(await cache.get(tag), 504, 'UNAVAILABLE', /did not answer within 0\.5 s/)
    await cache.upstream.transcript.until(({ entries }) => entries.every((entry) => entry.isOver))
    assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
  })

  test('a blob without headers: 504 UNAVAILABLE', async (t) => {
    const cache = await entrepot.cache(t, content)
    await cache.get(tag)
    cache.upstream.quirk('GET */blobs/*', { hangBeforeHeaders: true })
    assertRefused(await cache.get(layer), 504, 'UNAVAILABLE')
  })

  test('a blob that hangs in its middle is asked for again where it was', async (t) => {
    const big = image({ seed: 'big', layerBytes: 300_000 })
    const bytes = big.layers[0]?.bytes ?? Buffer.alloc(0)
    const path = `library/alpine/blobs/${big.layers[0]?.digest}`
    const cache = await entrepot.cache(t, { 'library/alpine': { big } })
    await cache.get('library/alpine/manifests/big')
    cache.upstream.transcript.take()
    cache.upstream.quirk('GET */blobs/*', { hangMidBodyAt: 100_000 }, 1)
    assertServed(await cache.get(path), { outcome: 'miss', bytes })
    const asked = cache.upstream.transcript.take(['Range']).filter((line) => line.includes(path))
    assert.deepEqual(asked, [`GET /v2/${path} 200`, `GET /v2/${path} 206 Range=bytes=100000-`])
  })

  test('referrers never asked before, no answer: 504, not an empty list', async (t) => {
    const cache = await entrepot.cache(t, content)
    cache.upstream.quirk('*', { hangBeforeHeaders: true })
    assertRefused(await cache.get(`library/alpine/referrers/${v1.digest}`), 504, 'UNAVAILABLE')
  })

  test('a token service that does not answer: 504 UNAVAILABLE', async (t) => {
    const cache = await entrepot.cache(t, content, { authentication: { kind: 'token' } })
    cache.upstream.quirk('/token', { hangBeforeHeaders: true })
    assertRefused(await cache.get(tag), 504, 'UNAVAILABLE')
  })

  for (const status of [200, 401]) {
    test(`down: a probe finds it up again, GET /v2/ answered ${status}`, async (t) => {
      const own = await startEntrepot({}, { upstream: { probeMs: shortMs } })
      t.after(() => own.stop())
      const cache = await own.cache(t, content)
      await cache.get(tag)
      const end = cache.upstream.quirk('*', { status: 503 })
      for (let failure = 1; failure <= 3; failure++) {
        assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
        await own.clock.advance(1_600)
      }
      end()
      if (status === 401) cache.upstream.quirk('GET /v2/', { status })
      cache.upstream.transcript.take()
      await cache.upstream.transcript.until(({ entries }) => entries.some((entry) => entry.isOver))
      assert.deepEqual(cache.upstream.transcript.take(), [`GET /v2/ ${status}`])
      await eventually(async () => assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes }))
    })
  }
})
