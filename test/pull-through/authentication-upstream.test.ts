/** DESIGN part 4, *Upstream authentication*. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { image } from '../fakes/content.ts'
import type { FakeAuthentication } from '../fakes/fake-authentication.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import type { Cache, CacheOptions } from './cache.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot({ FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false })
})
after(() => entrepot.stop())

const v1 = image({ seed: 'v1' })
const layer = v1.layers[0]?.digest ?? ''
const tag = 'library/alpine/manifests/3.20'
const login = { username: 'ann', password: 'secret' }
const tokenPath = '/token?scope=repository%3Alibrary%2Falpine%3Apull&service=fake-upstream'

async function cacheOf(
  t: Parameters<Entrepot['cache']>[0],
  authentication: FakeAuthentication,
  options: CacheOptions = {},
): Promise<Cache> {
  return entrepot.cache(
    t,
    { 'library/alpine': { '3.20': v1, other: image({ seed: 'v2' }) } },
    { authentication, ...options },
  )
}

/** Lines without the order of a token request's query, and with `auth` where a request carried credentials. */
function linesOf(cache: Cache): string[] {
  const lines = cache.upstream.transcript.entries.map(({ method, target, status, headers }) => {
    const url = new URL(target, 'http://upstream')
    if (url.pathname === '/token') url.searchParams.sort()
    const scheme = headers.authorization?.split(' ')[0]
    return `${method} ${url.pathname}${url.search} ${status}${scheme === undefined ? '' : ` ${scheme}`}`
  })
  cache.upstream.transcript.take()
  return lines
}

for (const field of ['token', 'access_token', 'both'] as const) {
  test(`an anonymous token (${field}) is asked for once, and remembered with its challenge`, async (t) => {
    const cache = await cacheOf(t, { kind: 'token', field, expiresInSeconds: 300 })
    assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
    assertServed(await cache.get('library/alpine/manifests/other'), {
      outcome: 'miss',
      bytes: image({ seed: 'v2' }).bytes,
    })
    await cache.get(`library/alpine/blobs/${layer}`)
    assert.deepEqual(linesOf(cache), [
      `GET /v2/${tag} 401`,
      `GET ${tokenPath} 200`,
      `GET /v2/${tag} 200 Bearer`,
      'GET /v2/library/alpine/manifests/other 200 Bearer',
      `GET /v2/library/alpine/blobs/${layer} 200 Bearer`,
    ])
  })
}

test('a token is asked for with the organization’s credentials', async (t) => {
  const cache = await cacheOf(t, { kind: 'token', login }, { login })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
  const lines = linesOf(cache)
  assert.equal(lines.length, 3)
  assert.match(lines[1] ?? '', /^GET \/token\?.* 200 Basic$/)
})

test('Basic is answered with Basic', async (t) => {
  const cache = await cacheOf(t, { kind: 'basic', login }, { login })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
  assert.deepEqual(linesOf(cache), [`GET /v2/${tag} 401`, `GET /v2/${tag} 200 Basic`, `HEAD /v2/${tag} 200 Basic`])
})

test('wrong credentials are the organization’s fault, not the client’s: 403', async (t) => {
  const cache = await cacheOf(t, { kind: 'basic', login }, { login: { username: 'ann', password: 'wrong' } })
  assertRefused(await cache.get(tag), 403, 'DENIED')
  const token = await cacheOf(t, { kind: 'token', login }, { login: { username: 'ann', password: 'wrong' } })
  assertRefused(await token.get(tag), 403, 'DENIED')
})

test('of several challenges the one that is understood is taken', async (t) => {
  const cache = await cacheOf(t, { kind: 'token', otherChallenges: ['Negotiate', 'Digest realm="a, b", qop="auth"'] })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
})

test('a token is renewed before it ends', async (t) => {
  const cache = await cacheOf(t, { kind: 'token', expiresInSeconds: 300 })
  await cache.get(tag)
  linesOf(cache)
  await entrepot.clock.advance(299_000)
  cache.upstream.authority.revokeTokens()
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
  assert.deepEqual(linesOf(cache), [`GET ${tokenPath} 200`, `HEAD /v2/${tag} 200 Bearer`])
})

test('a token without expires_in lives 60 s (the protocol’s default)', async (t) => {
  const cache = await cacheOf(t, { kind: 'token' })
  await cache.get(tag)
  linesOf(cache)
  await entrepot.clock.advance(20_000)
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
  assert.deepEqual(linesOf(cache), [`HEAD /v2/${tag} 200 Bearer`])
  await entrepot.clock.advance(41_000)
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
  assert.deepEqual(linesOf(cache), [`GET ${tokenPath} 200`, `HEAD /v2/${tag} 200 Bearer`])
})

test('a 401 throws the token away and asks for one new one, at most once a minute', async (t) => {
  const cache = await cacheOf(t, { kind: 'token', expiresInSeconds: 3600 })
  await cache.get(tag)
  linesOf(cache)
  cache.upstream.authority.revokeTokens()
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
  assert.deepEqual(linesOf(cache), [`HEAD /v2/${tag} 401 Bearer`, `GET ${tokenPath} 200`, `HEAD /v2/${tag} 200 Bearer`])
  const challenge = `Bearer realm="${cache.upstream.url}/token",service="fake-upstream",scope="repository:library/alpine:pull"`
  cache.upstream.quirk('/v2/*', { status: 401, headers: { 'www-authenticate': challenge } })
  await entrepot.clock.advance(1_000)
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  assert.deepEqual(
    linesOf(cache).filter((line) => line.includes('/token')),
    [],
  )
  await entrepot.clock.advance(61_000)
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  assertServed(await cache.get(tag), { outcome: 'stale', bytes: v1.bytes })
  assert.equal(linesOf(cache).filter((line) => line.includes('/token')).length, 1)
})

test('many at once ask for one token', async (t) => {
  const cache = await cacheOf(t, { kind: 'token', expiresInSeconds: 300 })
  const paths = [tag, 'library/alpine/manifests/other', `library/alpine/manifests/${v1.digest}`]
  await Promise.all(paths.map((path) => cache.get(path)))
  assert.equal(linesOf(cache).filter((line) => line.startsWith('GET /token')).length, 1)
})

test('tokens are per organization: one’s credentials are not used for another', async (t) => {
  const first = await cacheOf(t, { kind: 'token', login }, { login })
  assertServed(await first.get(tag), { outcome: 'miss', bytes: v1.bytes })
  const second = await entrepot.cache(t, {}, { upstream: first.upstream })
  assertRefused(await second.get(tag), 403, 'DENIED')
})

test('Basic credentials do not go to a realm on another host', async (t) => {
  const foreign = await startFakeUpstream(t, {}, { authentication: { kind: 'token', login } })
  const realm = `http://localhost:${new URL(foreign.url).port}/token`
  const cache = await cacheOf(t, { kind: 'token', login, realm }, { login })
  assertRefused(await cache.get(tag), 403, 'DENIED')
  assert.ok(foreign.transcript.entries.every(({ headers }) => headers.authorization === undefined))
})

test('Basic credentials do not go to a realm over http when the upstream speaks TLS', async (t) => {
  const foreign = await startFakeUpstream(t, {}, { authentication: { kind: 'token', login } })
  const cache = await cacheOf(t, { kind: 'token', login, realm: `${foreign.url}/token` }, { login, tls: true })
  assert.ok([403, 502].includes((await cache.get(tag)).status))
  assert.deepEqual(foreign.transcript.take(), [])
})

test('on a redirect Authorization is dropped when the port differs, and kept when nothing does', async (t) => {
  const other = await startFakeUpstream(t, { 'library/alpine': { '3.20': v1 } })
  const cache = await cacheOf(t, { kind: 'basic', login }, { login })
  await cache.get(tag)
  cache.upstream.transcript.take()
  const end = cache.upstream.quirk(`GET /v2/library/alpine/blobs/*`, {
    redirectTo: (target) => `${other.url}${target}`,
  })
  await cache.get(`library/alpine/blobs/${layer}`)
  assert.deepEqual(other.transcript.take(['Authorization']), [`GET /v2/library/alpine/blobs/${layer} 200`])
  end()
  cache.upstream.repository('moved').add(v1)
  cache.upstream.quirk(`GET /v2/library/alpine/blobs/*`, {
    redirectTo: (target) => target.replace('library/alpine', 'moved'),
  })
  const config = v1.config?.digest ?? ''
  assert.equal((await cache.get(`library/alpine/blobs/${config}`)).status, 200)
})

test('a token endpoint that fails is an outage, its garbage too', async (t) => {
  for (const quirks of [{ status: 503 }, { htmlInsteadOfJson: true }, { reset: true }] as const) {
    const cache = await cacheOf(t, { kind: 'token' })
    cache.upstream.quirk('/token', quirks)
    assertRefused(await cache.get(tag), 502, 'UNAVAILABLE')
  }
})

test('a token endpoint that says 401 or 403 denies; 429 limits', async (t) => {
  for (const [status, ours, code] of [
    [401, 403, 'DENIED'],
    [403, 403, 'DENIED'],
    [429, 429, 'TOOMANYREQUESTS'],
  ] as const) {
    const cache = await cacheOf(t, { kind: 'token' })
    cache.upstream.quirk('/token', { status })
    assertRefused(await cache.get(tag), ours, code)
  }
})

test('no error shows the upstream’s password', async (t) => {
  const cache = await cacheOf(t, { kind: 'token', login }, { login: { username: 'ann', password: 'hunter2-hunter2' } })
  const answer = await cache.get(tag)
  assert.equal(answer.body.includes('hunter2'), false)
  assert.equal(JSON.stringify(answer.headers).includes('hunter2'), false)
})

test('a password from a file is read again after a 401: credentials that rotate', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-password-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'password')
  await writeFile(file, 'first\n')
  const upstream = await startFakeUpstream(
    t,
    { 'library/alpine': { '3.20': v1 } },
    { authentication: { kind: 'basic', login: { username: 'ann', password: 'first' } } },
  )
  const credential = { registry: upstream.host, username: 'ann', password_file: file, insecure: true }
  const own = await startEntrepot({ UPSTREAM_CREDENTIALS: { rotating: credential } })
  t.after(() => own.stop())
  const cache = await own.cache(t, {}, { upstream, organization: 'rotating' })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
  await writeFile(file, 'second\n')
  upstream.authority.settings = { kind: 'basic', login: { username: 'ann', password: 'second' } }
  await own.clock.advance(61_000)
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
})

test('a password from a command is asked for again after a 401', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-password-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'password')
  await writeFile(file, 'first')
  const upstream = await startFakeUpstream(
    t,
    { 'library/alpine': { '3.20': v1 } },
    { authentication: { kind: 'basic', login: { username: 'ann', password: 'first' } } },
  )
  const credential = { registry: upstream.host, username: 'ann', password_command: ['cat', file], insecure: true }
  const own = await startEntrepot({ UPSTREAM_CREDENTIALS: { rotating: credential } })
  t.after(() => own.stop())
  const cache = await own.cache(t, {}, { upstream, organization: 'rotating' })
  assertServed(await cache.get(tag), { outcome: 'miss', bytes: v1.bytes })
  await writeFile(file, 'second')
  upstream.authority.settings = { kind: 'basic', login: { username: 'ann', password: 'second' } }
  await own.clock.advance(61_000)
  assertServed(await cache.get(tag), { outcome: 'revalidated', bytes: v1.bytes })
})

test('an administrator cannot make the operator’s password go over plain HTTP, nor past a certificate of their own', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-password-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'password'), login.password)
  for (const [tls, kind, fix] of [
    [false, 'basic', /unset "insecure".*UPSTREAM_CREDENTIALS/],
    [false, 'token', /unset "insecure".*UPSTREAM_CREDENTIALS/],
    [true, 'basic', /remove "ca_certificate".*UPSTREAM_CREDENTIALS/],
    [true, 'token', /remove "ca_certificate".*UPSTREAM_CREDENTIALS/],
  ] as const) {
    const upstream = await startFakeUpstream(
      t,
      { 'library/alpine': { '3.20': v1 } },
      { authentication: { kind, login }, tls },
    )
    const credential = { registry: upstream.host, username: 'ann', password_file: join(folder, 'password') }
    const own = await startEntrepot({ UPSTREAM_CREDENTIALS: { attacker: credential } })
    t.after(() => own.stop())
    const cache = await own.cache(t, {}, { upstream, organization: 'attacker' })
    assertRefused(await cache.get(tag), 502, 'UNAVAILABLE', fix)
    assert.ok(upstream.transcript.entries.length > 0, 'it was asked without the password')
    assert.ok(upstream.transcript.entries.every(({ headers }) => headers.authorization === undefined))
  }
})
