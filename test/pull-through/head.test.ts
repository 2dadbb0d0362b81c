/** DESIGN part 4, *HEAD by tag*: the way Docker and containerd pull. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image } from '../fakes/content.ts'
import { assertServed, outcomeOf } from './assert-answer.ts'
import { misbehave, UNUSABLE } from './misbehaviour.ts'
import type { ClientAnswer } from './registry-client.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const tag = 'library/alpine/manifests/3.20'
const v1 = image({ seed: 'v1' })
const v2 = image({ seed: 'v2' })
const byDigest = `library/alpine/manifests/${v1.digest}`
const HEAD = (status: number | '-') => `HEAD /v2/${tag} ${status}`
const content = { 'library/alpine': { '3.20': v1 } }

function assertResolved(answer: ClientAnswer, outcome: string, manifest = v1): void {
  assert.deepEqual(
    {
      status: answer.status,
      outcome: outcomeOf(answer),
      digest: answer.headers['docker-content-digest'],
      length: answer.headers['content-length'],
      type: answer.headers['content-type'],
      body: answer.body.byteLength,
    },
    {
      status: 200,
      outcome,
      digest: manifest.digest,
      length: String(manifest.bytes.byteLength),
      type: manifest.mediaType,
      body: 0,
    },
  )
}

test('without a copy it is one upstream HEAD, and the GET by digest stores the manifest and the tag', async (t) => {
  const cache = await entrepot.cache(t, content)
  assertResolved(await cache.head(tag), 'miss')
  assert.deepEqual(await cache.repositories(), [])
  assertServed(await cache.get(byDigest), { outcome: 'miss', bytes: v1.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200), `GET /v2/${byDigest} 200`])
  await cache.upstream.refuse()
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  assertResolved(await cache.head(tag), 'stale')
})

test('a tag is remembered for 10 minutes between HEAD and GET', async (t) => {
  for (const [waitMs, status] of [
    [599_000, 200],
    [601_000, 502],
  ] as const) {
    const cache = await entrepot.cache(t, content)
    assertResolved(await cache.head(tag), 'miss')
    await entrepot.clock.advance(waitMs)
    assertServed(await cache.get(byDigest), { outcome: 'miss', bytes: v1.bytes })
    await cache.upstream.refuse()
    assert.equal((await cache.get(tag)).status, status)
  }
})

test('the GET of that digest in another repository does not store the tag', async (t) => {
  const cache = await entrepot.cache(t, { ...content, 'library/other': { x: v1 } })
  assertResolved(await cache.head(tag), 'miss')
  assertServed(await cache.get(`library/other/manifests/${v1.digest}`), { outcome: 'miss', bytes: v1.bytes })
  assert.deepEqual(await cache.repositories(), ['library/other'])
})

test('with a copy it follows the table: hit, revalidated, miss when the tag moved', async (t) => {
  const cache = await entrepot.cache(t, content, { policy: { revalidate_after_s: 60 } })
  await cache.get(tag)
  cache.upstream.transcript.take()
  assertResolved(await cache.head(tag), 'hit')
  await entrepot.clock.advance(61_000)
  assertResolved(await cache.head(tag), 'revalidated')
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200)])
  cache.upstream.repository('library/alpine').tag('3.20', v2)
  await entrepot.clock.advance(61_000)
  assertResolved(await cache.head(tag), 'miss', v2)
  // A digest that is another is believed only when its manifest can be had; it waits for the GET that follows.
  assert.deepEqual(cache.upstream.transcript.take(), [HEAD(200), `GET /v2/${tag} 200`])
  assertServed(await cache.get(`library/alpine/manifests/${v2.digest}`), { outcome: 'miss', bytes: v2.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [])
  await cache.upstream.refuse()
  assertServed(await cache.get(tag), { bytes: v2.bytes })
})

test('it counts as use of what is held: the expiry is put off', async (t) => {
  const cache = await entrepot.cache(t, content, { expiration_s: 600 })
  await cache.get(tag)
  await entrepot.clock.advance(500_000)
  assertResolved(await cache.head(tag), 'revalidated')
  await entrepot.clock.advance(500_000)
  cache.upstream.repository('library/alpine').untag('3.20')
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
})

for (const how of UNUSABLE) {
  test(`with a copy, the upstream ${how.title}: 200 stale`, async (t) => {
    const cache = await entrepot.cache(t, content)
    await cache.get(tag)
    await misbehave(cache.upstream, how, 'library/alpine')
    assertResolved(await cache.head(tag), 'stale')
  })
}

test('without a copy the upstream’s refusal is ours, without a body', async (t) => {
  for (const [upstreams, ours] of [
    [404, 404],
    [401, 403],
    [403, 403],
    [429, 429],
    [500, 502],
    [503, 502],
  ] as const) {
    const cache = await entrepot.cache(t, content)
    cache.upstream.quirk('/v2/library/*', { status: upstreams })
    const answer = await cache.head(tag)
    assert.deepEqual([answer.status, answer.body.byteLength], [ours, 0], `upstream ${upstreams}`)
    assert.deepEqual(await cache.repositories(), [])
  }
})

test('HEAD by digest of what is held asks nobody; of what is not, the upstream', async (t) => {
  const cache = await entrepot.cache(t, content)
  assertResolved(await cache.head(byDigest), 'miss')
  assert.deepEqual(cache.upstream.transcript.take(), [`HEAD /v2/${byDigest} 200`])
  assert.deepEqual(await cache.repositories(), [])
  await cache.get(tag)
  cache.upstream.transcript.take()
  assertResolved(await cache.head(byDigest), 'hit')
  assert.deepEqual(cache.upstream.transcript.take(), [])
})
