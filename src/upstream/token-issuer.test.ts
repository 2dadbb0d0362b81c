import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { AddressPolicy } from './address-policy.ts'
import { ConnectionPools } from './connection-pools.ts'
import { UPSTREAM_LIMITS } from './limits.ts'
import { type Token, TokenIssuer } from './token-issuer.ts'
import { Transport } from './transport.ts'
import type { UpstreamEvent } from './upstream-event.ts'

const clock = () => 1_000_000

async function start(t: TestContext, body: string, status = 200) {
  const asked: string[] = []
  const events: UpstreamEvent[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.url}`)
    response.writeHead(status, { 'content-type': 'application/json' }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const limits = UPSTREAM_LIMITS
  const pools = new ConnectionPools({ clock, policy: new AddressPolicy(['127.0.0.1']), proxy: undefined, limits })
  t.after(async () => {
    await pools.close()
    server.close()
  })
  const transport = new Transport({ pools, limits, userAgent: 'entrepot/test' })
  const shared = {
    transport,
    clock,
    limits,
    observe: (event: UpstreamEvent) => void events.push(event),
    upstream: url,
    caPem: undefined,
    realmHosts: [],
  }
  const issuer = new TokenIssuer(shared)
  const fetch = (request: object = {}): Promise<Token> =>
    issuer.fetch(
      { realm: `${url.origin}/token`, service: 'quay.io', scope: 'repository:a/b:pull', ...request },
      undefined,
    )
  return { fetch, asked, events, origin: url.origin }
}

test('service and scope are added to what the realm has already', async (t) => {
  const { fetch, asked } = await start(t, '{"token":"x"}')
  await fetch()
  await fetch({ service: undefined, scope: '' })
  assert.deepEqual(asked, ['/token?service=quay.io&scope=repository%3Aa%2Fb%3Apull', '/token'])
})

const BODIES: [body: string, token: string | undefined, lifetimeMs?: number][] = [
  ['{"token":"a","expires_in":300}', 'a', 300_000],
  ['{"access_token":"a","expires_in":300}', 'a', 300_000],
  ['{"token":"a","access_token":"b"}', 'a', 60_000],
  ['{"token":"","access_token":"b"}', 'b', 60_000],
  ['{"token":"a","expires_in":"300"}', 'a', 60_000],
  ['{"token":"a","expires_in":-1}', 'a', 60_000],
  ['{"token":"a","expires_in":1e300}', 'a', 86_400_000],
  ['{"token":"a\\r\\nx-evil: 1"}', undefined],
  ['{"token":5}', undefined],
  ['{}', undefined],
  ['[]', undefined],
  ['null', undefined],
  ['<html>', undefined],
  [JSON.stringify({ token: 'a'.repeat(300_000) }), undefined],
]

for (const [body, token, lifetimeMs] of BODIES) {
  test(`${body.slice(0, 50)} is ${token === undefined ? 'no token' : `a token for ${lifetimeMs} ms`}`, async (t) => {
    const { fetch } = await start(t, body)
    if (token === undefined) await assert.rejects(fetch(), { failure: 'protocol', outage: false })
    else assert.deepEqual(await fetch(), { token, lifetimeMs })
  })
}

test('a token that no server would take back is refused, and not kept', async (t) => {
  const { tokenCharactersMax } = UPSTREAM_LIMITS
  const fits = await start(t, JSON.stringify({ token: 'x'.repeat(tokenCharactersMax) }))
  assert.equal((await fits.fetch()).token.length, tokenCharactersMax)
  const { fetch } = await start(t, JSON.stringify({ token: 'x'.repeat(tokenCharactersMax + 1) }))
  await assert.rejects(fetch(), { failure: 'protocol', message: /token of more than/ })
})

test('a realm is counted under its upstream: an upstream that names another with each answer makes no metrics of them', async (t) => {
  const { fetch, events } = await start(t, '{"token":"x"}')
  await fetch()
  const { port } = new URL((await start(t, '')).origin)
  await fetch({ realm: `http://localhost:${port}/token` }).catch(() => {})
  assert.deepEqual(new Set(events.map((event) => event.host)).size, 1)
})

test('a realm whose name is longer than names can be is refused, and not repeated', async (t) => {
  const { fetch } = await start(t, '{"token":"x"}')
  await assert.rejects(fetch({ realm: `http://${'x'.repeat(10_000)}.example/token` }), (error: Error) => {
    return error.message.length < 300
  })
})
