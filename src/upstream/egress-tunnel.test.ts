import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { image } from '../../test/fakes/content.ts'
import { type EgressProxy, startEgressProxy } from '../../test/fakes/egress-proxy.ts'
import { startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import { assertFails, named, openUpstreamClient, ref } from '../../test/fakes/upstream-client.ts'
import type { UpstreamError, UpstreamFailure } from '../errors.ts'

const NAME = named('library/alpine')
const TAG = ref('latest')
const CONFIG = { scheme: 'http', host: 'quay.example', caPem: undefined, credentials: { kind: 'anonymous' } } as const

function open(t: TestContext, uri: string, limits: Record<string, number> = {}) {
  const client = openUpstreamClient(t, { egressProxy: { uri, noProxy: [] }, limits })
  return { client, upstream: client.pool.open(CONFIG) }
}

/** Neither the proxy's password nor its address is told. */
function assertDiscreet(error: UpstreamError, uri: string): void {
  const told = `${error.message} ${error.stack} ${JSON.stringify(error)} ${error.cause}`
  assert.ok(!told.includes('hunter2'), told)
  assert.ok(!told.includes(new URL(uri).host), told)
}

/** A port of loopback where nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return port
}

test('a proxy that cannot be reached is blamed, not the upstream', async (t) => {
  for (const [uri, says] of [
    [`http://user:hunter2@127.0.0.1:${await freePort()}`, /connection refused/],
    ['http://user:hunter2@proxy.invalid:3128', /DNS does not know its name/],
  ] as const) {
    const { upstream } = open(t, uri)
    const error = await assertFails(upstream.getManifest(NAME, TAG), 'unreachable', true)
    assert.match(error.message, /^cannot ask quay\.example: the egress proxy cannot be reached .*check EGRESS_PROXY/)
    assert.match(error.message, says)
    assertDiscreet(error, uri)
  }
})

test('a proxy that is asked for TLS and speaks none is blamed', async (t) => {
  const proxy = await startEgressProxy(t, new Map())
  const { upstream } = open(t, proxy.uri.replace('http:', 'https:'))
  const error = await assertFails(upstream.getManifest(NAME, TAG), 'unreachable', true)
  assert.match(error.message, /the egress proxy cannot be reached \(it does not speak TLS\)/)
})

const ROWS: [refusal: NonNullable<EgressProxy['refusal']>, failure: UpstreamFailure, says: RegExp][] = [
  [407, 'unreachable', /the egress proxy answered 407 .*correct them in EGRESS_PROXY/],
  [403, 'unreachable', /the egress proxy answered 403 .*allow quay\.example in the proxy's rules/],
  [404, 'unreachable', /the egress proxy answered 404 /],
  [502, 'unreachable', /the egress proxy answered 502; check the proxy, and that it can reach quay\.example/],
  [503, 'unreachable', /the egress proxy answered 503/],
  [504, 'timeout', /the egress proxy answered 504/],
  ['close', 'unreachable', /the egress proxy cannot be reached \(it closed the connection\)/],
]

for (const [refusal, failure, says] of ROWS) {
  test(`a proxy that opens no tunnel is blamed, once a question: ${refusal}`, async (t) => {
    const proxy = await startEgressProxy(t, new Map())
    proxy.refusal = refusal
    const uri = proxy.uri.replace('//', '//user:hunter2@')
    const { upstream } = open(t, uri)
    const error = await assertFails(upstream.getManifest(NAME, TAG), failure, true)
    assert.match(error.message, says)
    assertDiscreet(error, uri)
    assert.deepEqual(proxy.asked, ['quay.example:80'])
  })
}

test('a proxy that says nothing is blamed when its time is over', async (t) => {
  const proxy = await startEgressProxy(t, new Map())
  proxy.refusal = 'hang'
  const { upstream } = open(t, proxy.uri, { headersMs: 20 })
  const error = await assertFails(upstream.getManifest(NAME, TAG), 'timeout', true)
  assert.match(error.message, /the egress proxy cannot be reached \(no answer in time\)/)
})

test('a caller who gives up while the proxy says nothing is told nothing of it', async (t) => {
  const proxy = await startEgressProxy(t, new Map())
  proxy.refusal = 'hang'
  const { upstream } = open(t, proxy.uri)
  const giveUp = new AbortController()
  const reason = new Error('enough')
  const asking = upstream.getManifest(NAME, TAG, { signal: giveUp.signal })
  giveUp.abort(reason)
  await assert.rejects(asking, reason)
})

test('down through a proxy names the proxy, in the state and in what is logged, and ends with it', async (t) => {
  const fake = await startFakeUpstream(t, { [NAME]: { latest: image({}) } })
  const proxy = await startEgressProxy(t, new Map([['quay.example:80', fake.host]]))
  const { client, upstream } = open(t, proxy.uri)
  proxy.refusal = 407
  for (const ms of [0, 1500, 1500]) {
    client.now.ms += ms
    await assertFails(upstream.getManifest(NAME, TAG), 'unreachable', true)
  }
  assert.equal(upstream.state().availability, 'down')
  assert.match(upstream.state().lastError?.message ?? '', /egress proxy answered 407/)
  const [change] = client.events.filter((event) => event.event === 'availability')
  assert.match(change?.message ?? '', /egress proxy answered 407/)
  proxy.refusal = undefined
  await upstream.getManifest(NAME, TAG)
  assert.equal(upstream.state().availability, 'up')
})
