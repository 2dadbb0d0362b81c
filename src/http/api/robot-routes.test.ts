import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { type CachedRepository, startWithRepository } from '../../../test/api/cached-repository.ts'
import { type ApiUnderTest, basic, HOSTNAME } from '../../../test/api/start-api.ts'

const robots = '/api/v1/organization/cache/robots'
const scope = '?scope=repository:cache/app/web:pull'

async function makeRobot(api: ApiUnderTest, path = `${robots}/bot`, as = 'owner'): Promise<string> {
  const made = await api.send({
    method: 'PUT',
    path,
    as,
    body: { description: 'pulls', unstructured_metadata: { a: 1 } },
  })
  assert.equal(made.statusCode, 201, made.body)
  return made.json().token
}

/** What the token service grants. */
async function granted(api: ApiUnderTest, username: string, secret: string, query = scope) {
  return api.send({ method: 'GET', path: `/v2/auth${query}`, as: basic(username, secret) })
}

function grant({ api, path }: CachedRepository, kind: string, name: string, role = 'read', as = 'owner') {
  return api.send({
    method: 'PUT',
    path: `${path}/permissions/${kind}/${encodeURIComponent(name)}`,
    as,
    body: { role },
  })
}

test('a robot is made with a token, which administrators see and members do not', async (t) => {
  const { api } = await startWithRepository(t)
  const made = await api.send({ method: 'PUT', path: `${robots}/bot`, as: 'owner' })
  assert.equal(made.statusCode, 201)
  const { token } = made.json()
  assert.match(token, /^[0-9A-F]{64}$/)
  const created = 'Tue, 01 Jan 2030 00:00:00 -0000'
  const listed = { name: 'cache+bot', created, last_accessed: null, description: '' }
  assert.deepEqual(made.json(), { ...listed, token, unstructured_metadata: {} })
  assert.equal((await api.send({ method: 'PUT', path: `${robots}/bot`, as: 'owner' })).statusCode, 400, 'Quay')
  const list = async (query: string, as: string) =>
    (await api.send({ method: 'GET', path: `${robots}${query}`, as })).json().robots
  assert.deepEqual(await list('', 'owner'), [{ ...listed, teams: [], repositories: [], token }])
  assert.deepEqual(await list('?token=false', 'owner'), [{ ...listed, teams: [], repositories: [] }])
  for (const as of ['member', 'auditor']) {
    assert.deepEqual(await list('', as), [{ ...listed, teams: [], repositories: [] }])
  }
  const get = (as: string, end = '') => api.send({ method: 'GET', path: `${robots}/bot${end}`, as })
  assert.equal((await get('owner')).json().token, token)
  assert.equal((await get('auditor')).json().token, undefined)
  assert.equal((await get('auditor', '/credentials')).statusCode, 403)
  for (const as of ['member', 'other']) assert.equal((await get(as)).statusCode, 403)
  const row = await api.metadata.db.selectFrom('account').selectAll().where('username', '=', 'cache+bot').execute()
  assert.equal(JSON.stringify(row).includes(token), false, 'the token is in the database in clear')
})

test('names of robots are short, lower-case and plain; what goes with them is bounded', async (t) => {
  const { api } = await startWithRepository(t)
  for (const name of ['B', 'Bot', '1bot', 'b', 'bot.x', 'bot-x', 'b%C3%B6t', 'a%2Bb', 'a'.repeat(256), 'bot%00']) {
    const answer = await api.send({ method: 'PUT', path: `${robots}/${name}`, as: 'owner' })
    assert.equal(answer.statusCode, 400, name)
  }
  for (const body of [
    { description: 'x'.repeat(256) },
    { unstructured_metadata: 'text' },
    { unstructured_metadata: { a: 'x'.repeat(20_000) } },
  ]) {
    const answer = await api.send({ method: 'PUT', path: `${robots}/bot`, as: 'owner', body })
    assert.equal(answer.statusCode, 400)
    assert.match(answer.json().detail, /^(?:description|unstructured_metadata): /)
  }
  for (const path of [`${robots}/none`, `${robots}/none/permissions`, `${robots}/none/credentials`]) {
    assert.equal((await api.send({ method: 'GET', path, as: 'owner' })).statusCode, 400, 'Quay')
  }
})

test('a robot pulls nothing by itself, everything in a team, and one repository by a permission', async (t) => {
  const cached = await startWithRepository(t)
  const { api } = cached
  const token = await makeRobot(api)
  const accessOf = async (query = scope) => (await granted(api, 'cache+bot', token, query)).json().scope
  assert.equal(await accessOf(), '')
  assert.equal((await grant(cached, 'user', 'cache+bot')).json().is_robot, true)
  assert.equal(await accessOf(), 'repository:cache/app/web:pull')
  assert.equal(await accessOf('?scope=repository:cache/app/other:pull'), '')
  const { permissions } = (await api.send({ method: 'GET', path: `${robots}/bot/permissions`, as: 'owner' })).json()
  assert.deepEqual(permissions, [{ repository: { name: 'app/web', is_public: false }, role: 'read' }])
  const members = '/api/v1/organization/cache/team/pullers/members/cache%2Bbot'
  await api.send({ method: 'PUT', path: members, as: 'owner' })
  assert.equal(await accessOf('?scope=repository:cache/app/other:pull'), 'repository:cache/app/other:pull')
  const [listed] = (await api.send({ method: 'GET', path: `${robots}?permissions=true`, as: 'owner' })).json().robots
  assert.deepEqual([listed.teams[0].name, listed.repositories], ['pullers', ['app/web']])
  await api.send({ method: 'DELETE', path: members, as: 'owner' })
  assert.equal(await accessOf('?scope=repository:cache/app/other:pull'), '')
})

test('a running registry token ends with the robot’s token, permission, self and organization', async (t) => {
  const cached = await startWithRepository(t)
  const { api } = cached
  const { authenticator, permission } = api.admin
  const pulls = async (header: string) => {
    try {
      const { principal } = await authenticator.authenticate(header, '192.0.2.1')
      return await permission.canPull(principal, 'cache', 'app/web')
    } catch {
      return 'unauthorized'
    }
  }
  let token = await makeRobot(api)
  const bearer = async () => `Bearer ${(await granted(api, 'cache+bot', token)).json().token}`
  await grant(cached, 'user', 'cache+bot')
  let running = await bearer()
  assert.equal(await pulls(running), true)
  assert.ok(authenticator.recall(running))
  token = (await api.send({ method: 'POST', path: `${robots}/bot/regenerate`, as: 'owner' })).json().token
  assert.equal(authenticator.recall(running), undefined)
  assert.equal(await pulls(running), 'unauthorized')
  running = await bearer()
  assert.equal(await pulls(running), true)
  await api.send({ method: 'DELETE', path: `${cached.path}/permissions/user/cache%2Bbot`, as: 'owner' })
  assert.equal(await pulls(running), false)
  await grant(cached, 'user', 'cache+bot')
  assert.equal(await pulls(running), true)
  await api.send({ method: 'DELETE', path: `${robots}/bot`, as: 'owner' })
  assert.equal(await pulls(running), 'unauthorized')
  token = await makeRobot(api)
  assert.equal(await pulls(running), 'unauthorized', 'another robot of the same name')
  running = await bearer()
  await api.send({ method: 'DELETE', path: '/api/v1/organization/cache', as: 'owner' })
  assert.equal(await pulls(running), 'unauthorized')
  assert.equal((await granted(api, 'cache+bot', token)).statusCode, 401)
})

test('a robot’s token opens the registry under its own name only, and never the API', async (t) => {
  const { api } = await startWithRepository(t)
  const token = await makeRobot(api)
  const own = await makeRobot(api, '/api/v1/user/robots/bot', 'member')
  for (const [name, secret] of [
    ['cache+bot', own],
    ['member+bot', token],
    ['cache+bot', token.toLowerCase()],
    ['CACHE+bot', token],
    ['cache+none', token],
    ['member', token],
    ['$oauthtoken', token],
    ['$app', token],
    ['cache+bot', ''],
  ] as const) {
    assert.equal((await granted(api, name, secret)).statusCode, 401, name)
  }
  assert.equal((await granted(api, 'cache+bot', token)).statusCode, 200)
  for (const as of [basic('cache+bot', token), `Bearer ${token}`]) {
    assert.equal((await api.send({ method: 'GET', path: '/api/v1/user/', as })).statusCode, 401)
    assert.equal((await api.send({ method: 'GET', path: robots, as })).statusCode, 401)
  }
})

test('a user is not named like a robot, and robots are no users', async (t) => {
  const { api } = await startWithRepository(t)
  await makeRobot(api)
  const body = { username: 'cache+bot', password: 'correct horse battery' }
  const user = await api.send({ method: 'POST', path: '/api/v1/superuser/users/', as: 'admin', body })
  assert.equal(user.statusCode, 400)
  const { users } = (await api.send({ method: 'GET', path: '/api/v1/superuser/users/', as: 'admin' })).json()
  assert.equal(
    users.some(({ username }: { username: string }) => username.includes('+')),
    false,
  )
})

test('a user’s own robots are nobody else’s, pull by permissions, and go with the user', async (t) => {
  const cached = await startWithRepository(t)
  const { api } = cached
  const token = await makeRobot(api, '/api/v1/user/robots/bot', 'other')
  assert.equal((await granted(api, 'other+bot', token)).json().scope, '')
  await grant(cached, 'user', 'other+bot')
  assert.equal((await granted(api, 'other+bot', token)).json().scope, 'repository:cache/app/web:pull')
  const list = async (as: string) => (await api.send({ method: 'GET', path: '/api/v1/user/robots', as })).json().robots
  assert.deepEqual([(await list('other')).length, await list('owner')], [1, []])
  const team = '/api/v1/organization/cache/team/pullers/members/other%2Bbot'
  assert.equal((await api.send({ method: 'PUT', path: team, as: 'owner' })).statusCode, 400)
  const disabled = api.metadata.db.updateTable('account').set({ is_enabled: 0 }).where('username', '=', 'other')
  await disabled.execute()
  api.admin.epoch.advance()
  assert.equal((await granted(api, 'other+bot', token)).statusCode, 401)
})

test('the last use is seen at once and written later', async (t) => {
  const { api } = await startWithRepository(t)
  const token = await makeRobot(api)
  api.time.nowMs += 5000
  await granted(api, 'cache+bot', token)
  const row = async () =>
    api.metadata.db
      .selectFrom('account')
      .select('last_used_at')
      .where('username', '=', 'cache+bot')
      .executeTakeFirstOrThrow()
  assert.equal((await row()).last_used_at, null)
  const { last_accessed: seen } = (await api.send({ method: 'GET', path: `${robots}/bot`, as: 'owner' })).json()
  assert.equal(seen, 'Tue, 01 Jan 2030 00:00:05 -0000')
  await api.admin.flush()
  assert.equal((await row()).last_used_at, api.time.nowMs)
})

test('credentials come in the form of every client', async (t) => {
  const { api } = await startWithRepository(t)
  const token = await makeRobot(api, `${robots}/my_bot`)
  const answer = await api.send({ method: 'GET', path: `${robots}/my_bot/credentials`, as: 'owner' })
  const body = answer.json()
  const auth = Buffer.from(`cache+my_bot:${token}`).toString('base64')
  const config = { auths: { [HOSTNAME]: { auth } } }
  for (const file of [body.docker_config, body.podman_auth, body.helm])
    assert.deepEqual(JSON.parse(file.content), config)
  const secret = parse(body.kubernetes_secret.content)
  assert.equal(secret.metadata.name, 'cache-my-bot-pull-secret')
  assert.deepEqual(JSON.parse(Buffer.from(secret.data['.dockerconfigjson'], 'base64').toString()), config)
  assert.equal(secret.type, 'kubernetes.io/dockerconfigjson')
  assert.match(body.containerd_hosts.content, new RegExp(`Authorization = "Basic ${RegExp.escape(auth)}"`))
  assert.equal(body.docker_login, `docker login -u='cache+my_bot' -p='${token}' ${HOSTNAME}`)
})

test('permissions of a repository are by name, roles add up, and teams are the organization’s own', async (t) => {
  const cached = await startWithRepository(t)
  const { api, path } = cached
  const foreign = '/api/v1/organization/theirs/team/foreign'
  await api.send({ method: 'PUT', path: foreign, as: 'other', body: { role: 'admin' } })
  const get = async (end: string, as = 'owner') => api.send({ method: 'GET', path: `${path}/permissions/${end}`, as })
  assert.equal((await grant(cached, 'team', 'foreign')).statusCode, 400)
  assert.equal((await grant(cached, 'team', 'pullers', 'write')).json().role, 'write')
  assert.equal((await grant(cached, 'user', 'nobody')).statusCode, 400)
  assert.deepEqual((await grant(cached, 'user', 'member')).json().is_org_member, true)
  assert.equal((await grant(cached, 'user', 'other', 'admin')).json().is_org_member, false)
  assert.deepEqual(Object.keys((await get('user')).json().permissions), ['member', 'other'])
  assert.deepEqual(Object.keys((await get('team/')).json().permissions), ['pullers'])
  assert.deepEqual((await get('team/pullers')).json(), { role: 'write' })
  const { permissions } = (await get('user/member/transitive')).json()
  assert.deepEqual(permissions, [{ role: 'write' }, { role: 'read' }])
  assert.equal((await get('user/owner/transitive')).statusCode, 404)
  assert.equal((await get('user/owner')).statusCode, 400, 'Quay')
  // Who administers the repository gives permissions there, and administers nothing else.
  assert.equal((await grant(cached, 'user', 'auditor', 'read', 'other')).statusCode, 200)
  const elsewhere = await api.send({ method: 'PUT', path: `${robots}/bot`, as: 'other' })
  assert.equal(elsewhere.statusCode, 403)
  assert.equal((await get('user', 'member')).statusCode, 403)
})

test('a public repository is pulled by anybody, where anonymous access is on, and by no other name', async (t) => {
  for (const hasAnonymousAccess of [true, false]) {
    const cached = await startWithRepository(t, { hasAnonymousAccess })
    const { api, path } = cached
    const { permission } = api.admin
    const anonymous = { kind: 'anonymous' } as const
    const change = (visibility: string, as = 'owner') =>
      api.send({ method: 'POST', path: `${path}/changevisibility`, as, body: { visibility } })
    assert.equal(await permission.canPull(anonymous, 'cache', 'app/web'), false)
    assert.deepEqual((await change('public')).json(), { success: true })
    assert.equal(await permission.canPull(anonymous, 'cache', 'app/web'), hasAnonymousAccess)
    assert.equal(permission.recall(anonymous, 'cache', 'app/web'), hasAnonymousAccess)
    assert.equal(await permission.canPull(anonymous, 'cache', 'app/other'), false)
    assert.equal(await permission.canPull(anonymous, 'cache'), false)
    assert.equal((await change('private', 'member')).statusCode, 403)
    await change('private')
    assert.equal(permission.recall(anonymous, 'cache', 'app/web'), undefined)
    assert.equal(await permission.canPull(anonymous, 'cache', 'app/web'), false)
    assert.equal((await change('secret')).statusCode, 400)
  }
})

test('a renamed organization keeps robots and members, and its old name is free', async (t) => {
  const cached = await startWithRepository(t)
  const { api } = cached
  const token = await makeRobot(api)
  await grant(cached, 'user', 'cache+bot')
  const rename = (name: string, as = 'admin') =>
    api.send({ method: 'PUT', path: '/api/v1/superuser/organizations/cache', as, body: { name } })
  for (const name of ['theirs', 'member', 'v2', 'Bad', 'a']) assert.equal((await rename(name)).statusCode, 400, name)
  assert.equal((await rename('fresh', 'owner')).statusCode, 403)
  const renamed = await rename('fresh')
  assert.deepEqual([renamed.statusCode, renamed.json().name], [200, 'fresh'])
  assert.deepEqual(api.changedOrganizations.slice(-2), ['cache', 'fresh'])
  assert.equal((await granted(api, 'cache+bot', token)).statusCode, 401)
  const after = await granted(api, 'fresh+bot', token, '?scope=repository:fresh/app/web:pull')
  assert.equal(after.json().scope, 'repository:fresh/app/web:pull')
  await api.createOrganization('cache', 'other')
  await makeRobot(api, `${robots}/bot`, 'other')
  const list = async (query: string, as = 'admin') =>
    api.send({ method: 'GET', path: `/api/v1/superuser/organizations/${query}`, as })
  const first = (await list('?limit=2')).json()
  assert.deepEqual(
    first.organizations.map(({ name }: { name: string }) => name),
    ['cache', 'fresh'],
  )
  const rest = (await list(`?limit=2&next_page=${first.next_page}`)).json()
  assert.deepEqual([rest.organizations[0].name, rest.next_page], ['theirs', undefined])
  assert.equal((await list('?limit=101')).statusCode, 400)
  assert.equal((await list('', 'owner')).statusCode, 403)
  const gone = await api.send({ method: 'DELETE', path: '/api/v1/superuser/organizations/fresh', as: 'admin' })
  assert.equal(gone.statusCode, 204)
  assert.equal((await granted(api, 'fresh+bot', token)).statusCode, 401)
})
