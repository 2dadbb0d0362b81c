import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { blob, image } from '../../test/fakes/content.ts'
import { type FakeUpstream, startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import { assertFails, configOf, digest, named, openUpstreamClient } from '../../test/fakes/upstream-client.ts'
import type { Upstream } from '../oci/registry.ts'

const NAME = named('library/alpine')
const BLOB = blob('layer', 300_000)
const DIGEST = digest(BLOB.digest)

async function start(
  t: TestContext,
  limits: Record<string, number> = {},
): Promise<{ fake: FakeUpstream; upstream: Upstream }> {
  const fake = await startFakeUpstream(t, { 'library/alpine': { latest: image({ layers: [BLOB] }) } })
  return { fake, upstream: openUpstreamClient(t, { limits }).pool.open(configOf(fake)) }
}

test('a blob is one GET, without an encoding', async (t) => {
  const { fake, upstream } = await start(t)
  const { body, ...rest } = await upstream.openBlob(NAME, DIGEST)
  assert.deepEqual(rest, { start: 0, size: 300_000, length: 300_000 })
  assert.deepEqual(await buffer(body), BLOB.bytes)
  assert.deepEqual(fake.transcript.lines(['accept-encoding', 'range']), [
    `GET /v2/library/alpine/blobs/${DIGEST} 200 accept-encoding=identity`,
  ])
})

test('a blob is continued where it was broken off', async (t) => {
  const { fake, upstream } = await start(t)
  const { body, ...rest } = await upstream.openBlob(NAME, DIGEST, { range: { start: 299_990 } })
  assert.deepEqual(rest, { start: 299_990, size: 300_000, length: 10 })
  assert.deepEqual(await buffer(body), BLOB.bytes.subarray(299_990))
  assert.match(fake.transcript.lines(['range'])[0] ?? '', / 206 range=bytes=299990-$/)

  const part = await upstream.openBlob(NAME, DIGEST, { range: { start: 5, end: 9 } })
  assert.deepEqual(await buffer(part.body), BLOB.bytes.subarray(5, 10))
})

test('an upstream that ignores ranges begins at 0 and is taken at its word', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { ignoreRange: true })
  const { body, ...rest } = await upstream.openBlob(NAME, DIGEST, { range: { start: 100 } })
  assert.deepEqual(rest, { start: 0, size: 300_000, length: 300_000 })
  body.destroy()
})

test('a part that is not the one that was asked for is refused', async (t) => {
  const { fake, upstream } = await start(t)
  for (const header of ['bytes 0-99/300000', 'bytes 101-200/300000', 'bytes 100-99/300000', 'lines 100-', '']) {
    const off = fake.quirk('/v2/*', { headers: { 'content-range': header } })
    await assertFails(upstream.openBlob(NAME, DIGEST, { range: { start: 100 } }), 'protocol')
    off()
  }
})

test('a part that nobody asked for, and a range that cannot be met, are refused', async (t) => {
  const { fake, upstream } = await start(t)
  const off = fake.quirk('/v2/*', { status: 206, headers: { 'content-range': 'bytes 0-0/1' } })
  await assertFails(upstream.openBlob(NAME, DIGEST), 'protocol')
  off()
  await assertFails(upstream.openBlob(NAME, DIGEST, { range: { start: 300_000 } }), 'protocol')
})

test('a blob in an encoding is refused: its bytes would not be the digest’s', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { headers: { 'content-encoding': 'gzip' } })
  await assertFails(upstream.openBlob(NAME, DIGEST), 'protocol')
})

async function errorOf(body: Readable): Promise<unknown> {
  body.resume()
  const [error] = await once(body, 'error')
  return error
}

test('a body that breaks or idles ends with an UpstreamError that is no outage', async (t) => {
  const { fake, upstream } = await start(t, { bodyIdleMs: 30 })
  const off = fake.quirk('/v2/*', { truncateBlobAt: 1000 })
  const broken = await upstream.openBlob(NAME, DIGEST)
  await assertFails(Promise.reject(await errorOf(broken.body)), 'unreachable')
  off()
  fake.quirk('/v2/*', { hangMidBodyAt: 1000 })
  const idle = await upstream.openBlob(NAME, DIGEST)
  await assertFails(Promise.reject(await errorOf(idle.body)), 'timeout')
})

test('a body may be given up silently', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { hangMidBodyAt: 1000 })
  const { body } = await upstream.openBlob(NAME, DIGEST)
  body.on('error', (error) => assert.fail(error))
  body.destroy()
  await once(body, 'close')
  await fake.transcript.until((transcript) => transcript.entries.every((entry) => entry.isOver))
})

test('the size of a blob comes from a HEAD, or from the headers of a GET', async (t) => {
  const { fake, upstream } = await start(t)
  assert.deepEqual(await upstream.resolveBlob(NAME, DIGEST), { digest: DIGEST, size: 300_000 })
  assert.deepEqual(fake.transcript.take(), [`HEAD /v2/library/alpine/blobs/${DIGEST} 200`])

  fake.quirk('HEAD /v2/*', { omitContentLength: true })
  assert.equal((await upstream.resolveBlob(NAME, DIGEST)).size, 300_000)
  assert.equal(fake.transcript.take().length, 2)

  fake.quirk('/v2/*', { omitContentLength: true })
  await assertFails(upstream.resolveBlob(NAME, DIGEST), 'protocol')
})

test('a missing blob is not found', async (t) => {
  const { upstream } = await start(t)
  const missing = digest(`sha256:${'0'.repeat(64)}`)
  await assertFails(upstream.openBlob(NAME, missing), 'not_found')
  await assertFails(upstream.resolveBlob(NAME, missing), 'not_found')
})

test('downloads are bounded, clients come before background work, and a HEAD waits for neither', async (t) => {
  const { fake, upstream } = await start(t, { blobRequestsMax: 2, backgroundRequestsMax: 1 })
  const first = await upstream.openBlob(NAME, DIGEST)
  const second = await upstream.openBlob(NAME, DIGEST)
  const opened: string[] = []
  const open = async (label: string, priority: 'client' | 'background') => {
    const { body } = await upstream.openBlob(NAME, DIGEST, { priority })
    opened.push(label)
    return body
  }
  const background = open('background', 'background')
  const client = open('client', 'client')
  await upstream.resolveBlob(NAME, DIGEST)
  assert.deepEqual(opened, [])
  assert.equal(fake.transcript.take().length, 3)

  first.body.destroy()
  const third = await client
  assert.deepEqual(opened, ['client'])
  second.body.destroy()
  third.destroy()
  ;(await background).destroy()
  assert.deepEqual(opened, ['client', 'background'])
})
