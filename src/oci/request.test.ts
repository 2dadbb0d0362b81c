import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { RegistryError, type RegistryErrorCase } from '../errors.ts'
import type { Digest } from './digest.ts'
import { parseReference } from './reference.ts'
import { formatRequest, parseRequest, type RegistryRequest } from './request.ts'

const digest = `sha256:${'0a'.repeat(32)}`

const component = fc.stringMatching(/^[a-z0-9]{1,8}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}$/)
const name = fc.array(component, { minLength: 1, maxLength: 5 }).map((components) => components.join('/'))
const digests = fc.oneof(
  fc.stringMatching(/^sha256:[0-9a-f]{64}$/),
  fc.stringMatching(/^sha512:[0-9a-f]{128}$/),
) as fc.Arbitrary<Digest>
const references = fc
  .oneof(digests, fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/))
  .map((text) => parseReference(text))
  .filter((reference) => reference !== undefined)
const text = fc.option(
  fc.string({ maxLength: 40 }).map((value) => value.toWellFormed()),
  { nil: undefined },
)
const n = fc.option(fc.integer({ min: 0, max: 10_000 }), { nil: undefined })
/** As an object literal makes it. */
function record<Fields extends object>(fields: { [Key in keyof Fields]: fc.Arbitrary<Fields[Key]> }) {
  return fc.record(fields, { noNullPrototype: true })
}

const requests: fc.Arbitrary<RegistryRequest> = fc.oneof(
  record({ kind: fc.constant('ping' as const), ns: text }),
  record({ kind: fc.constant('catalog' as const), n, last: text }),
  record({ kind: fc.constantFrom('getBlob' as const, 'headBlob' as const), name, ns: text, digest: digests }),
  record({
    kind: fc.constantFrom('getManifest' as const, 'headManifest' as const),
    name,
    ns: text,
    reference: references,
  }),
  record({ kind: fc.constant('listTags' as const), name, ns: text, n, last: text }),
  record({ kind: fc.constant('listReferrers' as const), name, ns: text, digest: digests, artifactType: text }),
  record({
    kind: fc.constant('push' as const),
    name,
    method: fc.constantFrom('POST' as const, 'PUT' as const, 'PATCH' as const, 'DELETE' as const),
    target: fc.oneof(
      fc.constantFrom('blobs/uploads/', 'blobs/uploads', 'blobs/uploads/1a', 'manifests/v1'),
      digests.map((text) => `blobs/${text}`),
    ),
  }),
)

function assertRejected(method: string, url: string, expected: RegistryErrorCase): void {
  assert.throws(
    () => parseRequest(method, url),
    (error: unknown) => {
      assert.ok(error instanceof RegistryError)
      assert.equal(error.case, expected, `${method} ${url.slice(0, 100)}`)
      return true
    },
  )
}

test('a request that is written is read back as the same request', () => {
  fc.assert(
    fc.property(requests, (request) => {
      const { method, url } = formatRequest(request)
      assert.deepEqual(parseRequest(method, url), request)
    }),
    { numRuns: 1000 },
  )
})

test('whatever comes is a request that can be written again, or a RegistryError', () => {
  const piece = fc.oneof(
    fc.constantFrom('v2', 'manifests', 'blobs', 'tags', 'list', 'uploads', 'referrers', '..', '', '%2F', '%00', digest),
    fc.string({ maxLength: 10 }).map((value) => encodeURIComponent(value.toWellFormed())),
    component,
  )
  const url = fc.array(piece, { maxLength: 8 }).map((pieces) => `/v2/${pieces.join('/')}`)
  fc.assert(
    fc.property(url, fc.constantFrom('GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS'), (target, method) => {
      let request: RegistryRequest
      try {
        request = parseRequest(method, target)
      } catch (error) {
        assert.ok(error instanceof RegistryError, String(error))
        return
      }
      const written = formatRequest(request)
      assert.deepEqual(parseRequest(written.method, written.url), request)
    }),
    { numRuns: 2000 },
  )
})

test('names are read from the right-hand end', () => {
  for (const path of ['manifests/manifests/v1', 'a/tags/list/manifests/v1', 'a/blobs/uploads/manifests/v1', 'v2/v2']) {
    const url = path.includes('manifests/v1') ? `/v2/${path}` : `/v2/${path}/manifests/v1`
    const request = parseRequest('GET', url)
    assert.equal(request.kind, 'getManifest')
    assert.equal(formatRequest(request).url, url)
  }
})

test('an organization may stand before /v2', () => {
  for (const tail of [
    'library/alpine/manifests/3.20',
    `a/blobs/${digest}`,
    'a/tags/list?n=3',
    'a/b/c/manifests/x?ns=h',
  ]) {
    assert.deepEqual(parseRequest('GET', `/org/v2/${tail}`), parseRequest('GET', `/v2/org/${tail}`))
  }
  assert.deepEqual(parseRequest('GET', '/org/v2/'), { kind: 'ping', ns: undefined })
  assert.deepEqual(parseRequest('HEAD', '/v2'), { kind: 'ping', ns: undefined })
})

test('a percent-encoded colon is a colon', () => {
  assert.deepEqual(
    parseRequest('GET', `/v2/a/b/blobs/${digest.replace(':', '%3A')}`),
    parseRequest('GET', `/v2/a/b/blobs/${digest}`),
  )
})

test('pushes are recognized, whatever they carry', () => {
  for (const [method, path] of [
    ['POST', 'blobs/uploads/?mount=sha256%3Aabc&from=a%2Fb'],
    ['POST', 'blobs/uploads/'],
    ['PATCH', 'blobs/uploads/1'],
    ['PUT', 'blobs/uploads/1?digest=sha256:0'],
    ['DELETE', 'blobs/uploads/1'],
    ['PUT', 'manifests/v1'],
    ['DELETE', `blobs/${digest}`],
  ] as const) {
    assert.equal(parseRequest(method, `/v2/org/app/${path}`).kind, 'push', `${method} ${path}`)
  }
})

test('a method that the endpoint does not have is not allowed', () => {
  for (const [method, url] of [
    ['PUT', '/v2/'],
    ['POST', '/v2/_catalog'],
    ['DELETE', '/v2/a/b/tags/list'],
    ['PUT', `/v2/a/b/referrers/${digest}`],
    ['GET', '/v2/a/b/blobs/uploads/1'],
    ['OPTIONS', '/v2/a/b/manifests/v1'],
    ['TRACE', '/v2/a/b/manifests/v1'],
    ['constructor', '/v2/a/b/manifests/v1'],
  ] as const) {
    assertRejected(method, url, 'METHOD_NOT_ALLOWED')
  }
})

const rejected: readonly (readonly [RegistryErrorCase, readonly string[]])[] = [
  [
    'NAME_INVALID',
    [
      '/v2/App/manifests/v1',
      '/v2/a//b/manifests/v1',
      '/v2//manifests/v1',
      '/v2/a/../b/manifests/v1',
      '/v2/a/%2e%2e/manifests/v1',
      '/v2/a%2Fb/manifests/v1',
      '/v2/a/b%00/manifests/v1',
      '/v2/a/b%0d%0ax/tags/list',
      `/v2/a/${'b'.repeat(256)}/manifests/v1`,
      `/v2/${'b'.repeat(256)}/a/manifests/v1`,
      '/v2/manifests/v1',
      '/v2/tags/list',
      `/v2/${'a/'.repeat(3000)}a/manifests/v1`,
    ],
  ],
  ['DIGEST_INVALID', ['/v2/a/b/blobs/x', '/v2/a/b/blobs/sha256:abc', '/v2/a/b/manifests/md5:00', '/v2/a/referrers/v1']],
  ['REFERENCE_INVALID', ['/v2/a/b/manifests/', '/v2/a/b/manifests/.x', `/v2/a/b/manifests/${'v'.repeat(129)}`]],
  ['PAGE_INVALID', ['-1', '', '1e3', '0x1', '10001', '%00', '1.5', ' 1'].map((text) => `/v2/a/b/tags/list?n=${text}`)],
  ['REQUEST_INVALID', ['/v2/a/%/manifests/v1', '/v2/a/%zz/manifests/v1', '/v2/a/%c0%ae/manifests/v1']],
  ['REQUEST_TOO_LARGE', [`/v2/a/b/manifests/${'v'.repeat(8192)}`, `/v2/?ns=${'v'.repeat(8192)}`]],
  ['NAME_UNKNOWN', ['/v2/a', '/v2/a/b/tags', '/v2/a/b/manifests/v1/', '/v2/a/b/c/d', '/v2x/a/manifests/v1', '/']],
]
for (const [errorCase, urls] of rejected) {
  test(`malformed requests are told ${errorCase}`, () => {
    for (const url of urls) assertRejected('GET', url, errorCase)
  })
}

test('255 characters are the limit of each part, so that an organization takes nothing from the upstream’s name', () => {
  const long = `${'a'.repeat(127)}/${'b'.repeat(127)}`
  const request = parseRequest('GET', `/v2/${'o'.repeat(255)}/${long}/manifests/v1`)
  assert.ok(request.kind === 'getManifest' && request.name.endsWith(long))
})
