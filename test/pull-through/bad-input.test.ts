/** Hostile input: the right 4xx in the spec's JSON, quickly; nothing goes upstream and nothing changes. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { image } from '../fakes/content.ts'
import { assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import type { ClientAnswer } from './registry-client.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

const v1 = image({ seed: 'v1' })
const digest = v1.digest

let entrepot: Entrepot
let cache: Cache
const ends: (() => Promise<void>)[] = []
before(async () => {
  entrepot = await startEntrepot()
  cache = await entrepot.cache({ after: (work) => void ends.push(work) }, { app: { v1 } })
  await cache.get('app/manifests/v1')
  cache.upstream.transcript.take()
})
after(async () => {
  for (const end of ends) await end()
  await entrepot.stop()
})

const codes = new Set([
  'BLOB_UNKNOWN',
  'DENIED',
  'DIGEST_INVALID',
  'MANIFEST_INVALID',
  'MANIFEST_UNKNOWN',
  'NAME_INVALID',
  'NAME_UNKNOWN',
  'SIZE_INVALID',
  'UNAUTHORIZED',
  'UNSUPPORTED',
])

/** A 4xx in the spec's JSON, that repeats no raw control character. */
function assertClientError(answer: ClientAnswer, what: string): void {
  assert.ok(answer.status >= 400 && answer.status < 500, `${what}: ${answer.status} ${answer.body.toString()}`)
  assert.match(String(answer.headers['content-type']), /^application\/json/, what)
  const { errors } = JSON.parse(answer.body.toString())
  assert.ok(
    Array.isArray(errors) && errors.length > 0 && codes.has(errors[0].code),
    `${what}: ${answer.body.toString()}`,
  )
}

async function assertUntouched(): Promise<void> {
  assert.deepEqual(cache.upstream.transcript.take(), [])
  assert.deepEqual(await cache.repositories(), ['app'])
}

/** Bytes on the wire as no client library would send them; resolves to the first line of the answer. */
function sendRaw(bytes: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(entrepot.origin)
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect(Number(port), hostname, () => socket.write(bytes))
    const finish = () => resolve(Buffer.concat(chunks).toString('latin1').split('\r\n')[0] ?? '')
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      socket.end()
    })
    socket.once('close', finish)
    socket.once('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? finish() : reject(error)))
  })
}

const org = () => `/v2/${cache.organization}`

test('malformed names are 400 NAME_INVALID', async () => {
  for (const name of [
    'App',
    'a//b',
    '-a',
    'a-',
    'a..b',
    'a/',
    '/a',
    'a b',
    'a%00b',
    'a%0d%0ab',
    'ä',
    'a%2fb%2f..',
    '..',
    '%2e%2e',
    'a/../b',
    'a\\b',
  ]) {
    const path = encodeURI(name).replaceAll('%25', '%')
    const answer = await cache.client.get(`${org()}/${path}/manifests/v1`)
    assertClientError(answer, name)
  }
  await assertUntouched()
})

test('malformed tags and digests are 4xx', async () => {
  const references = [
    '.v1',
    '-v1',
    'a'.repeat(129),
    'v1%00',
    'v1%0d%0aX:%20y',
    'sha256:abc',
    `sha256:${'G'.repeat(64)}`,
    `sha256:${'a'.repeat(65)}`,
    `md5:${'a'.repeat(32)}`,
    'sha256:',
    ':',
    '%2e%2e',
    'v1%2f..',
  ]
  for (const reference of references) assertClientError(await cache.get(`app/manifests/${reference}`), reference)
  for (const reference of [...references, 'v1']) assertClientError(await cache.get(`app/blobs/${reference}`), reference)
  for (const reference of [...references, 'v1'])
    assertClientError(await cache.get(`app/referrers/${reference}`), reference)
  await assertUntouched()
})

test('names and references that are too long are 4xx', async () => {
  assertClientError(await cache.get(`${'a'.repeat(256)}/manifests/v1`), 'name')
  assertClientError(await cache.get(`${'a/'.repeat(3000)}a/manifests/v1`), 'components')
  assertClientError(await cache.get(`app/manifests/${'v'.repeat(10_000)}`), 'tag')
  await assertUntouched()
})

test('paths that are none of the spec’s are 404, and methods 405', async () => {
  for (const path of [
    'app',
    'app/manifests',
    'app/manifests/',
    'app/blobs',
    'app/tags',
    'app/tags/other',
    'manifests/v1',
    'app/manifests/v1/',
    'app/x/v1',
  ]) {
    assertClientError(await cache.get(path), path)
  }
  for (const method of ['POST', 'PATCH', 'TRACE', 'OPTIONS', 'PROPFIND']) {
    assertClientError(await cache.send('app/manifests/v1', { method }), method)
  }
  await assertUntouched()
})

test('any path under /v2 gets an answer below 500 in the spec’s JSON', async () => {
  const piece = fc.oneof(
    fc.constantFrom(
      'app',
      'manifests',
      'blobs',
      'tags',
      'list',
      'referrers',
      '_catalog',
      'v1',
      digest,
      '..',
      '.',
      '',
      '%2e%2e',
      '%2f',
      '%00',
      '%',
      '%zz',
      '%c0%ae',
      'v2',
      '~',
      ';',
      '@',
    ),
    fc.string({ maxLength: 20 }).map((text) => encodeURIComponent(text.toWellFormed())),
  )
  const path = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join('/'))
  await fc.assert(
    fc.asyncProperty(path, fc.constantFrom('GET', 'HEAD', 'PUT', 'DELETE'), async (tail, method) => {
      const answer = await cache.send(tail, { method })
      assert.ok(answer.status < 500, `${method} ${tail}: ${answer.status}`)
      if (answer.status >= 400 && method !== 'HEAD') assertClientError(answer, `${method} ${tail}`)
    }),
    { numRuns: 300 },
  )
  cache.upstream.transcript.take()
  assert.deepEqual(await cache.repositories(), ['app'])
})

test('any query gets an answer below 500', async () => {
  const value = fc.oneof(
    fc.string({ maxLength: 30 }).map((text) => encodeURIComponent(text.toWellFormed())),
    fc.constantFrom('%', '%zz', '%00', '[]', '1', '-1', '0x10', '1e9', 'a&n=1'),
  )
  const key = fc.constantFrom('n', 'last', 'ns', 'artifactType', 'digest', '__proto__', 'constructor')
  await fc.assert(
    fc.asyncProperty(
      key,
      value,
      fc.constantFrom('app/tags/list', 'app/manifests/v1', `app/referrers/${digest}`),
      async (name, text, path) => {
        const answer = await cache.get(`${path}?${name}=${text}`)
        assert.ok(answer.status < 500, `${path}?${name}=${text}: ${answer.status}`)
      },
    ),
    { numRuns: 200 },
  )
  cache.upstream.transcript.take()
  assert.deepEqual(await cache.repositories(), ['app'])
})

test('any header values get an answer below 500', async () => {
  const text = fc.string({ unit: 'binary-ascii', maxLength: 60 }).map((value) => value.replace(/[^\x20-\x7e]/g, ''))
  const name = fc.constantFrom(
    'Range',
    'Accept',
    'If-None-Match',
    'If-Range',
    'If-Modified-Since',
    'Accept-Encoding',
    'X-Forwarded-For',
    'X-Forwarded-Proto',
    'Forwarded',
    'Expect',
    'Connection',
    'Upgrade',
    'Content-Type',
  )
  await fc.assert(
    fc.asyncProperty(name, text, async (header, value) => {
      if (/^(?:Expect|Upgrade|Connection)$/.test(header) && value === '') return
      const answer = await cache.get(`app/manifests/${digest}`, { [header]: value })
      assert.ok(answer.status < 500, `${header}: ${value}: ${answer.status}`)
    }),
    { numRuns: 300 },
  )
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('any Authorization that is not ours is 401', async () => {
  const credentials = [
    'Basic',
    'Basic ',
    'Basic !!!',
    `Basic ${Buffer.from('admin').toString('base64')}`,
    `Basic ${Buffer.from('admin:wrong').toString('base64')}`,
    `Basic ${Buffer.from('\0:\0').toString('base64')}`,
    'Bearer',
    'Bearer x',
    'Bearer a.b.c',
    'Bearer eyJhbGciOiJub25lIn0.e30.',
    'Digest x',
    'x'.repeat(5000),
    'Basic Og==',
  ]
  for (const authorization of credentials) {
    const answer = await cache.send('app/manifests/v1', { authorization })
    assert.ok(answer.status === 401 || answer.status === 429, `${authorization}: ${answer.status}`)
    assertClientErrorOrLimit(answer, authorization)
  }
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

function assertClientErrorOrLimit(answer: ClientAnswer, what: string): void {
  if (answer.status !== 429) assertClientError(answer, what)
}

test('raw requests that are no HTTP, or smuggle, get 4xx and harm nobody', async () => {
  const host = new URL(entrepot.origin).host
  const start = `GET ${org()}/app/manifests/v1 HTTP/1.1\r\nHost: ${host}\r\n`
  for (const raw of [
    'nonsense\r\n\r\n',
    'GET\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    `${start}X: a\0b\r\n\r\n`,
    `${start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${start}Content-Length: -1\r\n\r\n`,
    `${start}${'X-Long: y\r\n'.repeat(5000)}\r\n`,
    `${start}X-Long: ${'y'.repeat(100_000)}\r\n\r\n`,
    `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `GET ${org()}/app/manifests/v1\tx HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `GET http://elsewhere.example/v2/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    `GET ${org()}/../../etc/passwd HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]), // A TLS greeting.
  ]) {
    const line = await sendRaw(raw)
    assert.match(line, /^(?:HTTP\/1\.1 4\d\d .*)?$/, JSON.stringify(raw.toString().slice(0, 80)))
  }
  await assertUntouched()
  assertServed(await cache.get('app/manifests/v1'), { outcome: 'revalidated', bytes: v1.bytes })
})

test('the token service refuses nonsense and never fails', async () => {
  const scopes = [
    '',
    'repository',
    'repository:',
    'repository::pull',
    'x:y:z',
    'repository:../..:pull',
    `repository:${'a'.repeat(5000)}:pull`,
    '%00',
    '%',
    `repository:${cache.organization}/app:pull,push,delete,*`,
    'registry:catalog:*',
  ]
  for (const scope of scopes) {
    for (const authorization of [undefined, 'none']) {
      const answer = await cache.client.send(
        `/v2/auth?service=x&scope=${scope}`,
        authorization ? { authorization } : {},
      )
      assert.ok(answer.status < 500, `${scope}: ${answer.status}`)
    }
  }
  const many = await cache.client.get(`/v2/auth?service=x&${'scope=repository:a/b:pull&'.repeat(2000)}`)
  assert.ok(many.status < 500)
})

test('the API refuses malformed bodies with 4xx', async () => {
  const path = `/api/v1/organization/${cache.organization}/proxycache`
  for (const body of [
    '',
    '{',
    'null',
    '[]',
    '"x"',
    '{"upstream_registry":1}',
    '{"upstream_registry":""}',
    '{"upstream_registry":"a b"}',
    '{"upstream_registry":"http://user:pw@x/"}',
    `{"upstream_registry":"${'a'.repeat(400)}"}`,
    '{"upstream_registry":"\\u0000"}',
    `{"x":"${'y'.repeat(3_000_000)}"}`,
    `${'['.repeat(100_000)}`,
    '{"__proto__":{"upstream_registry":"x.example"}}',
  ]) {
    for (const method of ['POST', 'PUT']) {
      const answer = await entrepot.api(method, path, body)
      assert.ok(answer.status >= 400 && answer.status < 500, `${method} ${body.slice(0, 60)}: ${answer.status}`)
    }
  }
  for (const name of ['', 'A', 'a/b', '../x', 'a b', 'a\0', 'x', 'a'.repeat(300), 'v2', 'api']) {
    const answer = await entrepot.api('POST', '/api/v1/organization/', JSON.stringify({ name, email: 'x@example.com' }))
    assert.ok(answer.status >= 400 && answer.status < 500, `organization ${JSON.stringify(name)}: ${answer.status}`)
  }
  assertServed(await cache.get('app/manifests/v1'), { outcome: 'revalidated', bytes: v1.bytes })
})
