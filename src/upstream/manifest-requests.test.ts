import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { image, MEDIA_TYPES, rawManifest, sha512 } from '../../test/fakes/content.ts'
import { type FakeUpstream, startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import {
  assertFails,
  configOf,
  named,
  openUpstreamClient,
  ref,
  type UpstreamClient,
} from '../../test/fakes/upstream-client.ts'
import type { UpstreamFailure } from '../errors.ts'
import type { Upstream } from '../oci/registry.ts'

const CONTENT = image({})
const ACCEPT =
  'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ' +
  'application/vnd.docker.distribution.manifest.list.v2+json, ' +
  'application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1'

const NAME = named('library/alpine')
const TAG = ref('3.20')
const DIGEST = ref(CONTENT.digest)

async function start(
  t: TestContext,
  limits: Record<string, number> = {},
): Promise<{ fake: FakeUpstream; client: UpstreamClient; upstream: Upstream }> {
  const fake = await startFakeUpstream(t, { 'library/alpine': { '3.20': CONTENT } })
  const client = openUpstreamClient(t, { limits })
  return { fake, client, upstream: client.pool.open(configOf(fake)) }
}

test('a tag is resolved by one HEAD with the fixed Accept, and got by one GET', async (t) => {
  const { fake, upstream } = await start(t)

  const descriptor = await upstream.resolveManifest(NAME, TAG)
  const manifest = await upstream.getManifest(NAME, DIGEST)

  assert.deepEqual(descriptor, {
    mediaType: CONTENT.mediaType,
    digest: CONTENT.digest,
    size: CONTENT.bytes.byteLength,
  })
  assert.deepEqual(manifest, { descriptor, bytes: CONTENT.bytes })
  assert.deepEqual(fake.transcript.lines(['accept', 'authorization']), [
    `HEAD /v2/library/alpine/manifests/3.20 200 accept=${ACCEPT}`,
    `GET /v2/library/alpine/manifests/${CONTENT.digest} 200 accept=${ACCEPT}`,
  ])
})

test('without a digest header the tag is got once, and the GET that follows costs nothing', async (t) => {
  const { fake, client, upstream } = await start(t)
  fake.quirk('/v2/library/alpine/manifests/*', { omitDigestHeader: true })

  assert.equal((await upstream.resolveManifest(NAME, TAG)).digest, CONTENT.digest)
  assert.deepEqual((await upstream.getManifest(NAME, DIGEST)).bytes, CONTENT.bytes)
  assert.deepEqual(fake.transcript.take(), [
    'HEAD /v2/library/alpine/manifests/3.20 200',
    'GET /v2/library/alpine/manifests/3.20 200',
  ])

  await upstream.resolveManifest(NAME, TAG)
  fake.transcript.take()
  client.now.ms += 10_000
  await upstream.getManifest(NAME, DIGEST)
  assert.equal(fake.transcript.take().length, 1, 'what was kept is forgotten after 10 s')
})

for (const status of [400, 405]) {
  test(`HEAD answered ${status} is asked again by GET`, async (t) => {
    const { fake, upstream } = await start(t)
    fake.quirk('HEAD /v2/*', { status })
    assert.equal((await upstream.resolveManifest(NAME, TAG)).digest, CONTENT.digest)
  })
}

test('a charset in the content type is left out, and the bytes are as sent', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { charsetInContentType: true })
  assert.equal((await upstream.resolveManifest(NAME, TAG)).mediaType, CONTENT.mediaType)
  assert.equal((await upstream.getManifest(NAME, TAG)).descriptor.mediaType, CONTENT.mediaType)
})

test('an answer without Content-Length is read all the same', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { omitContentLength: true })
  assert.equal((await upstream.resolveManifest(NAME, TAG)).size, CONTENT.bytes.byteLength)
})

test('bytes that are not those of the digest are refused, by digest and by tag', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { wrongByteAt: -2 })
  await assertFails(upstream.getManifest(NAME, DIGEST), 'protocol')
  await assertFails(upstream.getManifest(NAME, TAG), 'protocol')
})

test('a HEAD by digest that names another digest is refused', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { digestHeader: `sha256:${'0'.repeat(64)}` })
  await assertFails(upstream.resolveManifest(NAME, DIGEST), 'protocol')
  assert.equal((await upstream.getManifest(NAME, DIGEST)).descriptor.digest, CONTENT.digest, 'by digest bytes decide')
})

test('a sha512 digest is checked as such', async (t) => {
  const { fake, upstream } = await start(t)
  const digest = sha512(CONTENT.bytes)
  fake.repository('library/alpine').manifests.set(digest, { ...CONTENT, digest })
  assert.equal((await upstream.getManifest(NAME, ref(digest))).descriptor.digest, digest)
  fake.quirk('/v2/*', { wrongByteAt: 3 })
  await assertFails(upstream.getManifest(NAME, ref(digest)), 'protocol')
})

test('a web page is no manifest', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { htmlInsteadOfJson: true })
  await assertFails(upstream.resolveManifest(NAME, TAG), 'protocol')
  await assertFails(upstream.getManifest(NAME, TAG), 'protocol')
})

test('of a manifest of 100 MB nothing is read when it says its length', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('GET /v2/*', { hugeManifestBytes: 100_000_000 })
  await assertFails(upstream.getManifest(NAME, TAG), 'protocol')
})

test('of a manifest of 100 MB that does not say its length little more than 4 MiB is read', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('GET /v2/*', { hugeManifestBytes: 100_000_000, omitContentLength: true })
  await assertFails(upstream.getManifest(NAME, TAG), 'protocol')
  await fake.transcript.until((transcript) => transcript.entries.every((entry) => entry.isOver))
  const sent = fake.transcript.entries[0]?.bodyBytes ?? 0
  assert.ok(sent > 4 * 1024 * 1024 && sent < 40 * 1024 * 1024, `${sent} bytes were sent`)
})

test('gzip that nobody asked for is decoded, and the bound holds for what comes out', async (t) => {
  const { fake, upstream } = await start(t)
  const packed = rawManifest(MEDIA_TYPES.ociManifest, gzipSync(CONTENT.bytes))
  fake.repository('library/alpine').tag('packed', packed)
  fake.quirk('/v2/*', { headers: { 'content-encoding': 'gzip' }, omitDigestHeader: true })
  assert.deepEqual((await upstream.getManifest(NAME, ref('packed'))).bytes, CONTENT.bytes)

  const bomb = rawManifest(MEDIA_TYPES.ociManifest, gzipSync(Buffer.alloc(50_000_000, 32)))
  fake.repository('library/alpine').tag('bomb', bomb)
  const error = await assertFails(upstream.getManifest(NAME, ref('bomb')), 'protocol')
  assert.match(error.message, /more than 4194304 bytes/)
})

test('each status becomes its failure', async (t) => {
  const { fake, client, upstream } = await start(t)
  const rows: [number, UpstreamFailure, boolean][] = [
    [404, 'not_found', false],
    [401, 'denied', false],
    [403, 'denied', false],
    [500, 'server_error', false],
    [502, 'server_error', true],
    [503, 'server_error', true],
    [504, 'server_error', true],
    [418, 'protocol', false],
    [204, 'protocol', false],
    [429, 'rate_limited', false],
  ]
  for (const [status, failure, outage] of rows) {
    const off = fake.quirk('/v2/*', { status })
    const error = await assertFails(upstream.getManifest(NAME, TAG), failure, outage)
    assert.equal(error.status, status)
    assert.ok(error.message.includes(fake.host))
    off()
  }
  assert.deepEqual(
    client.events.map((event) => event.event === 'request' && [event.kind, event.status, event.failure]),
    rows.map(([status, failure]) => ['manifest', status, failure]),
  )
})

test('an upstream that hangs before its headers times out as an outage, and mid-body as none', async (t) => {
  const { fake, upstream } = await start(t, { headersMs: 30, bodyIdleMs: 30 })
  const off = fake.quirk('/v2/*', { hangBeforeHeaders: true })
  await assertFails(upstream.getManifest(NAME, TAG), 'timeout', true)
  off()
  fake.quirk('/v2/*', { hangMidBodyAt: 5 })
  await assertFails(upstream.getManifest(NAME, TAG), 'timeout')
})

test('a manifest that trickles is given up after the time for the whole', async (t) => {
  const { fake, upstream } = await start(t, { documentMs: 40 })
  fake.quirk('/v2/*', { hangMidBodyAt: 5 })
  await assertFails(upstream.getManifest(NAME, TAG), 'timeout')
})

test('a broken or refused connection is an outage', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { reset: true })
  await assertFails(upstream.getManifest(NAME, TAG), 'unreachable', true)
  await fake.refuse()
  await assertFails(upstream.getManifest(NAME, TAG), 'unreachable', true)
})

test('a kept connection that the upstream closed is replaced once, a fresh one is not', async (t) => {
  const { fake, upstream } = await start(t)
  await upstream.getManifest(NAME, TAG)
  await setImmediate() // The pool notices only then that the connection is free.
  fake.transcript.take()
  fake.quirk('/v2/*', { reset: true }, 1)
  await upstream.getManifest(NAME, TAG)
  assert.equal(fake.transcript.take().length, 2)

  await setImmediate()
  fake.quirk('/v2/*', { reset: true })
  await assertFails(upstream.getManifest(NAME, TAG), 'unreachable', true)
  assert.equal(fake.transcript.take().length, 2, 'one on the kept connection, one on a fresh one')
  await assertFails(upstream.getManifest(NAME, TAG), 'unreachable', true)
  assert.equal(fake.transcript.take().length, 1)
})

test('whoever gives up gets the reason of their signal, and it counts for nothing', async (t) => {
  const { fake, client, upstream } = await start(t)
  fake.quirk('/v2/*', { hangBeforeHeaders: true })
  const stop = new AbortController()
  const work = upstream.getManifest(NAME, TAG, { signal: stop.signal })
  await fake.transcript.until((transcript) => transcript.entries.length === 1)
  stop.abort(new Error('the client has gone'))
  await assert.rejects(work, /the client has gone/)
  assert.deepEqual(client.events, [])
  assert.equal(upstream.state().lastError, undefined)
})

test('bytes are hashed as they were sent', async (t) => {
  const { upstream } = await start(t)
  const { bytes, descriptor } = await upstream.getManifest(NAME, TAG)
  assert.equal(descriptor.digest, `sha256:${createHash('sha256').update(bytes).digest('hex')}`)
})
