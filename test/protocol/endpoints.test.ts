/** Each endpoint of the distribution-spec as a row: method, URL, headers; status, headers, body. */
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { RegistryError, UpstreamError } from '../../src/errors.ts'
import { OCI_INDEX, OCI_MANIFEST } from '../../src/oci/media-type.ts'
import type { Provenance } from '../../src/registry/served.ts'
import { type ClientAnswer, RegistryClient } from '../pull-through/registry-client.ts'
import {
  basic,
  blobBytes,
  blobDigest,
  HIT,
  manifestBytes,
  manifestDigest,
  type ServedRegistry,
  serveRegistry,
} from './serve-registry.ts'

type Row = {
  title: string
  /** `METHOD url` */
  ask: string
  headers?: Record<string, string>
  /** Default: `basic`. */
  as?: string | 'none'
  status: number
  /** Header to value; undefined: not there. */
  answer?: Record<string, string | RegExp | undefined>
  /** Code of the error, or the body. */
  body?: string | Buffer | object
}

const manifest = {
  'content-type': OCI_MANIFEST,
  'content-length': String(manifestBytes.byteLength),
  'docker-content-digest': manifestDigest,
  etag: `"${manifestDigest}"`,
  'cache-status': 'entrepot; hit',
  age: '5',
  'docker-distribution-api-version': 'registry/2.0',
  'x-content-type-options': 'nosniff',
}
const blob = {
  'content-type': 'application/octet-stream',
  'docker-content-digest': blobDigest,
  etag: `"${blobDigest}"`,
  'accept-ranges': 'bytes',
  'cache-status': 'entrepot; hit',
}
const M = '/v2/own/app/manifests'
const B = `/v2/own/app/blobs/${blobDigest}`
const challenge = (scope: string) =>
  new RegExp(`^Bearer realm="http://127\\.0\\.0\\.1:\\d+/v2/auth",service="registry\\.example\\.com"${scope}$`)

const ROWS: Row[] = [
  {
    title: 'end-1: without credentials 401 with the challenge',
    ask: 'GET /v2/',
    as: 'none',
    status: 401,
    answer: { 'www-authenticate': challenge(''), 'docker-distribution-api-version': 'registry/2.0' },
    body: 'UNAUTHORIZED',
  },
  { title: 'end-1: with good credentials 200', ask: 'GET /v2/', status: 200, body: '{}' },
  { title: 'end-1: before an organization too', ask: 'GET /own/v2/', status: 200, body: '{}' },
  { title: 'end-1: with bad credentials 401', ask: 'GET /v2', as: 'Basic eDp5', status: 401, body: 'UNAUTHORIZED' },
  { title: 'end-3: GET by tag', ask: `GET ${M}/v1`, status: 200, answer: manifest, body: manifestBytes },
  {
    title: 'end-3: GET by digest',
    ask: `GET ${M}/${manifestDigest}`,
    status: 200,
    answer: manifest,
    body: manifestBytes,
  },
  { title: 'end-3: HEAD by tag', ask: `HEAD ${M}/v1`, status: 200, answer: manifest, body: '' },
  { title: 'end-3: an organization before /v2', ask: 'GET /own/v2/app/manifests/v1', status: 200, answer: manifest },
  {
    title: 'end-3: what needed credentials is private',
    ask: `GET ${M}/${manifestDigest}`,
    status: 200,
    answer: { 'cache-control': 'private' },
  },
  {
    title: 'end-3: anonymous by digest is immutable',
    ask: `GET /v2/open/app/manifests/${manifestDigest}`,
    as: 'none',
    status: 200,
    answer: { 'cache-control': 'public, max-age=31536000, immutable' },
  },
  {
    title: 'end-3: anonymous by tag is asked for again',
    ask: 'GET /v2/open/app/manifests/v1',
    as: 'none',
    status: 200,
    answer: { 'cache-control': 'no-cache' },
  },
  {
    title: 'end-3: If-None-Match with the digest is 304',
    ask: `GET ${M}/v1`,
    headers: { 'if-none-match': `"x", "${manifestDigest}"` },
    status: 304,
    answer: { etag: `"${manifestDigest}"`, 'content-length': undefined },
    body: '',
  },
  {
    title: 'end-3: by tag a client that lists other types is told so',
    ask: `GET ${M}/v1`,
    headers: { accept: OCI_INDEX },
    status: 404,
    body: 'MANIFEST_UNKNOWN',
  },
  { title: 'end-3: HEAD likewise', ask: `HEAD ${M}/v1`, headers: { accept: OCI_INDEX }, status: 404, body: '' },
  {
    title: 'end-3: by digest Accept is ignored',
    ask: `GET ${M}/${manifestDigest}`,
    headers: { accept: OCI_INDEX },
    status: 200,
  },
  {
    title: 'end-3: a range of a manifest is not a thing',
    ask: `GET ${M}/v1`,
    headers: { range: 'bytes=0-1' },
    status: 200,
  },
  {
    title: 'end-2: GET',
    ask: `GET ${B}`,
    status: 200,
    answer: { ...blob, 'content-length': '300000' },
    body: blobBytes,
  },
  { title: 'end-2: HEAD', ask: `HEAD ${B}`, status: 200, answer: { ...blob, 'content-length': '300000' }, body: '' },
  {
    title: 'end-2: one range',
    ask: `GET ${B}`,
    headers: { range: 'bytes=100-199' },
    status: 206,
    answer: { ...blob, 'content-range': 'bytes 100-199/300000', 'content-length': '100' },
    body: blobBytes.subarray(100, 200),
  },
  {
    title: 'end-2: the last bytes',
    ask: `GET ${B}`,
    headers: { range: 'bytes=-10' },
    status: 206,
    answer: { 'content-range': 'bytes 299990-299999/300000' },
  },
  {
    title: 'end-2: outside is 416 with the size',
    ask: `GET ${B}`,
    headers: { range: 'bytes=300000-' },
    status: 416,
    answer: { 'content-range': 'bytes */300000' },
    body: 'SIZE_INVALID',
  },
  {
    title: 'end-2: several ranges are all of it',
    ask: `GET ${B}`,
    headers: { range: 'bytes=0-1,5-6' },
    status: 200,
    answer: { 'content-range': undefined },
    body: blobBytes,
  },
  {
    title: 'end-2: If-Range of another digest is all of it',
    ask: `GET ${B}`,
    headers: { range: 'bytes=0-1', 'if-range': `"${manifestDigest}"` },
    status: 200,
  },
  {
    title: 'end-2: If-Range of this digest is the range',
    ask: `GET ${B}`,
    headers: { range: 'bytes=0-1', 'if-range': `"${blobDigest}"` },
    status: 206,
  },
  {
    title: 'end-2: If-None-Match is 304',
    ask: `GET ${B}`,
    headers: { 'if-none-match': `"${blobDigest}"` },
    status: 304,
    body: '',
  },
  { title: 'end-2: no digest', ask: 'GET /v2/own/app/blobs/v1', status: 400, body: 'DIGEST_INVALID' },
  {
    title: 'end-8a: all tags, under the name that was asked for',
    ask: 'GET /v2/own/app/tags/list',
    status: 200,
    answer: { link: undefined, 'content-type': 'application/json' },
    body: { name: 'own/app', tags: ['a', 'b', 'c', 'd', 'e'] },
  },
  { title: 'end-8a: HEAD', ask: 'HEAD /v2/own/app/tags/list', status: 200, body: '' },
  {
    title: 'end-8b: a page and the next',
    ask: 'GET /v2/own/app/tags/list?n=2&last=a',
    status: 200,
    answer: { link: '</v2/own/app/tags/list?n=2&last=c>; rel="next"' },
    body: { name: 'own/app', tags: ['b', 'c'] },
  },
  {
    title: 'end-8b: the last page has none',
    ask: 'GET /v2/own/app/tags/list?n=2&last=c',
    status: 200,
    answer: { link: undefined },
    body: { name: 'own/app', tags: ['d', 'e'] },
  },
  {
    title: 'end-8b: n=0 is an empty list',
    ask: 'GET /v2/own/app/tags/list?n=0',
    status: 200,
    answer: { link: undefined },
    body: { name: 'own/app', tags: [] },
  },
  {
    title: 'end-8b: after the last there is nothing',
    ask: 'GET /v2/own/app/tags/list?last=zz',
    status: 200,
    body: { name: 'own/app', tags: [] },
  },
  { title: 'end-8b: n is no number', ask: 'GET /v2/own/app/tags/list?n=x', status: 400, body: 'UNSUPPORTED' },
  {
    title: 'end-12a: an index',
    ask: `GET /v2/own/app/referrers/${manifestDigest}`,
    status: 200,
    answer: { 'content-type': OCI_INDEX, 'oci-filters-applied': undefined },
    body: {
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: [
        { mediaType: OCI_MANIFEST, digest: blobDigest, size: 3, artifactType: 'x/sbom' },
        { mediaType: OCI_MANIFEST, digest: manifestDigest, size: 4, artifactType: 'x/signature' },
      ],
    },
  },
  {
    title: 'end-12b: filtered',
    ask: `GET /v2/own/app/referrers/${manifestDigest}?artifactType=x%2Fsbom`,
    status: 200,
    answer: { 'oci-filters-applied': 'artifactType' },
    body: {
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: [{ mediaType: OCI_MANIFEST, digest: blobDigest, size: 3, artifactType: 'x/sbom' }],
    },
  },
  { title: 'end-12a: no digest', ask: 'GET /v2/own/app/referrers/v1', status: 400, body: 'DIGEST_INVALID' },
  {
    title: 'catalog: what the caller may see',
    ask: 'GET /v2/_catalog',
    status: 200,
    answer: { link: undefined },
    body: { repositories: ['open/a', 'open/b', 'own/c'] },
  },
  {
    title: 'catalog: a page',
    ask: 'GET /v2/_catalog?n=2',
    status: 200,
    answer: { link: '</v2/_catalog?n=2&last=open%2Fb>; rel="next"' },
    body: { repositories: ['open/a', 'open/b'] },
  },
  { title: 'catalog: n=0', ask: 'GET /v2/_catalog?n=0', status: 200, body: { repositories: [] } },
  {
    title: 'catalog: without credentials',
    ask: 'GET /v2/_catalog',
    as: 'none',
    status: 401,
    answer: { 'www-authenticate': challenge(',scope="registry:catalog:\\*"') },
    body: 'UNAUTHORIZED',
  },
  { title: 'catalog: a token for it', ask: 'GET /v2/_catalog', as: 'Bearer ok:registry:catalog', status: 200 },
  {
    title: 'catalog: a token for something else',
    ask: 'GET /v2/_catalog',
    as: 'Bearer ok:own/app',
    status: 401,
    body: 'UNAUTHORIZED',
  },
  ...(
    ['POST /v2/own/app/blobs/uploads/', 'PATCH /v2/own/app/blobs/uploads/1', `PUT ${M}/v1`, `DELETE ${B}`] as const
  ).map(
    (ask): Row => ({
      title: `end-4 to end-10: ${ask.split(' ')[0]} is not taken`,
      ask,
      status: 405,
      answer: { allow: 'GET, HEAD' },
      body: 'UNSUPPORTED',
    }),
  ),
  {
    title: 'an unknown method',
    ask: `OPTIONS ${M}/v1`,
    status: 405,
    answer: { allow: 'GET, HEAD' },
    body: 'UNSUPPORTED',
  },
  { title: 'an unknown path', ask: 'GET /v2/own/app/x', status: 404, body: 'NAME_UNKNOWN' },
  { title: 'a malformed name', ask: 'GET /v2/own/App/manifests/v1', status: 400, body: 'NAME_INVALID' },
  { title: 'a name of one component', ask: 'GET /v2/app/manifests/v1', status: 404, body: 'NAME_UNKNOWN' },
  { title: 'a URL of 9 KiB', ask: `GET ${M}/${'v'.repeat(9000)}`, status: 413, body: 'SIZE_INVALID' },

  {
    title: 'anonymous without permission: 401 with the scope',
    ask: `GET ${M}/v1`,
    as: 'none',
    status: 401,
    answer: { 'www-authenticate': challenge(',scope="repository:own/app:pull"') },
    body: 'UNAUTHORIZED',
  },
  {
    title: 'anonymous, an organization that does not exist: the same',
    ask: 'GET /v2/nothing/app/manifests/v1',
    as: 'none',
    status: 401,
    answer: { 'www-authenticate': challenge(',scope="repository:nothing/app:pull"') },
    body: 'UNAUTHORIZED',
  },
  { title: 'known, without permission: 403', ask: 'GET /v2/hidden/app/manifests/v1', status: 403, body: 'DENIED' },
  {
    title: 'known, an organization that does not exist: the same',
    ask: 'GET /v2/nothing/app/manifests/v1',
    status: 403,
    body: 'DENIED',
  },
  { title: 'HEAD of what is hidden', ask: 'HEAD /v2/hidden/app/manifests/v1', status: 403, body: '' },
  { title: 'a token for this repository', ask: `GET ${M}/v1`, as: 'Bearer ok:own/app', status: 200 },
  {
    title: 'a token for another repository',
    ask: `GET ${M}/v1`,
    as: 'Bearer ok:own/other',
    status: 401,
    answer: { 'www-authenticate': challenge(',scope="repository:own/app:pull",error="insufficient_scope"') },
    body: 'UNAUTHORIZED',
  },
  {
    title: 'a token that is none',
    ask: `GET ${M}/v1`,
    as: 'Bearer forged',
    status: 401,
    answer: { 'www-authenticate': challenge(',scope="repository:own/app:pull",error="invalid_token"') },
  },
  {
    title: 'a token of somebody who lost the right',
    ask: 'GET /v2/hidden/a/manifests/v1',
    as: 'Bearer ok:hidden/a',
    status: 403,
  },
  {
    title: 'wrong credentials do not become anonymous',
    ask: 'GET /v2/open/app/manifests/v1',
    as: 'Basic eDp5',
    status: 401,
  },

  {
    title: 'ns: selects the mirror, and is named',
    ask: 'GET /v2/library/alpine/manifests/v1?ns=docker.io',
    status: 200,
    answer: { 'oci-namespace': 'docker.io' },
    body: manifestBytes,
  },
  {
    title: 'ns: ignored when the prefix is an organization of that upstream',
    ask: 'GET /v2/own/library/alpine/manifests/v1?ns=docker.io',
    status: 200,
    answer: { 'oci-namespace': undefined },
  },
  { title: 'ns: nobody mirrors it', ask: 'GET /v2/own/app/manifests/v1?ns=quay.io', status: 404, body: 'NAME_UNKNOWN' },
  { title: 'ns: empty', ask: 'GET /v2/own/app/manifests/v1?ns=', status: 404, body: 'NAME_UNKNOWN' },
  { title: 'ns: not a host', ask: 'GET /v2/own/app/manifests/v1?ns=%0d%0aX:%20y', status: 404, body: 'NAME_UNKNOWN' },
  {
    title: 'ns: the 401 carries it on, and names our own repository',
    ask: 'GET /v2/library/alpine/manifests/v1?ns=docker.io',
    as: 'none',
    status: 401,
    answer: {
      'www-authenticate':
        /realm="http:[^"]*\/v2\/auth\?ns=docker\.io",.*,scope="repository:own\/library\/alpine:pull"$/,
    },
  },
  {
    title: 'ns: the next page keeps it',
    ask: 'GET /v2/library/alpine/tags/list?ns=docker.io&n=1',
    status: 200,
    answer: { link: '</v2/library/alpine/tags/list?n=1&last=a&ns=docker.io>; rel="next"' },
  },
]

let served: ServedRegistry
const ends: (() => Promise<void>)[] = []
before(async () => {
  served = await serveRegistry({ after: (work) => void ends.push(work) })
  served.content.referrers = [
    { mediaType: OCI_MANIFEST, digest: blobDigest, size: 3, artifactType: 'x/sbom' },
    { mediaType: OCI_MANIFEST, digest: manifestDigest, size: 4, artifactType: 'x/signature' },
  ]
})
test.after(async () => {
  for (const end of ends) await end()
})

function ask(row: Pick<Row, 'ask' | 'headers' | 'as'>): Promise<ClientAnswer> {
  const [method = '', url = ''] = row.ask.split(' ')
  const client = new RegistryClient(() => served.server.url, undefined)
  return client.send(url, { method, headers: row.headers ?? {}, authorization: row.as ?? basic })
}

function assertRow(answer: ClientAnswer, row: Row): void {
  assert.equal(answer.status, row.status, answer.body.toString().slice(0, 300))
  assert.ok(answer.isWhole)
  for (const [name, expected] of Object.entries(row.answer ?? {})) {
    const value = answer.headers[name]
    if (expected instanceof RegExp) assert.match(String(value), expected)
    else assert.equal(value, expected, name)
  }
  if (row.body === undefined) return
  if (row.body instanceof Buffer) assert.ok(answer.body.equals(row.body))
  else if (typeof row.body === 'object') assert.deepEqual(JSON.parse(answer.body.toString()), row.body)
  else if (row.status >= 400 && row.body !== '') {
    assert.equal(JSON.parse(answer.body.toString()).errors[0].code, row.body)
    assert.equal(answer.headers['content-type'], 'application/json')
  } else assert.equal(answer.body.toString(), row.body)
}

for (const isHot of [false, true]) {
  for (const row of ROWS) {
    test(`${row.title}${isHot ? ', with everything in memory' : ''}`, async () => {
      served.content.isHot = isHot
      assertRow(await ask(row), row)
    })
  }
}

const outcomes: readonly [Partial<Provenance>, string][] = [
  [{ outcome: 'revalidated' }, 'entrepot; fwd=stale; detail=revalidated'],
  [{ outcome: 'miss' }, 'entrepot; fwd=miss; detail=miss'],
  [{ outcome: 'stale', staleReason: 'timeout' }, 'entrepot; fwd=stale; detail="stale: timeout"'],
  [{ outcome: 'stale', staleReason: 'down' }, 'entrepot; hit; detail="stale: down"'],
]
for (const [provenance, status] of outcomes) {
  test(`Cache-Status tells ${provenance.outcome} ${provenance.staleReason ?? ''}`, async () => {
    served.content.provenance = { ...HIT, ...provenance }
    for (const path of [`${M}/v1`, B]) {
      assert.equal((await ask({ ask: `GET ${path}` })).headers['cache-status'], status)
    }
    served.content.provenance = HIT
  })
}

const failures: readonly [unknown, number, string, string | undefined][] = [
  [new RegistryError('MANIFEST_UNKNOWN'), 404, 'MANIFEST_UNKNOWN', undefined],
  [new RegistryError('TOO_MANY_REQUESTS', { retryAfterSeconds: 7 }), 429, 'TOOMANYREQUESTS', '7'],
  [new UpstreamError('timeout', 'quay.io', 'quay.io did not answer'), 504, 'UNAVAILABLE', undefined],
  [new UpstreamError('not_found', 'quay.io', ''), 404, 'MANIFEST_UNKNOWN', undefined],
  [new TypeError('secret detail'), 500, 'UNKNOWN', undefined],
]
for (const [failure, status, code, retryAfter] of failures) {
  test(`a registry that throws ${String(failure)} is told as ${status} ${code}`, async () => {
    served.content.isHot = false
    served.content.failure = failure
    const answer = await ask({ ask: `GET ${M}/v1` })
    const head = await ask({ ask: `HEAD ${M}/v1` })
    served.content.failure = undefined
    assert.deepEqual([answer.status, head.status, head.body.byteLength], [status, status, 0])
    assert.equal(JSON.parse(answer.body.toString()).errors[0].code, code)
    assert.equal(answer.headers['retry-after'], retryAfter)
    assert.ok(!answer.body.toString().includes('secret detail'))
    assert.equal(typeof answer.headers['x-request-id'], 'string')
  })
}

test('a request is observed once, with what the log and the metrics want', async (t) => {
  const own = await serveRegistry(t)
  const client = new RegistryClient(() => own.server.url, undefined)
  await client.send(`${M}/v1?x=secret`, { authorization: basic })
  own.content.isHot = true
  await client.send(`${M}/v1`, { authorization: basic })
  await client.send('/v2/hidden/app/manifests/v1', { authorization: basic })
  await own.observed(3)
  const [cold, hot, denied] = own.records
  assert.ok(cold && hot && denied)
  for (const record of [cold, hot]) {
    assert.deepEqual(
      { ...record, id: '', ms: 0 },
      {
        id: '',
        method: 'GET',
        path: `${M}/v1`,
        kind: 'getManifest',
        organization: 'own',
        repository: 'own/app',
        reference: 'v1',
        status: 200,
        outcome: 'hit',
        bytes: manifestBytes.byteLength,
        ms: 0,
        upstreamMs: 0,
        principal: 'ann',
        address: '127.0.0.1',
        isAborted: false,
        error: undefined,
      },
    )
  }
  assert.deepEqual([denied.status, denied.organization, own.content.touches], [403, undefined, 1])
})
