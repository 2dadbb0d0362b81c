import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { image } from '../../test/fakes/content.ts'
import type { FakeAuthentication } from '../../test/fakes/fake-authentication.ts'
import { type FakeUpstream, startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import {
  assertFails,
  configOf,
  named,
  openUpstreamClient,
  ref,
  type UpstreamClient,
} from '../../test/fakes/upstream-client.ts'

const NAME = named('library/alpine')
const TAG = ref('latest')
const MANIFEST = '/v2/library/alpine/manifests/latest'
const LOGIN = { username: 'robot', password: 'secret' }

async function start(
  t: TestContext,
  authentication: FakeAuthentication = { kind: 'none' },
): Promise<{ fake: FakeUpstream; client: UpstreamClient }> {
  const fake = await startFakeUpstream(t, { [NAME]: { latest: image({}) } }, { authentication })
  return { fake, client: openUpstreamClient(t) }
}

async function goDown(fake: FakeUpstream, client: UpstreamClient): Promise<void> {
  const upstream = client.pool.open(configOf(fake))
  fake.quirk('/v2/*', { status: 503 })
  for (const ms of [0, 1500, 1500]) {
    client.now.ms += ms
    await assertFails(upstream.getManifest(NAME, TAG), 'server_error', true)
  }
}

/** Let the time of the one scheduled probe come, and wait until its answer has been dealt with. */
async function probe(client: UpstreamClient): Promise<void> {
  const [scheduled] = client.scheduled.splice(0)
  const before = client.events.length
  scheduled?.work()
  while (!client.events.slice(before).some((event) => event.event === 'request')) {
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
}

test('three outages in a row over 3 s are down, for all organizations of that upstream; 401 to a probe is up', async (t) => {
  const { fake, client } = await start(t)
  await goDown(fake, client)
  const other = client.pool.open(configOf(fake, { credentials: { kind: 'password', ...LOGIN } }))
  assert.equal(other.state().availability, 'down')
  assert.equal(other.state().sinceMs, client.now.ms)
  assert.match(other.state().lastError?.message ?? '', /answered 503/)
  assert.deepEqual(
    client.scheduled.map(({ ms }) => ms),
    [10_000],
  )

  fake.transcript.take()
  await probe(client)
  assert.deepEqual(fake.transcript.take(), ['GET /v2/ 503'])
  assert.equal(other.state().availability, 'down')

  fake.clearQuirks()
  fake.quirk('/v2/', { status: 401 })
  await new Promise<void>((resolve) => setImmediate(resolve))
  await probe(client)
  assert.equal(other.state().availability, 'up')
  assert.deepEqual(client.scheduled, [])
  const changes = client.events.filter((event) => event.event === 'availability')
  assert.deepEqual(
    changes.map((event) => event.availability),
    ['down', 'up'],
  )
})

test('any answer brings it up, and other upstreams have a state of their own', async (t) => {
  const { fake, client } = await start(t)
  const other = await startFakeUpstream(t)
  await goDown(fake, client)
  assert.equal(client.pool.open(configOf(other)).state().availability, 'up')
  fake.clearQuirks()
  fake.quirk('/v2/*', { status: 500 })
  const upstream = client.pool.open(configOf(fake))
  await assertFails(upstream.getManifest(NAME, TAG), 'server_error')
  assert.equal(upstream.state().availability, 'up')
})

test('a 429 closes the gate of these credentials alone, until Retry-After', async (t) => {
  const { fake, client } = await start(t)
  const limited = client.pool.open(configOf(fake, { credentials: { kind: 'password', ...LOGIN } }))
  const same = client.pool.open(configOf(fake, { credentials: { kind: 'password', ...LOGIN } }))
  const anonymous = client.pool.open(configOf(fake))
  fake.quirk('/v2/*', { status: 429, retryAfter: '120' }, 1)
  const error = await assertFails(limited.getManifest(NAME, TAG), 'rate_limited')
  assert.equal(error.retryAfterMs, 120_000)
  fake.transcript.take()

  await assertFails(same.resolveManifest(NAME, TAG), 'rate_limited')
  assert.equal(same.state().rateLimitedUntilMs, client.now.ms + 120_000)
  assert.deepEqual(fake.transcript.take(), [])
  await anonymous.getManifest(NAME, TAG)
  assert.equal(anonymous.state().rateLimitedUntilMs, undefined)
  client.now.ms += 120_000
  await limited.getManifest(NAME, TAG)
})

test('a 429 without Retry-After closes the gate for a while', async (t) => {
  const { fake, client } = await start(t)
  fake.quirk('/v2/*', { status: 429 }, 1)
  const upstream = client.pool.open(configOf(fake))
  assert.equal((await assertFails(upstream.getManifest(NAME, TAG), 'rate_limited')).retryAfterMs, 30_000)
})

test('the remaining rate limit is read from the answers', async (t) => {
  const { fake, client } = await start(t)
  fake.quirk('/v2/*', { headers: { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '76;w=21600' } })
  const upstream = client.pool.open(configOf(fake))
  await upstream.resolveManifest(NAME, TAG)
  assert.deepEqual(upstream.state().rateLimit, { limit: 100, remaining: 76, atMs: client.now.ms })
})

test('a probe tells valid from anonymous from refused', async (t) => {
  const open = await start(t)
  assert.equal(await open.client.pool.probe(configOf(open.fake)), 'valid')

  const { fake, client } = await start(t, { kind: 'basic', login: LOGIN })
  assert.equal(await client.pool.probe(configOf(fake)), 'anonymous')
  assert.equal(await client.pool.probe(configOf(fake, { credentials: { kind: 'password', ...LOGIN } })), 'valid')
  const wrong = { kind: 'password', username: 'robot', password: 'wrong' } as const
  await assertFails(client.pool.probe(configOf(fake, { credentials: wrong })), 'denied')

  const tokens = await start(t, { kind: 'token', login: LOGIN })
  const right = configOf(tokens.fake, { credentials: { kind: 'password', ...LOGIN } })
  assert.equal(await tokens.client.pool.probe(right), 'valid')
  assert.equal(await tokens.client.pool.probe(configOf(tokens.fake)), 'anonymous')
})

test('a web page is no registry', async (t) => {
  const { fake, client } = await start(t)
  fake.quirk('/v2/', { htmlInsteadOfJson: true })
  await assertFails(client.pool.probe(configOf(fake)), 'protocol')
})

test('a host that is none is refused before anything is sent', async (t) => {
  const { fake, client } = await start(t)
  for (const host of ['', 'a b', `robot@${fake.host}`, `${fake.host}/v2`, `${fake.host}?x`, `${fake.host}#x`]) {
    assert.throws(() => client.pool.open(configOf(fake, { host })), { failure: 'unreachable' })
  }
})

test('an address can be judged before it is stored', (t) => {
  const { pool } = openUpstreamClient(t)
  assert.deepEqual(pool.refuseAddress({ host: '10.1.2.3', port: 443 }), { kind: 'private', line: '10.1.2.3:443' })
  assert.equal(pool.refuseAddress({ host: '127.0.0.1', port: 443 }), undefined)
  assert.equal(pool.refuseAddress({ host: 'registry.internal', port: 443 }), undefined)
})

test('no event and no message holds a secret', async (t) => {
  const { fake, client } = await start(t, { kind: 'token', login: LOGIN })
  const upstream = client.pool.open(configOf(fake, { credentials: { kind: 'password', ...LOGIN } }))
  await upstream.getManifest(NAME, TAG)
  fake.quirk('/v2/*', { reset: true })
  const error = await assertFails(upstream.getManifest(NAME, TAG), 'unreachable', true)
  const told = JSON.stringify([client.events, upstream.state(), error.message, error.stack, error.cause])
  for (const secret of ['secret', Buffer.from('robot:secret').toString('base64'), 'Bearer', '?service', MANIFEST]) {
    assert.ok(!told.includes(secret), secret)
  }
})
