import assert from 'node:assert/strict'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { loopbackCertificate } from '../../test/fakes/certificate.ts'
import { blob, image } from '../../test/fakes/content.ts'
import { type FakeUpstream, startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import { assertFails, configOf, digest, named, openUpstreamClient, ref } from '../../test/fakes/upstream-client.ts'
import { everyMs } from '../base/timers.ts'
import type { Upstream } from '../oci/registry.ts'

const NAME = named('library/alpine')
const TAG = ref('latest')
const LAYER = blob('layer', 1000)
const CONTENT = image({ layers: [LAYER] })
const LOGIN = { username: 'robot', password: 'secret' }
const BLOB_PATH = `/v2/library/alpine/blobs/${LAYER.digest}`

async function start(
  t: TestContext,
  options: { tls?: boolean } = {},
): Promise<{ fake: FakeUpstream; upstream: Upstream }> {
  const authentication = { kind: 'basic', login: LOGIN } as const
  const fake = await startFakeUpstream(t, { [NAME]: { latest: CONTENT } }, { authentication, ...options })
  const { pool } = openUpstreamClient(t)
  const upstream = pool.open(configOf(fake, { credentials: { kind: 'password', ...LOGIN } }))
  await upstream.getManifest(NAME, TAG) // From now on the password is sent at once.
  fake.transcript.take()
  return { fake, upstream }
}

function sentPasswords(fake: FakeUpstream): boolean[] {
  return fake.transcript.entries.map(({ headers }) => headers.authorization !== undefined)
}

test('a redirect is followed, with the password only to the same scheme, host and port', async (t) => {
  const { fake, upstream } = await start(t)
  const cdn = await startFakeUpstream(t, { [NAME]: { latest: CONTENT } })
  fake.quirk(BLOB_PATH, { redirectTo: (target) => `${cdn.url}${target}` })
  const { body } = await upstream.openBlob(NAME, digest(LAYER.digest), { range: { start: 10 } })
  assert.deepEqual(await buffer(body), LAYER.bytes.subarray(10))
  assert.deepEqual([sentPasswords(fake), sentPasswords(cdn)], [[true], [false]])
  assert.deepEqual(cdn.transcript.lines(['range']), [`GET ${BLOB_PATH} 206 range=bytes=10-`])
})

test('a redirect on the same origin keeps the password', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk(BLOB_PATH, { redirectTo: `${fake.url}/v2/library/alpine/blobs/${CONTENT.config?.digest}` })
  const { body } = await upstream.openBlob(NAME, digest(LAYER.digest))
  body.destroy()
  assert.deepEqual(sentPasswords(fake), [true, true])
})

test('the password does not come back after a redirect has left and returned', async (t) => {
  const { fake, upstream } = await start(t)
  const cdn = await startFakeUpstream(t)
  fake.quirk(BLOB_PATH, { redirectTo: `${cdn.url}/away` })
  cdn.quirk('/away', { redirectTo: `${fake.url}/v2/library/alpine/manifests/latest` })
  await assertFails(upstream.openBlob(NAME, digest(LAYER.digest)), 'denied')
  assert.deepEqual(sentPasswords(fake), [true, false])
})

test('a redirect in a circle ends, and counts for nothing', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk(BLOB_PATH, { redirectLoop: true })
  await assertFails(upstream.openBlob(NAME, digest(LAYER.digest)), 'protocol')
  assert.equal(fake.transcript.lines().length, 1)
  fake.clearQuirks()
  let hop = 0
  fake.quirk('/*', {
    redirectTo: () => {
      hop += 1
      return `${fake.url}/${hop}`
    },
  })
  fake.transcript.take()
  await assertFails(upstream.openBlob(NAME, digest(LAYER.digest)), 'protocol')
  assert.equal(fake.transcript.lines().length, 6)
})

test('a redirect to a private address is refused, and the refusal names the line to add', async (t) => {
  const { fake, upstream } = await start(t)
  for (const target of [
    'http://10.0.0.1:81/x',
    'http://[::1]:81/x',
    'http://169.254.169.254:81/',
    'http://[::ffff:a00:1]:81/',
  ]) {
    const off = fake.quirk(BLOB_PATH, { redirectTo: target })
    const error = await assertFails(upstream.openBlob(NAME, digest(LAYER.digest)), 'unreachable')
    const { host } = new URL(target)
    assert.ok(error.message.includes(`add "${host}" to SSRF_ALLOWED_HOSTS`), error.message)
    off()
  }
})

test('what a CDN does wrong is no outage of the registry, and no refusal of its token', async (t) => {
  const { fake, upstream } = await start(t)
  const cdn = await startFakeUpstream(t)
  fake.quirk(BLOB_PATH, { redirectTo: `${cdn.url}/blob` })
  const rows = [
    [{ status: 503 }, 'server_error'],
    [{ status: 403 }, 'denied'],
    [{ status: 401 }, 'denied'],
    [{ status: 404 }, 'not_found'],
    [{ status: 429 }, 'rate_limited'],
    [{ reset: true }, 'unreachable'],
  ] as const
  for (const [quirks, failure] of rows) {
    const off = cdn.quirk('/blob', quirks)
    fake.transcript.take()
    const error = await assertFails(upstream.openBlob(NAME, digest(LAYER.digest)), failure)
    assert.equal(error.host, cdn.host)
    assert.equal(fake.transcript.lines().length, 1)
    off()
  }
  assert.equal(upstream.state().rateLimitedUntilMs, undefined)
})

test('TLS is verified against the organization’s own authority, and content is then verified', async (t) => {
  const { upstream } = await start(t, { tls: true })
  assert.equal(upstream.isVerified, true)
  const { body } = await upstream.openBlob(NAME, digest(LAYER.digest))
  assert.deepEqual(await buffer(body), LAYER.bytes)
})

test('a kept TLS connection that was closed is replaced, a fresh one is not', async (t) => {
  const { fake, upstream } = await start(t, { tls: true })
  const breakAfter = async (requests: number) => {
    await fake.transcript.until((transcript) => transcript.entries.length === requests)
    fake.breakConnections()
  }
  await new Promise<void>((resolve) => setImmediate(resolve))
  fake.quirk('/v2/*', { hangBeforeHeaders: true }, 1)
  await Promise.all([upstream.getManifest(NAME, TAG), breakAfter(1)])
  assert.equal(fake.transcript.take().length, 2)

  fake.quirk('/v2/*', { hangBeforeHeaders: true })
  const other = openUpstreamClient(t).pool.open(configOf(fake))
  await Promise.all([assertFails(other.getManifest(NAME, TAG), 'unreachable', true), breakAfter(1)])
  assert.equal(fake.transcript.take().length, 1)
})

test('a redirect from TLS to plain HTTP is refused', async (t) => {
  const { fake, upstream } = await start(t, { tls: true })
  const plain = await startFakeUpstream(t)
  fake.quirk(BLOB_PATH, { redirectTo: `${plain.url}/blob` })
  await assertFails(upstream.openBlob(NAME, digest(LAYER.digest)), 'protocol')
  assert.deepEqual(plain.transcript.lines(), [])
})

test('an unknown authority, TLS where none is, and none where TLS is, say what to do', async (t) => {
  const secure = await startFakeUpstream(t, {}, { tls: true })
  const plain = await startFakeUpstream(t)
  const { pool } = openUpstreamClient(t)
  const ask = (config: Parameters<typeof pool.open>[0]) => pool.open(config).resolveManifest(NAME, TAG)

  const unknown = await assertFails(ask(configOf(secure, { caPem: undefined })), 'unreachable', true)
  assert.match(unknown.message, /give the organization the CA certificate/)
  const noTls = await assertFails(ask(configOf(plain, { scheme: 'https' })), 'unreachable', true)
  assert.match(noTls.message, /set "insecure"/)
  const tls = await ask(configOf(secure, { scheme: 'http' })).then(
    () => assert.fail(),
    (error: Error) => error,
  )
  assert.match(tls.message, /unset "insecure"/)

  plain.quirk('/v2/*', { status: 400 })
  const other = await assertFails(ask(configOf(plain)), 'protocol')
  assert.doesNotMatch(other.message, /insecure/)
})

test('a certificate for other names is refused', async (t) => {
  const certificate = await loopbackCertificate()
  const secure = await startFakeUpstream(t, {}, { tls: true, address: '127.0.0.3' })
  const { pool } = openUpstreamClient(t)
  const upstream = pool.open(configOf(secure, { caPem: certificate.cert }))
  const error = await assertFails(upstream.resolveManifest(NAME, TAG), 'unreachable', true)
  assert.match(error.message, /other names/)
})

test('the sentence of a server for TLS that answers plain HTTP is understood', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.end('HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const { pool } = openUpstreamClient(t)
  const config = { scheme: 'http', host, caPem: undefined, credentials: { kind: 'anonymous' } } as const
  const error = await assertFails(pool.open(config).resolveManifest(NAME, TAG), 'protocol')
  assert.match(error.message, /speaks TLS, not plain HTTP: unset "insecure"/)
})

test('what is not HTTP is a protocol error', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.write('220 ready\r\n')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const { pool } = openUpstreamClient(t)
  const config = { scheme: 'http', host, caPem: undefined, credentials: { kind: 'anonymous' } } as const
  await assertFails(pool.open(config).resolveManifest(NAME, TAG), 'protocol')
})

test('a name that DNS does not know is an outage', async (t) => {
  const { pool } = openUpstreamClient(t)
  const config = { scheme: 'http', host: 'no-such-host.invalid', caPem: undefined } as const
  const upstream = pool.open({ ...config, credentials: { kind: 'anonymous' } })
  const error = await assertFails(upstream.resolveManifest(NAME, TAG), 'unreachable', true)
  assert.match(error.message, /no-such-host\.invalid: DNS/)
})

/** A server that begins an answer and goes on for ever, a little at a time; `isLeft` when a connection has ended. */
async function startTrickle(t: TestContext, begin: string, piece: string) {
  const isLeft = Promise.withResolvers<void>()
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', () => {
      socket.write(begin)
      const timer = everyMs(5, () => void socket.write(piece))
      socket.once('close', () => {
        timer.cancel()
        isLeft.resolve()
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, isLeft: isLeft.promise }
}

test('an upstream that sends interim answers for ever is out of time like one that sends nothing', async (t) => {
  const { host } = await startTrickle(t, '', 'HTTP/1.1 103 Early Hints\r\n\r\n')
  const { pool } = openUpstreamClient(t, { limits: { headersMs: 50, connectMs: 50, blobHeadersMs: 50 } })
  const upstream = pool.open({ scheme: 'http', host, caPem: undefined, credentials: { kind: 'anonymous' } })
  await assertFails(upstream.getManifest(NAME, TAG), 'timeout', true)
  await assertFails(upstream.openBlob(NAME, digest(LAYER.digest)), 'timeout', true)
})

test('an answer that nobody wants and that never ends does not keep its connection', async (t) => {
  const { host, isLeft } = await startTrickle(t, 'HTTP/1.1 404 Not Found\r\ncontent-length: 60000\r\n\r\n', 'x')
  const { pool } = openUpstreamClient(t, { limits: { documentMs: 50 } })
  const upstream = pool.open({ scheme: 'http', host, caPem: undefined, credentials: { kind: 'anonymous' } })
  await assertFails(upstream.getManifest(NAME, TAG), 'not_found')
  await isLeft
})
