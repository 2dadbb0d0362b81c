import assert from 'node:assert/strict'
import { mkdtempDisposableSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
import type { CredentialSource, Upstream } from '../oci/registry.ts'

const NAME = named('library/alpine')
const OTHER = named('library/busybox')
const TAG = ref('latest')
const LOGIN = { username: 'robot', password: 'pässword' }
const WITH_PASSWORD: CredentialSource = { kind: 'password', ...LOGIN }
const BASIC = `Basic ${Buffer.from('robot:pässword', 'utf8').toString('base64')}`
const MANIFEST = '/v2/library/alpine/manifests/latest'

type Started = { fake: FakeUpstream; client: UpstreamClient; upstream: Upstream }

async function start(
  t: TestContext,
  authentication: FakeAuthentication,
  credentials: CredentialSource = { kind: 'anonymous' },
): Promise<Started> {
  const content = { latest: image({}) }
  const fake = await startFakeUpstream(t, { [NAME]: content, [OTHER]: content }, { authentication })
  const client = openUpstreamClient(t)
  return { fake, client, upstream: client.pool.open(configOf(fake, { credentials })) }
}

function short(fake: FakeUpstream): string[] {
  return fake.transcript.take().map((line) => line.replace(/\?.*(?= \d+$)/, ''))
}

test('the first question costs a challenge and a token, the next one nothing more', async (t) => {
  const { fake, upstream } = await start(t, { kind: 'token', expiresInSeconds: 300 })
  await upstream.getManifest(NAME, TAG)
  const lines = fake.transcript.take()
  assert.match(lines[1] ?? '', /^GET \/token\?service=fake-upstream&scope=repository%3Alibrary%2Falpine%3Apull 200$/)
  assert.deepEqual([lines[0], lines[2]], [`GET ${MANIFEST} 401`, `GET ${MANIFEST} 200`])

  await upstream.getManifest(NAME, TAG)
  assert.deepEqual(short(fake), [`GET ${MANIFEST} 200`])
  await upstream.getManifest(OTHER, TAG)
  assert.deepEqual(short(fake), ['GET /token 200', 'GET /v2/library/busybox/manifests/latest 200'])
})

for (const field of ['token', 'access_token', 'both'] as const) {
  test(`the token may come as ${field}`, async (t) => {
    const { upstream } = await start(t, { kind: 'token', field })
    await upstream.getManifest(NAME, TAG)
  })
}

test('without expires_in a token lives 60 seconds, and is renewed before they end', async (t) => {
  const { fake, client, upstream } = await start(t, { kind: 'token' })
  await upstream.getManifest(NAME, TAG)
  fake.transcript.take()
  client.now.ms += 47_000
  await upstream.getManifest(NAME, TAG)
  assert.deepEqual(short(fake), [`GET ${MANIFEST} 200`])
  client.now.ms += 2000
  await upstream.getManifest(NAME, TAG)
  assert.deepEqual(short(fake), ['GET /token 200', `GET ${MANIFEST} 200`])
})

test('many who ask at once cause one token', async (t) => {
  const { fake, upstream } = await start(t, { kind: 'token' })
  await upstream.getManifest(OTHER, TAG)
  fake.transcript.take()
  await Promise.all(Array.from({ length: 8 }, () => upstream.getManifest(NAME, TAG)))
  assert.equal(short(fake).filter((line) => line.startsWith('GET /token')).length, 1)
})

test('of several challenges the one for tokens is taken', async (t) => {
  const { upstream } = await start(t, { kind: 'token', otherChallenges: ['Negotiate', 'Basic realm="a, b"'] })
  await upstream.getManifest(NAME, TAG)
})

test('a 401 throws a token away and asks for one new one, at most once a minute', async (t) => {
  const { fake, client, upstream } = await start(t, { kind: 'token', expiresInSeconds: 3600 })
  await upstream.getManifest(NAME, TAG)
  fake.transcript.take()
  const renewed = [`GET ${MANIFEST} 401`, 'GET /token 200', `GET ${MANIFEST} 200`]
  fake.authority.revokeTokens()
  await upstream.getManifest(NAME, TAG)
  assert.deepEqual(short(fake), renewed)

  fake.authority.revokeTokens()
  await assertFails(upstream.getManifest(NAME, TAG), 'denied')
  assert.deepEqual(short(fake), [`GET ${MANIFEST} 401`])
  client.now.ms += 60_000
  await upstream.getManifest(NAME, TAG)
  assert.deepEqual(short(fake), renewed)
})

test('401 and 403 for ever are a refusal after one fresh token', async (t) => {
  for (const status of [401, 403]) {
    const { fake, upstream } = await start(t, { kind: 'token', expiresInSeconds: 3600 })
    await upstream.getManifest(NAME, TAG)
    fake.transcript.take()
    const challenge = `Bearer realm="${fake.url}/token",service="fake-upstream"`
    fake.quirk('/v2/*', { status, headers: { 'www-authenticate': challenge } })
    await assertFails(upstream.getManifest(NAME, TAG), 'denied')
    const lines = short(fake)
    assert.equal(lines.filter((line) => line.startsWith('GET /token')).length, 1)
    assert.ok(lines.length <= 4, lines.join('\n'))
    await assertFails(upstream.getManifest(NAME, TAG), 'denied')
    assert.deepEqual(short(fake), [`GET ${MANIFEST} ${status}`])
  }
})

test('credentials go to the realm in UTF-8, and never to the registry that wants tokens', async (t) => {
  const { fake, upstream } = await start(t, { kind: 'token', login: LOGIN }, WITH_PASSWORD)
  await upstream.getManifest(NAME, TAG)
  const sent = fake.transcript.entries.map((entry) => entry.headers.authorization)
  assert.deepEqual(sent.slice(0, 2), [undefined, BASIC])
  assert.match(sent[2] ?? '', /^Bearer t-/)
})

test('wrong credentials are a refusal that the status shows, once', async (t) => {
  const { client, upstream } = await start(t, { kind: 'token', login: LOGIN }, { ...WITH_PASSWORD, password: 'wrong' })
  const error = await assertFails(upstream.getManifest(NAME, TAG), 'denied')
  assert.ok(!error.message.includes('wrong'))
  await assertFails(upstream.getManifest(NAME, TAG), 'denied')
  assert.equal(upstream.state().credentialsRefusedSinceMs, client.now.ms)
  assert.equal(client.events.filter((event) => event.event === 'credentials_refused').length, 1)
})

test('without credentials a token service that wants some is a refusal, soon asked again but not at once', async (t) => {
  const { fake, client, upstream } = await start(t, { kind: 'token', login: LOGIN })
  await assertFails(upstream.getManifest(NAME, TAG), 'denied')
  fake.transcript.take()
  await assertFails(upstream.getManifest(NAME, TAG), 'denied')
  assert.deepEqual(short(fake), [])
  client.now.ms += 10_000
  await assertFails(upstream.getManifest(NAME, TAG), 'denied')
  assert.deepEqual(short(fake), ['GET /token 401'])
  assert.equal(upstream.state().credentialsRefusedSinceMs, undefined)
})

test('Basic is sent where it is asked for, and then at once', async (t) => {
  const { fake, upstream } = await start(t, { kind: 'basic', login: LOGIN }, WITH_PASSWORD)
  await upstream.getManifest(NAME, TAG)
  await upstream.getManifest(OTHER, TAG)
  assert.deepEqual(
    fake.transcript.entries.map((entry) => entry.headers.authorization),
    [undefined, BASIC, BASIC],
  )
})

test('Basic without credentials, or with wrong ones, is a refusal', async (t) => {
  const anonymous = await start(t, { kind: 'basic', login: LOGIN })
  await assertFails(anonymous.upstream.getManifest(NAME, TAG), 'denied')
  const wrong = await start(t, { kind: 'basic', login: LOGIN }, { ...WITH_PASSWORD, password: 'x' })
  await assertFails(wrong.upstream.getManifest(NAME, TAG), 'denied')
  assert.notEqual(wrong.upstream.state().credentialsRefusedSinceMs, undefined)
  wrong.fake.authority.settings = { kind: 'basic', login: { username: 'robot', password: 'x' } }
  await wrong.upstream.getManifest(NAME, TAG)
  assert.equal(wrong.upstream.state().credentialsRefusedSinceMs, undefined)
})

for (const kind of ['basic', 'token'] as const) {
  test(`a password in a file is read again when ${kind} authentication refuses it`, async (t) => {
    using folder = mkdtempDisposableSync(join(tmpdir(), 'entrepot-'))
    const path = join(folder.path, 'password')
    await writeFile(path, 'first\n')
    const login = (password: string) => ({ kind, login: { username: 'robot', password } })
    const { fake, client, upstream } = await start(t, login('first'), { kind: 'file', username: 'robot', path })
    await upstream.getManifest(NAME, TAG)
    fake.authority.settings = login('second')
    fake.authority.revokeTokens()
    client.now.ms += 61_000
    await writeFile(path, 'second')
    await upstream.getManifest(NAME, TAG)
  })
}

test('a realm on a foreign domain is asked without the credentials, and the refusal names the setting', async (t) => {
  const foreign = await startFakeUpstream(
    t,
    {},
    { address: '127.0.0.2', authentication: { kind: 'token', login: LOGIN } },
  )
  const realm = `${foreign.url}/token`
  const { upstream } = await start(t, { kind: 'token', login: LOGIN, realm }, WITH_PASSWORD)
  const error = await assertFails(upstream.getManifest(NAME, TAG), 'denied')
  assert.match(error.message, /UPSTREAM_REALM_HOSTS/)
  assert.deepEqual(
    foreign.transcript.entries.map((entry) => entry.headers.authorization),
    [undefined],
  )
})

test('a realm at a refused address is not contacted', async (t) => {
  for (const realm of ['http://10.0.0.1/token', 'http://[::1]/token', 'http://169.254.169.254/token']) {
    const { upstream } = await start(t, { kind: 'token', realm })
    const error = await assertFails(upstream.getManifest(NAME, TAG), 'unreachable')
    assert.match(error.message, /SSRF_ALLOWED_HOSTS/)
  }
})

test('a realm that is no address, or holds credentials, is refused', async (t) => {
  for (const realm of ['', '/token', 'file:///etc/passwd', 'http://a:b@127.0.0.1/token']) {
    const { upstream } = await start(t, { kind: 'token', realm })
    await assertFails(upstream.getManifest(NAME, TAG), 'protocol')
  }
})

test('what goes wrong at the token service is no outage of the registry', async (t) => {
  const { fake, client, upstream } = await start(t, { kind: 'token' })
  const rows = [
    [{ status: 403 }, 'denied'],
    [{ status: 500 }, 'server_error'],
    [{ status: 503 }, 'server_error'],
    [{ status: 418 }, 'protocol'],
    [{ reset: true }, 'unreachable'],
    [{ htmlInsteadOfJson: true }, 'protocol'],
    [{ redirectLoop: true }, 'protocol'],
  ] as const
  for (const [quirks, failure] of rows) {
    const off = fake.quirk('/token', quirks)
    await assertFails(upstream.getManifest(NAME, TAG), failure)
    off()
    client.now.ms += 10_000
  }
  await upstream.getManifest(NAME, TAG)
})

test('a token service that says 429 is left alone until it may be asked again', async (t) => {
  const { fake, client, upstream } = await start(t, { kind: 'token' })
  fake.quirk('/token', { status: 429, retryAfter: '20' }, 1)
  const error = await assertFails(upstream.getManifest(NAME, TAG), 'rate_limited')
  assert.equal(error.retryAfterMs, 20_000)
  fake.transcript.take()
  await assertFails(upstream.getManifest(NAME, TAG), 'rate_limited')
  assert.deepEqual(short(fake), [])
  client.now.ms += 20_000
  await upstream.getManifest(NAME, TAG)
})
