/** DESIGN part 4, *By tag*: what is asked and answered when no copy is held, and what every answer carries. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image, MEDIA_TYPES, rawManifest } from '../fakes/content.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import { misbehave, notAManifest, UNUSABLE } from './misbehaviour.ts'
import { errorOf } from './registry-client.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const tag = 'library/alpine/manifests/3.20'
const v1 = image({ seed: 'v1' })
const HEAD = (status: number | '-') => `HEAD /v2/${tag} ${status}`
const GET = (status: number | '-') => `GET /v2/${tag} ${status}`
const accept = `${MEDIA_TYPES.ociIndex}, ${MEDIA_TYPES.ociManifest}, ${MEDIA_TYPES.dockerList}, ${MEDIA_TYPES.dockerManifest}, */*;q=0.1`

async function emptyCache(t: Parameters<Entrepot['cache']>[0]) {
  return entrepot.cache(t, { 'library/alpine': { '3.20': v1 } })
}

test('a miss costs one request, with the same Accept whatever the client sent, and passes bytes on unchanged', async (t) => {
  for (const content of [v1, image({ docker: true })]) {
    const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': content } })
    const answer = await cache.get(tag, { accept: `${content.mediaType}, text/html` })
    assertServed(answer, { outcome: 'miss', bytes: content.bytes, mediaType: content.mediaType })
    assert.equal(answer.headers['docker-content-digest'], content.digest)
    assert.equal(answer.headers.etag, `"${content.digest}"`)
    assert.equal(answer.headers.age, '0')
    assert.deepEqual(cache.upstream.transcript.lines(['Accept', 'Authorization']), [`${GET(200)} Accept=${accept}`])
  }
})

for (const how of UNUSABLE) {
  test(`none, the upstream ${how.title}: ${how.status} ${how.code}, and no row is written`, async (t) => {
    const cache = await emptyCache(t)
    const end = await misbehave(cache.upstream, how, 'library/alpine')
    const answer = await cache.get(tag)
    assertRefused(answer, how.status, how.code, /127\.0\.0\.1/)
    assert.deepEqual(
      cache.upstream.transcript.lines(),
      how.missing.map((line) => line.replace(' ', ` /v2/${tag} `)),
    )
    for (const { bodyBytes } of cache.upstream.transcript.entries) assert.ok(bodyBytes < 20_000_000)
    assert.deepEqual(await cache.repositories(), [])
    end()
  })
}

test('none, JSON that is no manifest: 502 UNAVAILABLE', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': notAManifest } })
  assertRefused(await cache.get(tag), 502, 'UNAVAILABLE')
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

test('none, 404: 404 MANIFEST_UNKNOWN, remembered for 10 s', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': {} })
  assertRefused(await cache.get(tag), 404, 'MANIFEST_UNKNOWN')
  cache.upstream.repository('library/alpine').tag('3.20', v1)
  await entrepot.clock.advance(9_000)
  assertRefused(await cache.get(tag), 404, 'MANIFEST_UNKNOWN')
  assert.deepEqual(cache.upstream.transcript.take(), [GET(404)])
  await entrepot.clock.advance(2_000)
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

test('none, a 404 leaves no repository behind', async (t) => {
  const cache = await entrepot.cache(t, {})
  assertRefused(await cache.get(tag), 404, 'MANIFEST_UNKNOWN')
  assert.deepEqual(await cache.repositories(), [])
})

for (const status of [401, 403]) {
  test(`none, ${status}: 403 DENIED that says what to do`, async (t) => {
    const cache = await emptyCache(t)
    cache.upstream.quirk('*', { status })
    const message = new RegExp(
      `^${RegExp.escape(cache.upstream.host)} refuses library/alpine: it does not exist there, or this organization's credentials may not read it$`,
    )
    assertRefused(await cache.get(tag), 403, 'DENIED', message)
    assert.deepEqual(cache.upstream.transcript.take(), [GET(status)])
    assert.deepEqual(await cache.repositories(), [])
  })
}

test('none, 429: Retry-After is the upstream’s, at most 60 s', async (t) => {
  for (const [sent, told] of [
    ['7', '7'],
    ['3600', '60'],
    ['soon', '1'],
  ] as const) {
    const cache = await emptyCache(t)
    cache.upstream.quirk('*', { status: 429, retryAfter: sent })
    const answer = await cache.get(tag)
    assertRefused(answer, 429, 'TOOMANYREQUESTS')
    if (sent === 'soon')
      assert.ok(Number(answer.headers['retry-after']) >= 1 && Number(answer.headers['retry-after']) <= 60)
    else assert.equal(answer.headers['retry-after'], told)
  }
})

test('none, a redirect loop: 502 UNAVAILABLE after a bounded number of requests', async (t) => {
  const cache = await emptyCache(t)
  cache.upstream.quirk('*', { redirectLoop: true })
  assertRefused(await cache.get(tag), 502, 'UNAVAILABLE')
  const lines = cache.upstream.transcript.take()
  assert.ok(lines.length >= 1 && lines.length <= 12, `${lines.length} requests`)
  assert.deepEqual(new Set(lines), new Set([GET(307)]))
})

test('none, a host whose name does not resolve: 502 UNAVAILABLE', async (t) => {
  const cache = await entrepot.cache(t, {}, { upstreamHost: 'registry.invalid' })
  assertRefused(await cache.get(tag), 502, 'UNAVAILABLE', /registry\.invalid/)
})

test('none, a certificate that nobody vouches for: 502 UNAVAILABLE, before any request', async (t) => {
  const cache = await entrepot.cache(
    t,
    { 'library/alpine': { '3.20': v1 } },
    { tls: true, policy: { ca_certificate: null } },
  )
  assertRefused(await cache.get(tag), 502, 'UNAVAILABLE', /certificate/i)
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('a private CA of the organization is trusted for its upstream', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': v1 } }, { tls: true })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
})

test('insecure means plain HTTP, never unverified TLS', async (t) => {
  const upstream = await startFakeUpstream(t, { 'library/alpine': { '3.20': v1 } }, { tls: true })
  const cache = await entrepot.cache(t, {}, { upstream, insecure: true })
  assertRefused(await cache.get(tag), 502, 'UNAVAILABLE')
  assert.deepEqual(upstream.transcript.take(), [])
})

test('a redirect to a private address is refused, and the refusal names the line to add', async (t) => {
  const secret = await startFakeUpstream(t, { 'library/alpine': { '3.20': v1 } }, { address: '127.0.0.2' })
  const cache = await emptyCache(t)
  cache.upstream.quirk('*', { redirectTo: (target) => `${secret.url}${target}` })
  const answer = await cache.get(tag)
  assertRefused(answer, 502, 'UNAVAILABLE', /SSRF_ALLOWED_HOSTS/)
  assert.match(errorOf(answer).message, /127\.0\.0\.2/)
  assert.deepEqual(secret.transcript.take(), [])
})

test('by tag a client that lists types, and not the stored one, gets a 404 saying so', async (t) => {
  const cache = await emptyCache(t)
  const answer = await cache.get(tag, { accept: `${MEDIA_TYPES.dockerManifest}, ${MEDIA_TYPES.dockerList}` })
  assertRefused(answer, 404, 'MANIFEST_UNKNOWN', new RegExp(RegExp.escape(v1.mediaType)))
  for (const wide of ['*/*', `${MEDIA_TYPES.dockerManifest}, */*`, `${v1.mediaType};q=0.5`, '']) {
    assertServed(await cache.get(tag, { accept: wide }), { bytes: v1.bytes })
  }
})

test('schema 1 is not cached: 404 saying so', async (t) => {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 1, name: 'library/alpine', tag: '3.20', fsLayers: [] }))
  const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': rawManifest(MEDIA_TYPES.schema1, bytes) } })
  assertRefused(await cache.get(tag), 404, 'MANIFEST_UNKNOWN', /schema 1/i)
  assert.deepEqual(await cache.repositories(), [])
})

test('a content type with a charset is the same content type', async (t) => {
  const cache = await emptyCache(t)
  cache.upstream.quirk('*', { charsetInContentType: true })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes, mediaType: v1.mediaType })
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes, mediaType: v1.mediaType })
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200), HEAD(200)])
})

test('without a digest header and a Content-Length a manifest is what its bytes are', async (t) => {
  const cache = await emptyCache(t)
  cache.upstream.quirk('*', { omitDigestHeader: true, omitContentLength: true })
  const answer = await cache.get(tag)
  assertServed(answer, { outcome: 'miss', bytes: v1.bytes })
  assert.equal(answer.headers['docker-content-digest'], v1.digest)
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

test('a client that has the manifest gets 304', async (t) => {
  const cache = await emptyCache(t)
  await cache.get(tag)
  const answer = await cache.get(tag, { 'if-none-match': `"${v1.digest}"` })
  assert.deepEqual([answer.status, answer.body.byteLength], [304, 0])
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200), HEAD(200)]) // 304 is about now, not about then.
})

test('answers that needed credentials are private, anonymous ones by digest public, by tag not to be reused unasked', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { '3.20': v1 } }, { policy: { anonymous_pulls: true } })
  const digest = `library/alpine/manifests/${v1.digest}`
  const withLogin = await cache.get(tag)
  assert.match(String(withLogin.headers['cache-control']), /private/)
  assert.match(String((await cache.get(digest)).headers['cache-control']), /private/)
  const nobody = cache.as(undefined)
  assert.match(String((await nobody.get(tag)).headers['cache-control']), /no-cache/)
  assert.equal((await nobody.get(digest)).headers['cache-control'], 'public, max-age=31536000, immutable')
})

test('anonymous pulls are a switch of the organization: without it 401', async (t) => {
  const cache = await emptyCache(t)
  const answer = await cache.as(undefined).get(tag)
  assertRefused(answer, 401, 'UNAUTHORIZED')
  assert.match(
    String(answer.headers['www-authenticate']),
    /^Bearer realm="http.*\/v2\/auth",service=".+",scope="repository:.+:pull"/,
  )
  assert.deepEqual(cache.upstream.transcript.take(), [])
})
