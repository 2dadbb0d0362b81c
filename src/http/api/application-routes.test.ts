import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { signedIn } from '../../../test/api/browser.ts'
import { type ApiUnderTest, basic, startApi } from '../../../test/api/start-api.ts'
import { RegistryError } from '../../errors.ts'

const applications = '/api/v1/organization/cache/applications'
const isUnauthorized = (error: unknown) => error instanceof RegistryError && error.case === 'UNAUTHORIZED'

async function startWithOrganizations(t: TestContext): Promise<ApiUnderTest> {
  const api = await startApi(t)
  await api.initialize()
  for (const name of ['ann', 'bob']) await api.createUser(name)
  await api.createOrganization('cache', 'ann')
  await api.createOrganization('theirs', 'bob')
  return api
}

async function createApplication(api: ApiUnderTest, as = 'ann', path = applications): Promise<string> {
  const answer = await api.send({ method: 'POST', path, as, body: { name: 'ci' } })
  assert.equal(answer.statusCode, 200, answer.body)
  return `${path}/${answer.json().client_id}`
}

async function createToken(api: ApiUnderTest, application: string, scope: string, more: object = {}, as = 'ann') {
  const answer = await api.send({ method: 'POST', path: `${application}/tokens`, as, body: { scope, ...more } })
  assert.equal(answer.statusCode, 201, answer.body)
  return answer.json()
}

test('an application is created, seen, changed and deleted as Quay has it', async (t) => {
  const api = await startWithOrganizations(t)
  const path = await createApplication(api)
  const view = (await api.send({ method: 'GET', path, as: 'ann' })).json()
  const { client_id, client_secret, ...rest } = view
  assert.match(client_id, /^[A-Z0-9]{20}$/)
  assert.match(client_secret, /^[\w-]{43}$/)
  assert.deepEqual(rest, { name: 'ci', description: '', application_uri: '', redirect_uri: '', avatar_email: null })
  const body = { name: 'b', description: 'd', application_uri: 'a', redirect_uri: 'r', avatar_email: 'a@example.com' }
  const changed = await api.send({ method: 'PUT', path, as: 'ann', body })
  assert.deepEqual(changed.json(), { ...body, client_id, client_secret })
  const reset = (await api.send({ method: 'POST', path: `${path}/resetclientsecret`, as: 'ann' })).json()
  assert.notEqual(reset.client_secret, client_secret)
  const list = (await api.send({ method: 'GET', path: applications, as: 'ann' })).json()
  assert.deepEqual(list, { applications: [reset] })
  const dump = JSON.stringify(await api.metadata.db.selectFrom('oauth_application').selectAll().execute())
  assert.ok(!dump.includes(reset.client_secret))
  assert.equal((await api.send({ method: 'DELETE', path, as: 'ann' })).statusCode, 204)
  assert.equal((await api.send({ method: 'GET', path, as: 'ann' })).statusCode, 404)
})

test('only administrators see applications, and each organization only its own', async (t) => {
  const api = await startWithOrganizations(t)
  const path = await createApplication(api)
  for (const [as, status] of [
    ['bob', 403],
    [undefined, 401],
  ] as const) {
    const who = as === undefined ? {} : { as }
    for (const method of ['GET', 'PUT', 'DELETE'] as const) {
      const answer = await api.send({ method, path, ...who, ...(method === 'PUT' && { body: { name: 'x' } }) })
      assert.equal(answer.statusCode, status, `${as} ${method}`)
    }
  }
  const elsewhere = path.replace('/cache/', '/theirs/')
  for (const end of ['', '/tokens']) {
    assert.equal((await api.send({ method: 'GET', path: elsewhere + end, as: 'bob' })).statusCode, 404)
  }
  assert.equal((await api.send({ method: 'DELETE', path: elsewhere, as: 'bob' })).statusCode, 404)
})

test('a token is told once, works within its scopes, and as $oauthtoken at the registry', async (t) => {
  const api = await startWithOrganizations(t)
  const path = await createApplication(api)
  const made = await createToken(api, path, 'repo:read user:read', { title: 'pipeline' })
  const { token, ...rest } = made
  assert.match(token, /^[\w-]{43}$/)
  const list = (await api.send({ method: 'GET', path: `${path}/tokens`, as: 'ann' })).json()
  assert.deepEqual(list, { tokens: [rest] })
  assert.deepEqual([rest.title, rest.scope, rest.expiration], ['pipeline', 'repo:read user:read', null])
  const as = `Bearer ${token}`
  assert.equal((await api.send({ method: 'GET', path: '/api/v1/user/', as })).json().username, 'ann')
  for (const [method, where, body] of [
    ['POST', '/api/v1/organization/', { name: 'new' }],
    ['PUT', '/api/v1/organization/cache', { email: 'a@example.com' }],
    ['DELETE', '/api/v1/user/', undefined],
    ['PUT', '/api/v1/user/', { password: 'another long password' }],
    ['GET', '/api/v1/superuser/users/', undefined],
    ['GET', applications, undefined],
  ] as const) {
    const answer = await api.send({ method, path: where, as, ...(body !== undefined && { body }) })
    assert.equal(answer.statusCode, 403, `${method} ${where}`)
  }
  const identity = await api.admin.authenticator.authenticate(basic('$oauthtoken', token), '192.0.2.1')
  assert.equal(identity.grants, undefined)
  assert.equal(await api.admin.permission.canPull(identity.principal, 'cache'), true)
  assert.equal(await api.admin.permission.canPull(identity.principal, 'theirs'), false)
})

test('a token hands on no scope that it does not have itself', async (t) => {
  const api = await startWithOrganizations(t)
  const path = await createApplication(api)
  const { token } = await createToken(api, path, 'org:admin')
  const widen = (scope: string) =>
    api.send({ method: 'POST', path: `${path}/tokens`, as: `Bearer ${token}`, body: { scope } })
  for (const scope of ['super:user', 'user:admin', 'org:admin repo:read']) {
    assert.equal((await widen(scope)).statusCode, 403, scope)
  }
  assert.equal((await widen('org:admin')).statusCode, 201)
})

test('when its creator loses a right, the token does', async (t) => {
  const api = await startWithOrganizations(t)
  const path = await createApplication(api)
  await api.send({ method: 'POST', path: '/api/v1/superuser/takeownership/cache', as: 'admin' })
  const { token } = await createToken(api, path, 'org:admin repo:read')
  const change = () =>
    api.send({ method: 'PUT', path: '/api/v1/organization/cache', as: `Bearer ${token}`, body: { email: null } })
  assert.equal((await change()).statusCode, 200)
  const exchanged = await api.send({
    method: 'GET',
    path: '/v2/auth?scope=repository:cache/a:pull',
    as: basic('$oauthtoken', token),
  })
  const identity = await api.admin.authenticator.authenticate(`Bearer ${exchanged.json().token}`, '192.0.2.1')
  assert.equal(await api.admin.permission.canPull(identity.principal, 'cache'), true)
  await api.metadata.db.deleteFrom('team_member').where('account_id', '=', accountOf(identity.principal)).execute()
  api.admin.epoch.advance()
  assert.equal((await change()).statusCode, 403)
  assert.equal(await api.admin.permission.canPull(identity.principal, 'cache'), false)
  await api.send({ method: 'PUT', path: '/api/v1/superuser/users/ann', as: 'admin', body: { enabled: false } })
  assert.equal((await change()).statusCode, 401)
})

test('a token ends by expiry, revocation, its application and its organization, with what it was exchanged for', async (t) => {
  const api = await startWithOrganizations(t)
  const expires = api.time.nowMs / 1000 + 100
  const ends: readonly [string, object, (path: string, uuid: string) => Promise<unknown>][] = [
    ['expiry', { expires }, async () => (api.time.nowMs += 100_000)],
    ['revocation', {}, (path, uuid) => api.send({ method: 'DELETE', path: `${path}/tokens/${uuid}`, as: 'ann' })],
    ['application', {}, (path) => api.send({ method: 'DELETE', path, as: 'ann' })],
    ['organization', {}, () => api.send({ method: 'DELETE', path: '/api/v1/organization/cache', as: 'ann' })],
  ]
  await api.createOrganization('own', 'ann')
  for (const [how, more, end] of ends) {
    const path = await createApplication(api)
    const { token, uuid } = await createToken(api, path, 'repo:read user:read', more)
    const kept = await createToken(
      api,
      await createApplication(api, 'ann', applications.replace('cache', 'own')),
      'repo:read',
    )
    const headers = []
    for (const code of [token, kept.token]) {
      const answer = await api.send({ method: 'GET', path: '/v2/auth', as: basic('$oauthtoken', code) })
      headers.push(`Bearer ${answer.json().token}`)
    }
    const [registry = '', other = ''] = headers
    for (const header of headers) await api.admin.authenticator.authenticate(header, '192.0.2.1')
    assert.equal((await api.send({ method: 'GET', path: '/api/v1/user/', as: `Bearer ${token}` })).statusCode, 200)
    await end(path, uuid)
    assert.equal(api.admin.authenticator.recall(registry), undefined, how)
    await assert.rejects(api.admin.authenticator.authenticate(registry, '192.0.2.1'), isUnauthorized, how)
    await assert.rejects(api.admin.authenticator.authenticate(basic('$oauthtoken', token), '192.0.2.1'), isUnauthorized)
    assert.equal((await api.send({ method: 'GET', path: '/api/v1/user/', as: `Bearer ${token}` })).statusCode, 401, how)
    await api.admin.authenticator.authenticate(other, '192.0.2.1')
  }
})

test('what a token is asked for with is checked, by its field', async (t) => {
  const api = await startWithOrganizations(t)
  const path = await createApplication(api)
  for (const [body, field] of [
    [{}, 'scope'],
    [{ scope: '' }, 'scope'],
    [{ scope: 'repo:read nonsense' }, 'scope'],
    [{ scope: 'repo:read', expires: 1 }, 'expires'],
    [{ scope: 'repo:read', expires: 'soon' }, 'expires'],
    [{ scope: 'repo:read', title: 'a\0' }, 'title'],
  ] as const) {
    const answer = await api.send({ method: 'POST', path: `${path}/tokens`, as: 'ann', body })
    assert.equal(answer.statusCode, 400)
    assert.ok(answer.json().detail.startsWith(`${field}: `), answer.json().detail)
  }
  for (const uuid of ['0', '-1', 'x', '99999', '1e3', '9'.repeat(40)]) {
    assert.equal((await api.send({ method: 'DELETE', path: `${path}/tokens/${uuid}`, as: 'ann' })).statusCode, 404)
  }
  const browser = await signedIn(api, 'ann')
  api.time.nowMs += 600_000
  assert.equal(await browser.status('POST', `${path}/tokens`, { scope: 'repo:read' }), 401)
})

function accountOf(principal: { kind: string }): number {
  return Number(Reflect.get(principal, 'accountId'))
}
