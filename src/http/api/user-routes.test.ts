import assert from 'node:assert/strict'
import { test } from 'node:test'
import { basic, PASSWORD, SETUP_TOKEN, startApi } from '../../../test/api/start-api.ts'

const initialize = '/api/v1/user/initialize'
const first = { username: 'admin', password: PASSWORD, email: 'admin@example.com' }

test('the first user is created from loopback, as Quay answers, and is a superuser', async (t) => {
  const api = await startApi(t)
  const answer = await api.send({ method: 'POST', path: initialize, body: { ...first, access_token: true } })
  assert.equal(answer.statusCode, 200)
  const { access_token, ...rest } = answer.json()
  assert.deepEqual(rest, { username: 'admin', email: 'admin@example.com' })
  assert.match(access_token, /^[A-Za-z0-9_-]{43}$/)
  for (const as of ['admin', `Bearer ${access_token}`, basic('$oauthtoken', access_token)]) {
    const me = await api.send({ method: 'GET', path: '/api/v1/user/', as })
    assert.equal(me.statusCode, 200, as)
    assert.equal(me.json().username, 'admin')
    assert.equal(me.json().super_user, true)
  }
})

test('without being asked for, no access token is made', async (t) => {
  const api = await startApi(t)
  const answer = await api.send({ method: 'POST', path: initialize, body: first })
  assert.deepEqual(answer.json(), { username: 'admin', email: 'admin@example.com' })
})

test('of two first users at once one wins, and the other is told that there is a user', async (t) => {
  const api = await startApi(t)
  const answers = await Promise.all(
    ['ann', 'bob', 'eve'].map((username) =>
      api.send({ method: 'POST', path: initialize, body: { ...first, username, access_token: true } }),
    ),
  )
  assert.deepEqual(answers.map(({ statusCode }) => statusCode).sort(), [200, 400, 400])
  const refused = answers.find(({ statusCode }) => statusCode === 400)
  assert.equal(refused?.json().message, 'Cannot initialize user in a non-empty database')
  assert.equal(refused?.json().error_message, 'Cannot initialize user in a non-empty database')
  const rows = await api.metadata.db.selectFrom('account').select('username').execute()
  assert.equal(rows.length, 1)
  assert.equal((await api.metadata.db.selectFrom('access_token').select('id').execute()).length, 1)
})

const STRANGERS: readonly [string, { from?: string; headers?: Record<string, string> }][] = [
  ['another machine', { from: '192.0.2.7' }],
  ['a page whose name was rebound to loopback', { headers: { host: 'evil.example' } }],
  ['a name that begins like loopback', { headers: { host: '127.0.0.1.evil.example' } }],
  ['a Host that is malformed', { headers: { host: 'localhost@evil.example' } }],
  ['a proxy that says for whom', { headers: { 'x-forwarded-for': '127.0.0.1' } }],
  ['a proxy that says so by the standard', { headers: { forwarded: 'for=127.0.0.1' } }],
  ['a proxy that says the real address', { headers: { 'x-real-ip': '127.0.0.1' } }],
  ['a page of another origin', { headers: { origin: 'http://evil.example' } }],
  ['a sandboxed page', { headers: { origin: 'null' } }],
]

for (const [who, how] of STRANGERS) {
  test(`${who} cannot create the first user, unless it has the set-up token`, async (t) => {
    const api = await startApi(t)
    const refused = await api.send({ method: 'POST', path: initialize, body: first, ...how })
    assert.equal(refused.statusCode, 403)
    assert.match(refused.json().detail, /setup_token/)
    for (const wrong of ['', 'wrong', `${SETUP_TOKEN} `]) {
      const again = await api.send({ method: 'POST', path: initialize, body: { ...first, setup_token: wrong }, ...how })
      assert.equal(again.statusCode, 403)
    }
    const body = { ...first, setup_token: SETUP_TOKEN }
    assert.equal((await api.send({ method: 'POST', path: initialize, body, ...how })).statusCode, 200)
  })
}

test('the set-up token may stand in a header, and opens nothing once there is a user', async (t) => {
  const api = await startApi(t)
  const stranger = { from: '192.0.2.7', headers: { 'x-entrepot-setup-token': SETUP_TOKEN } }
  assert.equal((await api.send({ method: 'POST', path: initialize, body: first, ...stranger })).statusCode, 200)
  const body = { ...first, username: 'eve' }
  assert.equal((await api.send({ method: 'POST', path: initialize, body, ...stranger })).statusCode, 400)
})

test('loopback by name, by IPv6 and by a mapped address is this machine', async (t) => {
  const api = await startApi(t)
  for (const [from, host] of [
    ['127.0.0.1', 'localhost:8080'],
    ['::1', '[::1]:8080'],
    ['::ffff:127.0.0.1', '127.0.0.1'],
  ] as const) {
    const answer = await api.send({
      method: 'POST',
      path: initialize,
      body: { ...first, password: 'x' },
      from,
      headers: { host },
    })
    assert.equal(answer.statusCode, 400, host) // It got as far as the password.
    assert.match(answer.json().detail, /^password: /)
  }
})

test('a form from a web page cannot create the first user', async (t) => {
  const api = await startApi(t)
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', '']) {
    const headers: Record<string, string> = type === '' ? {} : { 'content-type': type }
    const answer = await api.send({ method: 'POST', path: initialize, payload: JSON.stringify(first), headers })
    assert.ok([400, 415].includes(answer.statusCode), `${type}: ${answer.statusCode}`)
  }
  assert.equal(await api.admin.accounts.isUninitialized(), true)
})

test('FEATURE_USER_INITIALIZE lets anyone be the first', async (t) => {
  const api = await startApi(t, { hasUserInitialize: true })
  const answer = await api.send({ method: 'POST', path: initialize, body: first, from: '192.0.2.7' })
  assert.equal(answer.statusCode, 200)
})

test('a superuser creates users; a password that the server makes is told once', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  const made = await api.send({
    method: 'POST',
    path: '/api/v1/superuser/users/',
    as: 'admin',
    body: { username: 'ann', email: 'ann@example.com' },
  })
  assert.equal(made.statusCode, 200)
  const { password, ...rest } = made.json()
  assert.deepEqual(rest, { username: 'ann', email: 'ann@example.com' })
  const me = await api.send({ method: 'GET', path: '/api/v1/user/', as: basic('ann', password) })
  assert.equal(me.json().super_user, false)
  const given = await api.send({
    method: 'POST',
    path: '/api/v1/superuser/users',
    as: 'admin',
    body: { username: 'bob', password: PASSWORD },
  })
  assert.deepEqual(given.json(), { username: 'bob', email: '' })
})

test('only a superuser creates users, and only with the scope for it', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  await api.createUser('ann')
  const request = { method: 'POST', path: '/api/v1/superuser/users/', body: { username: 'eve' } } as const
  assert.equal((await api.send(request)).statusCode, 401)
  assert.equal((await api.send({ ...request, as: 'ann' })).statusCode, 403)
  assert.equal((await api.send({ ...request, as: 'Bearer nonsense' })).statusCode, 401)
})

test("names are Quay's, and taken by users and organizations alike", async (t) => {
  const api = await startApi(t)
  await api.initialize()
  await api.createOrganization('cache')
  const create = (username: string) =>
    api.send({ method: 'POST', path: '/api/v1/superuser/users/', as: 'admin', body: { username } })
  for (const taken of ['admin', 'cache']) {
    const answer = await create(taken)
    assert.equal(answer.statusCode, 400)
    assert.match(answer.json().detail, /already exists/)
  }
  for (const bad of ['a', 'Ann', 'a b', 'a+b', '-a', 'a.', 'a..b', 'ä-ö', 'a\0b', 'a'.repeat(256), '$oauthtoken']) {
    const answer = await create(bad)
    assert.equal(answer.statusCode, 400, bad)
    assert.match(answer.json().detail, /^username: /)
  }
})

test('a wrong password is 401 whoever the name belongs to, and after ten the address waits', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  const attempt = (username: string, secret: string, from: string) =>
    api.send({ method: 'GET', path: '/api/v1/user/', as: basic(username, secret), from })
  const known = await attempt('admin', 'wrong password', '192.0.2.1')
  const unknown = await attempt('nobody', 'wrong password', '192.0.2.1')
  assert.equal(known.statusCode, 401)
  assert.deepEqual(known.json(), unknown.json())
  for (let count = 1; count < 10; count += 1) await attempt('admin', 'wrong password', '192.0.2.1')
  const limited = await attempt('admin', PASSWORD, '192.0.2.1')
  assert.equal(limited.statusCode, 429)
  assert.equal(limited.headers['retry-after'], '300')
  assert.equal((await attempt('admin', PASSWORD, '192.0.2.2')).statusCode, 200)
  api.time.nowMs += 300_000
  assert.equal((await attempt('admin', PASSWORD, '192.0.2.1')).statusCode, 200)
})

test('a disabled account is nobody at once', async (t) => {
  const api = await startApi(t)
  const token = await api.initialize()
  const me = (as: string) => api.send({ method: 'GET', path: '/api/v1/user/', as })
  assert.equal((await me('admin')).statusCode, 200)
  assert.equal((await me(`Bearer ${token}`)).statusCode, 200)
  await api.metadata.db.updateTable('account').set({ is_enabled: 0 }).execute()
  api.admin.epoch.advance()
  assert.equal((await me('admin')).statusCode, 401)
  assert.equal((await me(`Bearer ${token}`)).statusCode, 401)
})

test('credentials of no known form are 401', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  for (const as of ['Digest x', 'Basic !!!', 'Basic ', 'Bearer a b', `Bearer ${'a'.repeat(13_000)}`, 'Basic YQ==']) {
    assert.equal((await api.send({ method: 'GET', path: '/api/v1/user/', as })).statusCode, 401, as.slice(0, 20))
  }
})
