import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { image } from '../../test/fakes/content.ts'
import { startEgressProxy } from '../../test/fakes/egress-proxy.ts'
import { startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import { assertFails, configOf, named, openUpstreamClient, ref } from '../../test/fakes/upstream-client.ts'
import type { UpstreamConfig } from '../oci/registry.ts'
import { AddressPolicy } from './address-policy.ts'
import { ConnectionPools } from './connection-pools.ts'
import { UPSTREAM_LIMITS } from './limits.ts'

const NAME = named('library/alpine')
const TAG = ref('latest')
const CONTENT = image({})

function poolsOf(t: TestContext, connectionPoolsMax: number) {
  const now = { ms: 1_000_000 }
  const limits = { ...UPSTREAM_LIMITS, connectionPoolsMax }
  const pools = new ConnectionPools({ clock: () => now.ms, policy: new AddressPolicy([]), proxy: undefined, limits })
  t.after(() => pools.close())
  const find = (origin: string, caPem?: string, isForeign = false) => pools.find(new URL(origin), { caPem, isForeign })
  return { now, find }
}

test('equal origins with equal trust share connections, others do not', (t) => {
  const { find } = poolsOf(t, 10)
  const first = find('https://quay.io/a')
  assert.equal(find('https://quay.io:443/b'), first)
  for (const other of [
    find('http://quay.io'),
    find('https://quay.io:444'),
    find('https://quay.io', 'PEM'),
    find('https://quay.io', 'PEM', true),
  ]) {
    assert.notEqual(other, first)
  }
})

test('connection pools are bounded, and closed when they are idle', (t) => {
  const { now, find } = poolsOf(t, 2)
  const [a, b] = [find('https://a.example'), find('https://b.example')]
  assert.equal(find('https://a.example'), a)
  find('https://c.example')
  assert.equal(find('https://a.example'), a)
  assert.notEqual(find('https://b.example'), b)
  now.ms += UPSTREAM_LIMITS.connectionPoolIdleMs + 1
  assert.notEqual(find('https://a.example'), a)
})

test('through a proxy everything is tunnelled, and the proxy itself may be at a private address', async (t) => {
  const secure = await startFakeUpstream(t, { [NAME]: { latest: CONTENT } }, { tls: true })
  const plain = await startFakeUpstream(t, { [NAME]: { latest: CONTENT } })
  const routes = new Map([
    ['registry-1.docker.io:443', secure.host],
    ['plain.example:80', plain.host],
  ])
  const proxy = await startEgressProxy(t, routes)
  const { pool } = openUpstreamClient(t, { ssrfAllowedHosts: [], egressProxy: { uri: proxy.uri, noProxy: [] } })
  const hub = pool.open(configOf(secure, { host: 'registry-1.docker.io' }))
  assert.deepEqual((await hub.getManifest(NAME, TAG)).bytes, CONTENT.bytes)
  const other = pool.open(configOf(plain, { host: 'plain.example' }))
  assert.deepEqual((await other.getManifest(NAME, TAG)).bytes, CONTENT.bytes)
  assert.deepEqual(proxy.asked, ['registry-1.docker.io:443', 'plain.example:80'])
})

test('a proxy is not asked for private addresses and local names, nor for what no_proxy lists', async (t) => {
  const fake = await startFakeUpstream(t, { [NAME]: { latest: CONTENT } })
  const proxy = await startEgressProxy(t, new Map())
  const noProxy = ['127.0.0.1']
  const { pool } = openUpstreamClient(t, { egressProxy: { uri: proxy.uri, noProxy } })
  const config: UpstreamConfig = configOf(fake)
  for (const host of ['10.0.0.1', '[::1]:5000', '169.254.169.254', 'localhost', 'registry', 'x.internal']) {
    const error = await assertFails(pool.open({ ...config, host }).resolveManifest(NAME, TAG), 'unreachable')
    assert.match(error.message, /SSRF_ALLOWED_HOSTS/)
  }
  await pool.open(config).getManifest(NAME, TAG)
  assert.deepEqual(proxy.asked, [])
})

test('a proxy that refuses is told as such, without its password', async (t) => {
  const proxy = await startEgressProxy(t, new Map())
  const uri = proxy.uri.replace('//', '//user:hunter2@')
  const { pool } = openUpstreamClient(t, { egressProxy: { uri, noProxy: [] } })
  const config = { scheme: 'https', host: 'quay.io', caPem: undefined, credentials: { kind: 'anonymous' } } as const
  const error = await assertFails(pool.open(config).resolveManifest(NAME, TAG), 'unreachable', true)
  assert.match(error.message, /egress proxy/)
  assert.doesNotMatch(`${error.stack} ${JSON.stringify(error)}`, /hunter2/)
})
