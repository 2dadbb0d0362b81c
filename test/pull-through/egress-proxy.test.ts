/** DESIGN part 4, *Addresses* and *Down*: what fails between us and the egress proxy is not the upstream's doing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { image } from '../fakes/content.ts'
import { startEgressProxy } from '../fakes/egress-proxy.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import { startEntrepot } from './start-entrepot.ts'

const tag = 'library/alpine/manifests/3.20'
const other = 'library/alpine/manifests/3.19'
const v1 = image({ seed: 'v1' })

test('a proxy that refuses costs no cached pull, and is named to whoever pulls what is not cached', async (t) => {
  const upstream = await startFakeUpstream(t, { 'library/alpine': { '3.20': v1 } })
  const proxy = await startEgressProxy(t, new Map([['quay.example:80', upstream.host]]))
  const uri = proxy.uri.replace('//', '//user:hunter2@')
  const entrepot = await startEntrepot({ EGRESS_PROXY: { uri, no_proxy: [] } })
  t.after(() => entrepot.stop())
  const cache = await entrepot.cache(t, {}, { upstream, upstreamHost: 'quay.example', insecure: true })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })

  proxy.refusal = 407
  upstream.breakConnections() // And with them the tunnels that stood.
  upstream.transcript.take()
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  const refused = await cache.get(other)
  assertRefused(
    refused,
    502,
    'UNAVAILABLE',
    /quay\.example: the egress proxy answered 407 .*correct them in EGRESS_PROXY/,
  )
  assert.doesNotMatch(refused.body.toString(), /hunter2/)
  assert.deepEqual(upstream.transcript.take(), [])

  proxy.refusal = undefined
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
})
