import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Browser, signedIn } from '../../../test/api/browser.ts'
import { type ApiUnderTest, basic, PASSWORD, SETUP_TOKEN, startApi } from '../../../test/api/start-api.ts'
import { SIGN_UP_LIMITS } from '../../admin/accounts.ts'

const me = '/api/v1/user/'
const users = '/api/v1/superuser/users/'

async function signUp(api: ApiUnderTest, username: string, more: { from?: string; setup_token?: string } = {}) {
  const browser = new Browser(api)
  await browser.open()
  const { from = '192.0.2.7', ...fields } = more
  const body = { username, password: PASSWORD, email: `${username}@example.com`, ...fields }
  return { browser, answer: await browser.send({ method: 'POST', path: me, body, from }) }
}

test('the first user signs up in the browser on the machine itself, is a superuser, and is signed in', async (t) => {
  const api = await startApi(t, { hasUserCreation: false })
  const { browser, answer } = await signUp(api, 'admin', { from: '127.0.0.1' })
  assert.equal(answer.statusCode, 200, answer.body)
  assert.deepEqual([answer.json().username, answer.json().super_user], ['admin', true])
  assert.equal(await browser.status('GET', users), 200)
})

test('the first user from elsewhere needs the set-up token, and one page alone can use it', async (t) => {
  const api = await startApi(t)
  assert.equal((await signUp(api, 'eve')).answer.statusCode, 403)
  assert.equal((await signUp(api, 'eve', { setup_token: 'wrong' })).answer.statusCode, 403)
  const both = await Promise.all(['ann', 'bob'].map((name) => signUp(api, name, { setup_token: SETUP_TOKEN })))
  assert.deepEqual(both.map(({ answer }) => answer.statusCode).sort(), [200, 400])
  const rows = await api.metadata.db.selectFrom('account').select('is_superuser').execute()
  assert.deepEqual(rows, [{ is_superuser: 1 }])
})

test('later ones sign up when they may, are nothing special, and need the CSRF token', async (t) => {
  const api = await startApi(t, { superUsers: ['root-to-be'] })
  await api.initialize()
  const { browser, answer } = await signUp(api, 'ann')
  assert.deepEqual([answer.statusCode, answer.json().super_user], [200, false])
  assert.equal(await browser.status('GET', users), 403)
  const body = { username: 'bob', password: PASSWORD }
  assert.equal((await api.send({ method: 'POST', path: me, body, headers: {} })).statusCode, 403)
  for (const reserved of ['root-to-be', 'auditor']) {
    assert.match((await signUp(api, reserved)).answer.json().detail, /^username: is reserved/)
  }
  assert.equal((await signUp(api, 'ann')).answer.statusCode, 400)
})

test('FEATURE_USER_CREATION off leaves creating users to superusers', async (t) => {
  const api = await startApi(t, { hasUserCreation: false })
  await api.initialize()
  assert.equal((await signUp(api, 'ann')).answer.statusCode, 404)
  await api.createUser('ann')
  assert.equal((await api.send({ method: 'GET', path: me, as: 'ann' })).statusCode, 200)
})

test('one network cannot make accounts without end', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  for (let count = 0; count < SIGN_UP_LIMITS.perNetworkMax; count += 1) {
    assert.equal((await signUp(api, `user${count}`)).answer.statusCode, 200)
  }
  assert.equal((await signUp(api, 'onemore')).answer.statusCode, 429)
  assert.equal((await signUp(api, 'elsewhere', { from: '198.51.100.1' })).answer.statusCode, 200)
})

test('names that only look like others, or differ by case and dots, are refused', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  for (const name of [
    'Admin',
    'аdmin',
    'admin.',
    '.admin',
    'ad..min',
    'admin\u200b',
    'ａdmin',
    'admin+robot',
    'a\0b',
    'x',
  ]) {
    const { answer } = await signUp(api, name)
    assert.equal(answer.statusCode, 400, name)
    assert.match(answer.json().detail, /^username: /)
  }
})

test('a superuser lists users in pages, and sees one', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  for (const name of ['cat', 'ann', 'bob', 'auditor']) await api.createUser(name)
  const list = async (query: string, as = 'admin') =>
    (await api.send({ method: 'GET', path: users + query, as })).json()
  const names = (page: { users: { username: string }[] }) => page.users.map(({ username }) => username)
  const first = await list('?limit=2')
  assert.deepEqual(names(first), ['admin', 'ann'])
  const second = await list(`?limit=3&next_page=${first.next_page}`)
  assert.deepEqual([names(second), second.next_page], [['auditor', 'bob', 'cat'], undefined])
  const one = (await api.send({ method: 'GET', path: `${users}ann`, as: 'admin' })).json()
  const { avatar, ...rest } = one
  assert.equal(avatar.kind, 'user')
  const [name, username] = ['ann', 'ann']
  assert.deepEqual(rest, {
    ...{ kind: 'user', name, username, email: null },
    ...{ verified: true, super_user: false, enabled: true },
  })
  assert.equal((await api.send({ method: 'GET', path: `${users}nobody`, as: 'admin' })).statusCode, 404)
  assert.equal((await list('', 'auditor')).users.length, 5)
  assert.equal((await list('', 'ann')).status, 403)
})

test('a superuser changes a user; a read-only one and others do not', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  for (const name of ['ann', 'auditor']) await api.createUser(name)
  const body = { password: 'a new long password', email: 'ann@example.com', enabled: true }
  for (const as of ['ann', 'auditor']) {
    for (const [method, path] of [
      ['PUT', `${users}ann`],
      ['DELETE', `${users}ann`],
      ['POST', '/api/v1/superuser/takeownership/cache'],
    ] as const) {
      assert.equal((await api.send({ method, path, as, body })).statusCode, 403, `${as} ${method} ${path}`)
    }
  }
  const changed = await api.send({ method: 'PUT', path: `${users}ann`, as: 'admin', body })
  assert.deepEqual([changed.statusCode, changed.json().email], [200, 'ann@example.com'])
  assert.equal((await api.send({ method: 'GET', path: me, as: basic('ann', body.password) })).statusCode, 200)
  assert.equal((await api.send({ method: 'GET', path: me, as: 'ann' })).statusCode, 401)
  const bad = await api.send({ method: 'PUT', path: `${users}ann`, as: 'admin', body: { password: 'short' } })
  assert.match(bad.json().detail, /^password: /)
})

test('superusers do not change one another, and the last one stays', async (t) => {
  const api = await startApi(t, { superUsers: ['second'] })
  await api.initialize()
  const own = { method: 'DELETE', path: me, as: 'admin' } as const
  const alone = await api.send(own)
  assert.equal(alone.statusCode, 409)
  assert.match(alone.json().detail, /the only superuser/)
  await api.createUser('second')
  for (const method of ['PUT', 'DELETE'] as const) {
    const answer = await api.send({ method, path: `${users}second`, as: 'admin', body: { enabled: false } })
    assert.equal(answer.statusCode, 403)
  }
  const both = await Promise.all([api.send(own), api.send({ ...own, as: 'second' })])
  assert.deepEqual(both.map(({ statusCode }) => statusCode).sort(), [204, 409])
})

test('a user who is the only administrator of an organization cannot go, and is told of which', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  for (const name of ['ann', 'bob']) await api.createUser(name)
  await api.createOrganization('anns', 'ann')
  for (const request of [
    { method: 'DELETE', path: me, as: 'ann' },
    { method: 'DELETE', path: `${users}ann`, as: 'admin' },
  ] as const) {
    const answer = await api.send(request)
    assert.equal(answer.statusCode, 409)
    assert.match(answer.json().detail, /only administrator of anns:/)
  }
  const taken = await api.send({ method: 'POST', path: '/api/v1/superuser/takeownership/anns', as: 'admin' })
  assert.deepEqual([taken.statusCode, taken.json()], [200, { namespace: 'anns' }])
  assert.equal((await api.send({ method: 'DELETE', path: me, as: 'ann' })).statusCode, 204)
  assert.equal((await api.send({ method: 'GET', path: me, as: 'ann' })).statusCode, 401)
  const rows = await api.metadata.db.selectFrom('account').select('username').orderBy('username').execute()
  assert.deepEqual(
    rows.map(({ username }) => username),
    ['admin', 'bob'],
  )
})

test('a user changes their own e-mail, and what is not one is refused', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  await api.createUser('ann')
  const browser = await signedIn(api, 'ann')
  const changed = await browser.send({ method: 'PUT', path: me, body: { email: 'ann@example.com', username: 'eve' } })
  assert.deepEqual([changed.json().email, changed.json().username], ['ann@example.com', 'ann'])
  assert.equal(await browser.status('PUT', me, { email: 'no address' }), 400)
  assert.equal(await browser.status('PUT', me, {}), 200)
})
