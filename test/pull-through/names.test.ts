/** DESIGN part 4, *Names*: which upstream repository a path means. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image } from '../fakes/content.ts'
import { startEgressProxy } from '../fakes/egress-proxy.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

const v1 = image({ seed: 'v1' })
const v2 = image({ seed: 'v2' })

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

test('the namespace is put in front of the rest', async (t) => {
  const cache = await entrepot.cache(t, { 'team/sub/app/web': { v1 } }, { namespace: 'team/sub' })
  assertServed(await cache.get('app/web/manifests/v1'), { outcome: 'miss', bytes: v1.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), ['GET /v2/team/sub/app/web/manifests/v1 200'])
})

test('a namespace cannot be left with dots', async (t) => {
  const cache = await entrepot.cache(t, { secret: { v1 }, 'team/secret': { v1: v2 } }, { namespace: 'team' })
  for (const name of ['../secret', '%2e%2e/secret', 'x/../../secret', '..%2fsecret', '.%2e/secret']) {
    const answer = await cache.get(`${name}/manifests/v1`)
    assert.ok(answer.status >= 400 && answer.status < 500, `${name}: ${answer.status}`)
  }
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('on Docker Hub a name of one component is library/<name>: one repository, whichever way it is written', async (t) => {
  const hub = await startFakeUpstream(
    t,
    { 'library/alpine': { '3.20': v1 }, 'grafana/grafana': { v1: v2 } },
    { tls: true },
  )
  const proxy = await startEgressProxy(t, new Map([['registry-1.docker.io:443', hub.host]]))
  const own = await startEntrepot({ EGRESS_PROXY: { uri: proxy.uri } })
  t.after(() => own.stop())
  for (const upstreamHost of ['docker.io', 'index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com']) {
    const cache = await own.cache(t, {}, { upstream: hub, upstreamHost })
    assertServed(await cache.get('alpine/manifests/3.20'), { outcome: 'miss', bytes: v1.bytes })
    assertServed(await cache.get('library/alpine/manifests/3.20'), { outcome: 'revalidated', bytes: v1.bytes })
    assertServed(await cache.get('grafana/grafana/manifests/v1'), { outcome: 'miss', bytes: v2.bytes })
    assert.deepEqual(hub.transcript.take(), [
      'GET /v2/library/alpine/manifests/3.20 200',
      'HEAD /v2/library/alpine/manifests/3.20 200',
      'GET /v2/grafana/grafana/manifests/v1 200',
    ])
    assert.deepEqual(await cache.repositories(), ['grafana/grafana', 'library/alpine'])
  }
  const limited = await own.cache(t, {}, { upstream: hub, upstreamHost: 'docker.io', namespace: 'library' })
  assertServed(await limited.get('alpine/manifests/3.20'), { outcome: 'miss', bytes: v1.bytes })
})

test('elsewhere a name of one component stays as it is', async (t) => {
  const cache = await entrepot.cache(t, { alpine: { v1 } })
  assertServed(await cache.get('alpine/manifests/v1'), { outcome: 'miss', bytes: v1.bytes })
  assertRefused(await cache.get('library/alpine/manifests/v1'), 404, 'MANIFEST_UNKNOWN')
})

test('?ns= selects the organization that mirrors the host, and the answer carries OCI-Namespace', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { v1 } })
  const { host } = cache.upstream
  await cache.setPolicy({ mirror_host: host })
  const { client } = cache
  const answer = await client.get(`/v2/library/alpine/manifests/v1?ns=${host}`)
  assertServed(answer, { outcome: 'miss', bytes: v1.bytes })
  assert.equal(answer.headers['oci-namespace'], host)
  const layer = v1.layers[0]
  assert.equal((await client.get(`/v2/library/alpine/blobs/${layer?.digest}?ns=${host}`)).status, 200)
  assert.deepEqual(await cache.repositories(), ['library/alpine'])
  const prefixed = await client.get(`/v2/${cache.organization}/library/alpine/manifests/v1?ns=${host}`)
  assertServed(prefixed, { outcome: 'revalidated', bytes: v1.bytes })
})

test('an ns that nobody mirrors is 404', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { v1 } })
  for (const host of ['nobody.example.com', '', '%00', 'a'.repeat(500)]) {
    const answer = await cache.client.get(`/v2/library/alpine/manifests/v1?ns=${host}`)
    assert.equal(answer.status, 404, host)
  }
})

test('the 401’s realm carries ns on, and its scope names our own repository', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { v1 } }, { policy: { mirror_host: 'ns.example.com' } })
  const answer = await cache.as(undefined).client.get('/v2/library/alpine/manifests/v1?ns=ns.example.com')
  assert.equal(answer.status, 401)
  const challenge = String(answer.headers['www-authenticate'])
  assert.match(challenge, /realm="[^"]*ns=ns\.example\.com/)
  assert.match(challenge, new RegExp(`scope="repository:${cache.organization}/library/alpine:pull"`))
})

test('permissions are judged after resolving ns', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { v1 } }, { policy: { mirror_host: 'judged.example.com' } })
  const stranger = cache.as(await entrepot.createUser())
  const answer = await stranger.client.get('/v2/library/alpine/manifests/v1?ns=judged.example.com')
  assert.ok([401, 403].includes(answer.status))
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('/<org>/v2/… equals /v2/<org>/…', async (t) => {
  const cache = await entrepot.cache(t, { 'library/alpine': { v1 } })
  const answer = await cache.client.get(`/${cache.organization}/v2/library/alpine/manifests/v1`)
  assertServed(answer, { outcome: 'miss', bytes: v1.bytes })
  assertServed(await cache.get('library/alpine/manifests/v1'), { outcome: 'revalidated', bytes: v1.bytes })
  assert.ok([200, 401].includes((await cache.client.get(`/${cache.organization}/v2/`)).status))
})

test('ROOT_ORGANIZATION answers names whose first component is no organization', async (t) => {
  const own = await startEntrepot({ ROOT_ORGANIZATION: 'root' })
  t.after(() => own.stop())
  const policy = { anonymous_pulls: true }
  const cache = await own.cache(t, { 'library/alpine': { v1 } }, { organization: 'root', policy })
  const anonymous = cache.as(undefined)
  assertServed(await anonymous.client.get('/v2/library/alpine/manifests/v1'), { outcome: 'miss', bytes: v1.bytes })
  assertServed(await anonymous.get('library/alpine/manifests/v1'), { outcome: 'revalidated', bytes: v1.bytes })
  assert.deepEqual(await cache.repositories(), ['library/alpine'])
})

test('the 255 characters are those of the upstream’s part', async (t) => {
  const long = `${'a'.repeat(127)}/${'b'.repeat(127)}`
  const cache = await entrepot.cache(t, { [long]: { v1 } })
  assertServed(await cache.get(`${long}/manifests/v1`), { outcome: 'miss', bytes: v1.bytes })
  assertRefused(await cache.get(`${long}b/manifests/v1`), 400, 'NAME_INVALID')
})

test('a push to a proxy organization is 405 UNSUPPORTED', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  for (const [method, path] of [
    ['PUT', 'app/manifests/v1'],
    ['DELETE', 'app/manifests/v1'],
    ['POST', 'app/blobs/uploads/'],
    ['PATCH', 'app/blobs/uploads/1'],
    ['PUT', 'app/blobs/uploads/1?digest=sha256:0'],
    ['DELETE', `app/blobs/${v1.layers[0]?.digest}`],
  ] as const) {
    const answer = await cache.send(path, { method, body: '{}' })
    assertRefused(answer, 405, 'UNSUPPORTED')
  }
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('an organization that does not exist is not told from one that may not be seen', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  const stranger = cache.as(await entrepot.createUser())
  const absent = await stranger.client.get('/v2/no-such-organization/app/manifests/v1')
  const hidden = await stranger.get('app/manifests/v1')
  assert.equal(absent.status, hidden.status)
  const nameless = (answer: typeof absent) => answer.body.toString().replaceAll(/no-such-organization|org\d+/g, 'NAME')
  assert.equal(nameless(absent), nameless(hidden))
})
