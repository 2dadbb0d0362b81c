import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { signedIn } from '../../../test/api/browser.ts'
import { type ApiUnderTest, basic, PASSWORD, startApi } from '../../../test/api/start-api.ts'
import { RegistryError } from '../../errors.ts'

const path = '/api/v1/user/apptoken'

async function startWithAnn(t: TestContext, settings: Parameters<typeof startApi>[1] = {}): Promise<ApiUnderTest> {
  const api = await startApi(t, settings)
  await api.initialize()
  for (const name of ['ann', 'bob']) await api.createUser(name)
  await api.createOrganization('cache', 'ann')
  return api
}

async function create(api: ApiUnderTest, as = 'ann', title = 'laptop') {
  const answer = await api.send({ method: 'POST', path, as, body: { title } })
  assert.equal(answer.statusCode, 200, answer.body)
  return answer.json().token
}

const isUnauthorized = (error: unknown) => error instanceof RegistryError && error.case === 'UNAUTHORIZED'

test('an application token is told on creation and by itself, and not in the list', async (t) => {
  const api = await startWithAnn(t)
  const token = await create(api)
  assert.match(token.token_code, /^[\w-]{43}$/)
  const { token_code: code, ...rest } = token
  assert.deepEqual(rest, {
    uuid: token.uuid,
    title: 'laptop',
    last_accessed: null,
    created: 'Tue, 01 Jan 2030 00:00:00 -0000',
    expiration: null,
  })
  const list = await api.send({ method: 'GET', path, as: 'ann' })
  assert.deepEqual(list.json(), { tokens: [rest], only_expiring: false })
  const one = await api.send({ method: 'GET', path: `${path}/${token.uuid}`, as: 'ann' })
  assert.deepEqual(one.json(), { token: { ...rest, token_code: code } })
  const dump = JSON.stringify(await api.metadata.db.selectFrom('app_token').selectAll().execute())
  assert.ok(!dump.includes(code))
})

test("somebody else's token is not there", async (t) => {
  const api = await startWithAnn(t)
  const { uuid } = await create(api)
  for (const as of ['bob', 'admin']) {
    for (const method of ['GET', 'DELETE'] as const) {
      assert.equal((await api.send({ method, path: `${path}/${uuid}`, as })).statusCode, 404, as)
    }
    assert.deepEqual((await api.send({ method: 'GET', path, as })).json().tokens, [])
  }
  for (const hostile of ['x', "' or 1=1", '%00', 'a'.repeat(300)]) {
    const answer = await api.send({ method: 'GET', path: `${path}/${encodeURIComponent(hostile)}`, as: 'ann' })
    assert.equal(answer.statusCode, 404)
  }
})

test('it is a password of the registry for $app alone, and none of the API', async (t) => {
  const api = await startWithAnn(t)
  const { token_code: code } = await create(api)
  const identity = await api.admin.authenticator.authenticate(basic('$app', code), '192.0.2.1')
  assert.deepEqual(identity.principal.kind === 'account' && identity.principal.username, 'ann')
  assert.equal(await api.admin.permission.canPull(identity.principal, 'cache'), true)
  for (const header of [basic('ann', code), basic('$oauthtoken', code), basic('$token', code), `Bearer ${code}`]) {
    await assert.rejects(api.admin.authenticator.authenticate(header, '192.0.2.1'), isUnauthorized, header)
  }
  for (const as of [basic('$app', code), basic('ann', code), basic('$oauthtoken', code), `Bearer ${code}`]) {
    assert.equal((await api.send({ method: 'GET', path: '/api/v1/user/', as })).statusCode, 401)
  }
  const signIn = await (await signedIn(api, 'bob')).signIn('$app', code)
  assert.equal(signIn.statusCode, 403)
  await assert.rejects(api.admin.authenticator.authenticate(basic('$app', PASSWORD), '192.0.2.1'), isUnauthorized)
})

test('its last use is written in batches, and it expires', async (t) => {
  const api = await startWithAnn(t, { appTokenSeconds: 1000 })
  const token = await create(api)
  const header = basic('$app', token.token_code)
  api.time.nowMs += 60_000
  await api.admin.authenticator.authenticate(header, '192.0.2.1')
  const written = () => api.metadata.db.selectFrom('app_token').select('last_used_at').executeTakeFirst()
  assert.equal((await written())?.last_used_at, null)
  const shown = (await api.send({ method: 'GET', path: `${path}/${token.uuid}`, as: 'ann' })).json().token
  assert.equal(shown.last_accessed, 'Tue, 01 Jan 2030 00:01:00 -0000')
  assert.equal(shown.expiration, 'Tue, 01 Jan 2030 00:16:40 -0000')
  await api.admin.flush()
  assert.equal((await written())?.last_used_at, api.time.nowMs)
  const expiring = async () => (await api.send({ method: 'GET', path: `${path}?expiring=true`, as: 'ann' })).json()
  assert.deepEqual([(await expiring()).tokens.length, (await expiring()).only_expiring], [0, true])
  api.time.nowMs += 880_000
  assert.equal((await expiring()).tokens.length, 1)
  assert.notEqual(api.admin.authenticator.recall(header), undefined)
  api.time.nowMs += 60_000
  assert.equal(api.admin.authenticator.recall(header), undefined)
  await assert.rejects(api.admin.authenticator.authenticate(header, '192.0.2.1'), isUnauthorized)
})

test('application tokens need a fresh login, and from a token the scopes that they would hand on', async (t) => {
  const api = await startWithAnn(t)
  const browser = await signedIn(api, 'ann')
  assert.equal(await browser.status('GET', path), 200)
  api.time.nowMs += 600_000
  for (const method of ['GET', 'POST'] as const) {
    const answer = await browser.send({ method, path, ...(method === 'POST' && { body: { title: 'x' } }) })
    assert.deepEqual([answer.statusCode, answer.json().error_type], [401, 'fresh_login_required'])
  }
  const { id: accountId } = await api.metadata.db
    .selectFrom('account')
    .select('id')
    .where('username', '=', 'ann')
    .executeTakeFirstOrThrow()
  for (const [scopes, status] of [
    [['user:admin'], 403],
    [['repo:read', 'user:read'], 403],
    [['repo:read', 'user:admin'], 200],
  ] as const) {
    const token = await api.admin.accessTokens.create(api.metadata.db, { accountId, title: 't', scopes })
    const answer = await api.send({ method: 'POST', path, as: `Bearer ${token}`, body: { title: 'x' } })
    assert.equal(answer.statusCode, status, scopes.join(' '))
  }
})

test('titles are bounded, and the feature can be off', async (t) => {
  const api = await startWithAnn(t)
  for (const title of ['', '  ', 'a'.repeat(256), 'a\0b', 7, null]) {
    const answer = await api.send({ method: 'POST', path, as: 'ann', body: { title } })
    assert.equal(answer.statusCode, 400)
    assert.match(answer.json().detail, /^title: /)
  }
  const off = await startApi(t, { hasAppTokens: false })
  await off.initialize()
  assert.equal((await off.send({ method: 'GET', path, as: 'admin' })).statusCode, 404)
})

test('revoking one ends it, and the registry tokens that it was exchanged for, at once', async (t) => {
  const api = await startWithAnn(t)
  const [token, other] = [await create(api), await create(api, 'ann', 'other')]
  const headers = []
  for (const code of [token.token_code, other.token_code]) {
    const answer = await api.send({
      method: 'GET',
      path: '/v2/auth?scope=repository:cache/a:pull',
      as: basic('$app', code),
    })
    headers.push(`Bearer ${answer.json().token}`)
  }
  for (const header of headers) await api.admin.authenticator.authenticate(header, '192.0.2.1')
  const [first = '', second = ''] = headers
  assert.notEqual(api.admin.authenticator.recall(first), undefined)
  const revoked = await api.send({ method: 'DELETE', path: `${path}/${token.uuid}`, as: 'ann' })
  assert.deepEqual([revoked.statusCode, revoked.body], [204, ''])
  assert.equal(api.admin.authenticator.recall(first), undefined)
  await assert.rejects(api.admin.authenticator.authenticate(first, '192.0.2.1'), isUnauthorized)
  await assert.rejects(
    api.admin.authenticator.authenticate(basic('$app', token.token_code), '192.0.2.1'),
    isUnauthorized,
  )
  await api.admin.authenticator.authenticate(second, '192.0.2.1')
  assert.notEqual(api.admin.authenticator.recall(second), undefined)
})
