import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import { AddressPolicy } from './address-policy.ts'
import { ConnectionPools } from './connection-pools.ts'
import { Endpoint } from './endpoint.ts'
import { UPSTREAM_LIMITS } from './limits.ts'
import { Transport } from './transport.ts'

async function start(t: TestContext) {
  const fake = await startFakeUpstream(t)
  const now = { ms: 1_000_000 }
  const clock = () => now.ms
  const limits = UPSTREAM_LIMITS
  const pools = new ConnectionPools({ clock, policy: new AddressPolicy(['127.0.0.1']), proxy: undefined, limits })
  t.after(() => pools.close())
  const scheduled: (() => void)[] = []
  const events = Promise.withResolvers<void>()
  const endpoint = new Endpoint({
    url: new URL(fake.url),
    caPem: undefined,
    transport: new Transport({ pools, limits, userAgent: 'entrepot/test' }),
    clock,
    schedule: (_, work) => {
      scheduled.push(work)
      return () => void scheduled.pop()
    },
    limits,
    observe: (event) => event.event === 'request' && events.resolve(),
  })
  return { fake, now, endpoint, scheduled, probed: events.promise }
}

test('502, 503 and 504 are outages, every other status is an answer', async (t) => {
  const { now, endpoint } = await start(t)
  for (const status of [502, 503, 504]) {
    endpoint.answered(status)
    now.ms += 1500
  }
  assert.equal(endpoint.health.availability, 'down')
  for (const status of [200, 307, 401, 404, 429, 500]) {
    endpoint.answered(status)
    assert.equal(endpoint.health.availability, 'up')
  }
})

test('the probe carries no credentials, and a refused connection keeps it down', async (t) => {
  const { fake, now, endpoint, scheduled, probed } = await start(t)
  for (const ms of [0, 1500, 1500]) {
    now.ms += ms
    endpoint.answered(503)
  }
  await fake.refuse()
  scheduled.shift()?.()
  await probed
  assert.equal(endpoint.health.availability, 'down')
  assert.match(endpoint.health.lastError?.message ?? '', /connection refused/)
  endpoint.close()
})
