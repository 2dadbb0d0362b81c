import assert from 'node:assert/strict'
import { type IncomingMessage, request } from 'node:http'
import { test } from 'node:test'
import { artifact, image, index, sha256 } from './content.ts'
import { startFakeUpstream } from './fake-upstream.ts'
import { Gate, Valve } from './gate.ts'

type Got = { status: number; headers: IncomingMessage['headers']; body: Buffer; isWhole: boolean }

function get(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('error', () => {})
      answer.once('close', () => {
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          body: Buffer.concat(chunks),
          isWhole: answer.complete,
        })
      })
    })
    sent.once('error', reject)
    sent.end()
  })
}

test('a tag, its manifest by digest and its blobs are served, and each request is a line', async (t) => {
  const content = image({ layers: 2, layerBytes: 5000 })
  const upstream = await startFakeUpstream(t, { 'library/alpine': { '3.20': content } })
  const layer = content.layers[1]?.digest ?? ''

  const byTag = await get(`${upstream.url}/v2/library/alpine/manifests/3.20`)
  const head = await get(`${upstream.url}/v2/library/alpine/manifests/${content.digest}`, {}, 'HEAD')
  const part = await get(`${upstream.url}/v2/library/alpine/blobs/${layer}`, { range: 'bytes=4000-' })
  const absent = await get(`${upstream.url}/v2/library/alpine/manifests/3.21`)

  assert.equal(sha256(byTag.body), content.digest)
  assert.equal(head.headers['content-length'], String(content.bytes.byteLength))
  assert.deepEqual(
    [part.status, part.body.byteLength, part.headers['content-range']],
    [206, 1000, 'bytes 4000-4999/5000'],
  )
  assert.equal(absent.status, 404)
  assert.deepEqual(upstream.transcript.take(['Range']), [
    'GET /v2/library/alpine/manifests/3.20 200',
    `HEAD /v2/library/alpine/manifests/${content.digest} 200`,
    `GET /v2/library/alpine/blobs/${layer} 206 Range=bytes=4000-`,
    'GET /v2/library/alpine/manifests/3.21 404',
  ])
  assert.deepEqual(upstream.transcript.lines(), [])
})

test('content may be moved, deleted and added at any time', async (t) => {
  const [first, second] = [image({ seed: 'a' }), image({ seed: 'b' })]
  const upstream = await startFakeUpstream(t, { app: { latest: first } })
  upstream.repository('app').tag('latest', index([second]))
  const list = await get(`${upstream.url}/v2/app/tags/list`)
  assert.equal((await get(`${upstream.url}/v2/app/manifests/latest`)).body.includes(second.digest), true)
  assert.equal((await get(`${upstream.url}/v2/app/manifests/${first.digest}`)).status, 200)
  upstream.repository('app').delete(first.digest)
  assert.equal((await get(`${upstream.url}/v2/app/manifests/${first.digest}`)).status, 404)
  assert.deepEqual(JSON.parse(list.body.toString()), { name: 'app', tags: ['latest'] })
})

test('an artifact is among the referrers of its subject', async (t) => {
  const subject = image()
  const signature = artifact({ subject })
  const upstream = await startFakeUpstream(t, { app: { v1: subject } })
  upstream.repository('app').add(signature)
  const answer = await get(`${upstream.url}/v2/app/referrers/${subject.digest}`)
  assert.equal(JSON.parse(answer.body.toString()).manifests[0].digest, signature.digest)
})

test('quirks hold for their paths, for as long as they are on', async (t) => {
  const upstream = await startFakeUpstream(t, { app: { v1: image() }, other: { v1: image() } })
  const off = upstream.quirk('GET /v2/app/*', { status: 429, retryAfter: '7' })
  const limited = await get(`${upstream.url}/v2/app/manifests/v1`)
  assert.deepEqual([limited.status, limited.headers['retry-after']], [429, '7'])
  assert.equal((await get(`${upstream.url}/v2/app/manifests/v1`, {}, 'HEAD')).status, 200)
  assert.equal((await get(`${upstream.url}/v2/other/manifests/v1`)).status, 200)
  off()
  assert.equal((await get(`${upstream.url}/v2/app/manifests/v1`)).status, 200)
})

test('bodies can be truncated, cut, padded and changed', async (t) => {
  const content = image({ layerBytes: 40_000 })
  const upstream = await startFakeUpstream(t, { app: { v1: content } })
  const url = `${upstream.url}/v2/app/blobs/${content.layers[0]?.digest}`
  upstream.quirk('*', { truncateBlobAt: 30_000 }, 2)
  const [whole, rest] = [await get(url), await get(url, { range: 'bytes=25000-' })]
  assert.deepEqual([whole.isWhole, whole.body.byteLength], [false, 30_000])
  assert.deepEqual([rest.isWhole, rest.body.byteLength], [false, 5_000])
  upstream.quirk('*', { lengthDelta: -10, wrongByteAt: 0 }, 1)
  const shorter = await get(url)
  assert.deepEqual([shorter.isWhole, shorter.headers['content-length']], [true, '39990'])
  assert.notEqual(shorter.body[0], content.layers[0]?.bytes[0])
  upstream.quirk('*', { hugeManifestBytes: 1_000_000, omitContentLength: true }, 1)
  const huge = await get(url)
  assert.deepEqual([huge.body.byteLength, huge.headers['content-length']], [1_000_000, undefined])
})

test('gates and valves hold an answer until the test lets it go on', async (t) => {
  const content = image({ layerBytes: 40_000 })
  const upstream = await startFakeUpstream(t, { app: { v1: content } })
  const [gate, valve] = [new Gate(), new Valve()]
  upstream.quirk('*', { hangBeforeHeaders: gate, valve })
  const asked = get(`${upstream.url}/v2/app/blobs/${content.layers[0]?.digest}`)
  await upstream.transcript.until(({ entries }) => entries.length === 1)
  assert.match(upstream.transcript.lines()[0] ?? '', / -$/)
  gate.open()
  valve.allow(100)
  await upstream.transcript.until(({ entries }) => entries[0]?.bodyBytes === 100)
  assert.equal(upstream.transcript.entries[0]?.isOver, false)
  valve.open()
  assert.equal((await asked).body.byteLength, 40_000)
})

test('a closed port refuses and opens again at the same place', async (t) => {
  const upstream = await startFakeUpstream(t, { app: { v1: image() } })
  const url = `${upstream.url}/v2/app/manifests/v1`
  await upstream.refuse()
  await assert.rejects(get(url), { code: 'ECONNREFUSED' })
  await upstream.accept()
  assert.equal((await get(url)).status, 200)
  upstream.quirk('*', { reset: true }, 1)
  await assert.rejects(get(url), { code: 'ECONNRESET' })
})

test('tokens are asked for with a challenge, given for a scope, and can be revoked', async (t) => {
  const login = { username: 'ann', password: 'secret' }
  const upstream = await startFakeUpstream(
    t,
    { app: { v1: image() } },
    { authentication: { kind: 'token', login, field: 'access_token', expiresInSeconds: 60 } },
  )
  const url = `${upstream.url}/v2/app/manifests/v1`
  const challenge = (await get(url)).headers['www-authenticate']
  assert.equal(challenge, `Bearer realm="${upstream.url}/token",service="fake-upstream",scope="repository:app:pull"`)
  const realm = `${upstream.url}/token?scope=repository:app:pull`
  assert.equal((await get(realm)).status, 401)
  const authorization = `Basic ${Buffer.from('ann:secret').toString('base64')}`
  const given = JSON.parse((await get(realm, { authorization })).body.toString())
  assert.deepEqual(Object.keys(given), ['access_token', 'expires_in'])
  const bearer = { authorization: `Bearer ${given.access_token}` }
  assert.equal((await get(url, bearer)).status, 200)
  upstream.authority.revokeTokens()
  assert.equal((await get(url, bearer)).status, 401)
})
