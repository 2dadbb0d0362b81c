import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { decodeJwt, SignJWT } from 'jose'
import { type ApiUnderTest, basic, HOSTNAME, PASSWORD, startApi } from '../../../test/api/start-api.ts'
import { openRegistryTokens } from '../../admin/registry-tokens.ts'
import { RegistryError } from '../../errors.ts'
import { Transfers } from '../../registry/transfers.ts'

async function startWithRepositories(t: Parameters<typeof startApi>[0]): Promise<ApiUnderTest> {
  const api = await startApi(t)
  await api.initialize()
  for (const username of ['owner', 'other']) await api.createUser(username)
  for (const name of ['cache', 'second']) await api.createOrganization(name, 'owner')
  return api
}

type Access = { type: string; name: string; actions: string[] }[]

async function tokenFor(api: ApiUnderTest, query: string, as?: string): Promise<{ token: string; access: Access }> {
  const answer = await api.send({ method: 'GET', path: `/v2/auth${query}`, ...(as === undefined ? {} : { as }) })
  assert.equal(answer.statusCode, 200, answer.body)
  const { token } = answer.json()
  return { token, access: decodeJwt<{ access: Access }>(token).access }
}

const pull = (name: string) => ({ type: 'repository', name, actions: ['pull'] })

test('a token says what the protocol wants, and lives for five minutes', async (t) => {
  const api = await startWithRepositories(t)
  const path = `/v2/auth?service=${HOSTNAME}&scope=repository:cache/library/alpine:pull&account=owner&offline_token=1`
  const answer = await api.send({ method: 'GET', path, as: 'owner' })
  const body = answer.json()
  assert.deepEqual(Object.keys(body).sort(), ['access_token', 'expires_in', 'issued_at', 'scope', 'token'])
  assert.equal(body.token, body.access_token)
  assert.equal(body.expires_in, 300)
  assert.equal(body.issued_at, '2030-01-01T00:00:00.000Z')
  assert.equal(body.scope, 'repository:cache/library/alpine:pull')
  assert.equal(answer.headers['cache-control'], 'no-store')
  const claims = decodeJwt(body.token)
  assert.equal(claims.aud, HOSTNAME)
  assert.equal(claims.iss, HOSTNAME)
  assert.equal(claims.sub, 'owner')
  assert.equal((claims.exp ?? 0) - (claims.iat ?? 0), 300)
})

test("only what the principal may is granted: never a push, never a stranger's organization", async (t) => {
  const api = await startWithRepositories(t)
  const scopes =
    '?scope=repository:cache/a:pull,push%20repository:second/b/c:*&scope=repository:none/x:pull&scope=registry:catalog:*'
  const owner = await tokenFor(api, scopes, 'owner')
  assert.deepEqual(owner.access, [
    pull('cache/a'),
    pull('second/b/c'),
    { type: 'registry', name: 'catalog', actions: ['*'] },
  ])
  assert.deepEqual((await tokenFor(api, '?scope=repository:cache/a:push,delete', 'owner')).access, [])
  assert.deepEqual(
    (await tokenFor(api, scopes, 'other')).access.map(({ type }) => type),
    ['registry'],
  )
  assert.deepEqual(
    (await tokenFor(api, scopes)).access.map(({ type }) => type),
    ['registry'],
  )
  assert.deepEqual((await tokenFor(api, '?scope=repository(plugin):cache/a:pull', 'admin')).access, [pull('cache/a')])
  assert.deepEqual((await tokenFor(api, '', 'owner')).access, [])
})

test('what is no scope, or no name, is not granted', async (t) => {
  const api = await startWithRepositories(t)
  for (const scope of [
    'x',
    ':::',
    'repository:cache:pull',
    'repository:cache/:pull',
    'repository:cache/../second/a:pull',
    'repository:cache/A:pull',
    'repository:/a:pull',
    'repository:cache/a\r\nX:pull',
    'repository:cache/a\0:pull',
    `repository:cache/${'a'.repeat(300)}:pull`,
  ]) {
    assert.deepEqual((await tokenFor(api, `?scope=${encodeURIComponent(scope)}`, 'owner')).access, [], scope)
  }
  const many = Array.from({ length: 21 }, () => 'repository:cache/a:pull').join('%20')
  assert.equal((await api.send({ method: 'GET', path: `/v2/auth?scope=${many}`, as: 'owner' })).statusCode, 400)
})

test('an organization that allows anonymous pulls grants them to all, until the switch or the feature is off', async (t) => {
  const api = await startWithRepositories(t)
  const query = '?scope=repository:cache/a:pull'
  const allow = (anonymous_pulls: boolean) =>
    api.send({ method: 'PUT', path: '/api/v1/organization/cache', as: 'owner', body: { anonymous_pulls } })
  await allow(true)
  assert.deepEqual((await tokenFor(api, query)).access, [pull('cache/a')])
  assert.deepEqual((await tokenFor(api, query, 'other')).access, [pull('cache/a')])
  await allow(false)
  assert.deepEqual((await tokenFor(api, query)).access, [])
})

test('the password grant of POST gives the same token', async (t) => {
  const api = await startWithRepositories(t)
  const post = (fields: Record<string, string>) =>
    api.send({
      method: 'POST',
      path: '/v2/auth',
      payload: new URLSearchParams(fields).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    })
  const form = {
    grant_type: 'password',
    username: 'owner',
    password: PASSWORD,
    service: HOSTNAME,
    client_id: 'containerd',
  }
  const given = await post({ ...form, scope: 'repository:cache/a:pull repository:second/b:pull,push' })
  assert.equal(given.statusCode, 200)
  assert.deepEqual(decodeJwt<{ access: Access }>(given.json().access_token).access, [pull('cache/a'), pull('second/b')])
  assert.equal((await post({ ...form, password: 'wrong password' })).statusCode, 401)
  assert.equal((await post({ ...form, grant_type: 'refresh_token' })).statusCode, 400)
  assert.equal((await post({ grant_type: 'password' })).statusCode, 400)
  assert.equal((await post({ ...form, scope: 'x'.repeat(70_000) })).statusCode, 413)
})

test("wrong credentials are 401 in the spec's JSON, and a registry token is none", async (t) => {
  const api = await startWithRepositories(t)
  const { token } = await tokenFor(api, '?scope=repository:cache/a:pull', 'owner')
  for (const as of [
    basic('owner', 'wrong password'),
    basic('nobody', PASSWORD),
    `Bearer ${token}`,
    'Digest x',
    basic('$oauthtoken', 'x'),
  ]) {
    const answer = await api.send({ method: 'GET', path: '/v2/auth?scope=repository:second/b:pull', as })
    assert.equal(answer.statusCode, 401)
    assert.equal(answer.json().errors[0].code, 'UNAUTHORIZED')
    assert.match(String(answer.headers['www-authenticate']), /^Basic realm=/)
  }
})

test("other methods and other bodies are refused in the spec's JSON", async (t) => {
  const api = await startWithRepositories(t)
  const put = await api.send({
    method: 'PUT',
    path: '/v2/auth',
    payload: 'x',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
  assert.equal(put.statusCode, 405)
  assert.equal(put.json().errors[0].code, 'UNSUPPORTED')
  const json = await api.send({ method: 'POST', path: '/v2/auth', body: { grant_type: 'password' } })
  assert.equal(json.statusCode, 400)
  assert.equal(json.json().errors[0].code, 'UNSUPPORTED')
})

test('an access token is a password under $oauthtoken, and pulls only with a repository scope', async (t) => {
  const api = await startWithRepositories(t)
  const { id } = await api.metadata.db
    .selectFrom('account')
    .select('id')
    .where('username', '=', 'owner')
    .executeTakeFirstOrThrow()
  const create = (scope: 'repo:read' | 'org:admin') =>
    api.admin.accessTokens.create(api.metadata.db, { accountId: id, title: 't', scopes: [scope] })
  const query = '?scope=repository:cache/a:pull'
  assert.deepEqual((await tokenFor(api, query, basic('$oauthtoken', await create('repo:read')))).access, [
    pull('cache/a'),
  ])
  const narrow = basic('$oauthtoken', await create('org:admin'))
  assert.deepEqual((await tokenFor(api, query, narrow)).access, [])
  assert.equal((await api.admin.authenticator.authenticate(narrow, '192.0.2.1')).grants?.size, 0)
})

test('a registry token is an identity with its grants, verified once and then recalled', async (t) => {
  const api = await startWithRepositories(t)
  const { token } = await tokenFor(api, '?scope=repository:cache/a:pull&scope=registry:catalog:*', 'owner')
  const header = `Bearer ${token}`
  const { authenticator } = api.admin
  assert.equal(authenticator.recall(header), undefined)
  const identity = await authenticator.authenticate(header, '192.0.2.1')
  assert.equal(identity.principal.kind === 'account' && identity.principal.username, 'owner')
  assert.deepEqual(identity.grants?.get('cache/a'), ['pull'])
  assert.deepEqual(identity.grants?.get('registry:catalog'), ['*'])
  assert.equal(identity.grants?.get('second/b'), undefined)
  assert.equal(authenticator.recall(header), identity)
  api.time.nowMs += 300_000
  assert.equal(authenticator.recall(header), undefined)
  await assert.rejects(authenticator.authenticate(header, '192.0.2.1'), isUnauthorized)
})

test('Basic is recalled for five minutes, until the account changes', async (t) => {
  const api = await startWithRepositories(t)
  const { authenticator } = api.admin
  const header = basic('owner', PASSWORD)
  await authenticator.authenticate(header, '192.0.2.1')
  assert.equal(authenticator.recall(header)?.grants, undefined)
  assert.equal(authenticator.recall(header)?.principal.kind, 'account')
  assert.equal(authenticator.recall(basic('owner', 'wrong password')), undefined)
  api.admin.epoch.advance()
  assert.equal(authenticator.recall(header), undefined)
  await authenticator.authenticate(header, '192.0.2.1')
  api.time.nowMs += 300_000
  assert.equal(authenticator.recall(header), undefined)
})

test('a disabled, deleted or renamed account loses its running token at once', async (t) => {
  const api = await startWithRepositories(t)
  const { authenticator, permission } = api.admin
  const header = `Bearer ${(await tokenFor(api, '?scope=repository:cache/a:pull', 'owner')).token}`
  const { principal } = await authenticator.authenticate(header, '192.0.2.1')
  assert.equal(await permission.canPull(principal, 'cache'), true)
  assert.equal(permission.recall(principal, 'cache'), true)
  const owner = api.metadata.db.updateTable('account').where('username', '=', 'owner')
  await owner.set({ is_enabled: 0 }).execute()
  api.admin.epoch.advance()
  assert.equal(authenticator.recall(header), undefined)
  await assert.rejects(authenticator.authenticate(header, '192.0.2.1'), isUnauthorized)
  assert.equal(permission.recall(principal, 'cache'), undefined)
  assert.equal(await permission.canPull(principal, 'cache'), false)
  await owner.set({ is_enabled: 1, username: 'somebody-else' }).execute()
  api.admin.epoch.advance()
  await assert.rejects(authenticator.authenticate(header, '192.0.2.1'), isUnauthorized)
  assert.equal(await permission.canPull(principal, 'cache'), false)
})

test('who may pull: members, superusers, auditors; nobody from an organization that is gone', async (t) => {
  const api = await startWithRepositories(t)
  await api.createUser('auditor')
  const can = async (username: string, organization = 'cache') => {
    const { principal } = await api.admin.authenticator.authenticate(basic(username, PASSWORD), '192.0.2.1')
    return api.admin.permission.canPull(principal, organization)
  }
  assert.deepEqual(
    [await can('owner'), await can('other'), await can('admin'), await can('auditor')],
    [true, false, true, true],
  )
  for (const name of ['none', '', '../cache', 'CACHE', 'deleted:1', 'a\0b'])
    assert.equal(await can('admin', name), false)
  await api.send({ method: 'DELETE', path: '/api/v1/organization/cache', as: 'owner' })
  assert.deepEqual([await can('owner'), await can('admin')], [false, false])
})

test('a token survives a restart, since its key is kept', async (t) => {
  const api = await startWithRepositories(t)
  const { token } = await tokenFor(api, '?scope=repository:cache/a:pull', 'owner')
  const again = await openRegistryTokens({ ...contextOf(api), secretBox: api.secretBox })
  assert.deepEqual((await again.verify(token))?.grants.get('cache/a'), ['pull'])
  const stored = await api.metadata.db
    .selectFrom('instance')
    .selectAll()
    .where('key', '=', 'registry_token_key')
    .execute()
  assert.equal(stored.length, 1)
})

/** Forgeries, each from a good token's claims. `key` is the real signing key, which no attacker has. */
const FORGERIES: readonly [string, (claims: Record<string, unknown>, key: Uint8Array) => Promise<string> | string][] = [
  ['alg none', (claims) => `${encode({ alg: 'none', typ: 'JWT' })}.${encode(claims)}.`],
  ['alg none with a signature', (claims) => `${encode({ alg: 'none', typ: 'JWT' })}.${encode(claims)}.AAAA`],
  ['another key', (claims) => sign(claims, Buffer.alloc(32, 1))],
  ['an empty key', (claims) => hmac(claims, Buffer.alloc(0))],
  ['the hostname as a key', (claims) => hmac(claims, Buffer.from(HOSTNAME))],
  ['another algorithm', (claims, key) => sign(claims, key, 'HS512')],
  ['another type', (claims, key) => sign(claims, key, 'HS256', 'at+jwt')],
  ['another audience', (claims, key) => sign({ ...claims, aud: 'other.test' }, key)],
  ['another issuer', (claims, key) => sign({ ...claims, iss: 'other.test' }, key)],
  ['expired', (claims, key) => sign({ ...claims, exp: Number(claims['iat']) }, key)],
  ['not yet', (claims, key) => sign({ ...claims, nbf: Number(claims['nbf']) + 60 }, key)],
  ['issued long ago', (claims, key) => sign({ ...claims, iat: Number(claims['iat']) - 3600 }, key)],
  ['issued in the future', (claims, key) => sign({ ...claims, iat: Number(claims['iat']) + 60 }, key)],
  ['without an end', (claims, key) => sign({ ...claims, exp: undefined }, key)],
  ['without access', (claims, key) => sign({ ...claims, access: undefined }, key)],
  ['with malformed access', (claims, key) => sign({ ...claims, access: [{ type: 'repository' }] }, key)],
  ['of an account that is not there', (claims, key) => sign({ ...claims, account_id: 999 }, key)],
  ['of another name', (claims, key) => sign({ ...claims, sub: 'admin' }, key)],
]

test('a token that is confused or forged opens nothing', async (t) => {
  const api = await startWithRepositories(t)
  const { token } = await tokenFor(api, '?scope=repository:cache/a:pull', 'owner')
  const { value } = await api.metadata.db
    .selectFrom('instance')
    .select('value')
    .where('key', '=', 'registry_token_key')
    .executeTakeFirstOrThrow()
  const key = Buffer.from(api.secretBox.open(value, 'instance:registry_token_key'), 'base64url')
  const claims = decodeJwt(token)
  const authenticate = (forged: string) => api.admin.authenticator.authenticate(`Bearer ${forged}`, '192.0.2.1')
  await authenticate(await sign(claims, key)) // The forger's tools work.
  for (const [how, forge] of FORGERIES) {
    await assert.rejects(authenticate(await forge(claims, key)), isUnauthorized, how)
  }
  const [header, payload, signature] = token.split('.')
  const widened = encode({ ...claims, access: [pull('second/b')] })
  for (const forged of [
    `${header}.${widened}.${signature}`,
    `${header}.${payload}.`,
    `${header}.${payload}`,
    token.slice(0, -4),
    `${token}.x`,
    'a.b.c',
    '',
  ]) {
    await assert.rejects(authenticate(forged), isUnauthorized)
  }
  const accessToken = await api.admin.accessTokens.create(api.metadata.db, {
    accountId: 1,
    title: 't',
    scopes: ['repo:read'],
  })
  await assert.rejects(authenticate(accessToken), isUnauthorized)
  const asApi = await api.send({ method: 'GET', path: '/api/v1/user/', as: `Bearer ${token}` })
  assert.equal(asApi.statusCode, 401)
})

function isUnauthorized(error: unknown): boolean {
  return error instanceof RegistryError && error.case === 'UNAUTHORIZED'
}

function contextOf(api: ApiUnderTest) {
  return {
    metadata: api.metadata,
    clock: () => api.time.nowMs,
    settings: api.admin.settings,
    setupToken: undefined,
    probeUpstream: api.probe,
    refuseUpstreamAddress: () => undefined,
    onOrganizationChange: () => {},
    onLimitChange: () => undefined,
    transfers: new Transfers(),
    verification: { start: () => false, state: () => assert.fail(), cancel: async () => {} },
    report: () => {},
    epoch: api.admin.epoch,
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function sign(claims: Record<string, unknown>, key: Uint8Array, alg = 'HS256', typ = 'JWT'): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg, typ }).sign(alg === 'HS512' ? Buffer.concat([key, key]) : key)
}

/** By hand, since no library signs with a key this short. */
function hmac(claims: Record<string, unknown>, key: Uint8Array): string {
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`
}
