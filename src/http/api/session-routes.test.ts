import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Browser, setCookieOf, signedIn } from '../../../test/api/browser.ts'
import { type ApiUnderTest, basic, PASSWORD, startApi } from '../../../test/api/start-api.ts'
import { PASSWORD_LIMITS } from '../../admin/passwords.ts'
import { SESSION_LIMITS } from '../../admin/sessions.ts'
import { SIGN_IN_LIMITS } from '../../admin/sign-in-limit.ts'

const me = '/api/v1/user/'
const organizations = '/api/v1/organization/'

async function startWithAnn(t: TestContext, settings: Parameters<typeof startApi>[1] = {}): Promise<ApiUnderTest> {
  const api = await startApi(t, settings)
  await api.initialize()
  await api.createUser('ann')
  return api
}

test('a browser signs in, is somebody, and signs out', async (t) => {
  const api = await startWithAnn(t)
  const browser = new Browser(api)
  const answer = await browser.signIn('ann')
  assert.deepEqual([answer.statusCode, answer.json()], [200, { success: true }])
  assert.equal((await browser.send({ method: 'GET', path: me })).json().username, 'ann')
  assert.equal(await browser.status('POST', organizations, { name: 'anns' }), 201)
  const [cookie] = [browser.cookie]
  const left = await browser.send({ method: 'POST', path: '/api/v1/signout' })
  assert.deepEqual([left.statusCode, left.json()], [200, { success: true }])
  assert.deepEqual(setCookieOf(left)?.value, '')
  browser.cookie = cookie
  assert.equal(await browser.status('GET', me), 401)
})

test('the cookie is for this server only, and for no script', async (t) => {
  const api = await startWithAnn(t)
  const browser = new Browser(api)
  const visitor = setCookieOf(await browser.send({ method: 'GET', path: '/csrf_token' }))
  assert.deepEqual(visitor?.attributes, ['path=/', 'httponly', 'samesite=lax'])
  const user = setCookieOf(await browser.signIn('ann'))
  assert.deepEqual(user?.attributes, ['path=/', 'httponly', 'samesite=lax', 'max-age=2592000'])
  assert.match(user?.value ?? '', /^[\w-]{43}$/)
  const rows = JSON.stringify(await api.metadata.db.selectFrom('session').selectAll().execute())
  assert.ok(!rows.includes(user?.value ?? ''), 'the cookie itself is stored')
})

test('behind TLS the cookie never goes over plain HTTP', async (t) => {
  const api = await startWithAnn(t, { preferredUrlScheme: 'https' })
  const browser = new Browser(api)
  assert.ok(setCookieOf(await browser.send({ method: 'GET', path: '/csrf_token' }))?.attributes.includes('secure'))
  assert.ok(setCookieOf(await browser.signIn('ann'))?.attributes.includes('secure'))
})

test('a session that somebody else prepared is not the one that is signed in', async (t) => {
  const api = await startWithAnn(t)
  const attacker = new Browser(api)
  await attacker.open()
  const victim = new Browser(api)
  victim.cookie = attacker.cookie
  await victim.signIn('ann')
  assert.notEqual(victim.cookie, attacker.cookie)
  assert.equal(await victim.status('GET', me), 200)
  assert.equal(await attacker.status('GET', me), 401)
  // Nor is the attacker's own, signed in, taken over by the victim: it ends.
  const other = await signedIn(api, 'ann')
  const [before] = [other.cookie]
  await other.signIn('admin')
  const old = new Browser(api)
  old.cookie = before
  assert.equal(await old.status('GET', me), 401)
})

test('without the CSRF token of its own cookie a session changes nothing', async (t) => {
  const api = await startWithAnn(t)
  const [browser, other] = [await signedIn(api, 'ann'), await signedIn(api, 'ann')]
  const right = browser.csrfToken
  for (const wrong of [undefined, '', 'x', other.csrfToken, `${right}x`]) {
    browser.csrfToken = wrong
    for (const [method, path, body] of [
      ['POST', organizations, { name: 'forged' }],
      ['PUT', me, { email: 'a@example.com' }],
      ['DELETE', me, undefined],
      ['POST', '/api/v1/signout', undefined],
      ['POST', '/api/v1/signin', { username: 'ann', password: PASSWORD }],
      ['POST', '/api/v1/signin/verify', { password: PASSWORD }],
      ['DELETE', '/api/v1/repository/cache/app/tag/latest', undefined],
    ] as const) {
      const answer = await browser.send({ method, path, ...(body !== undefined && { body }) })
      assert.equal(answer.statusCode, 403, `${method} ${path} ${wrong}`)
      assert.equal(answer.json().error_message, 'CSRF token was invalid or missing.')
    }
  }
  assert.equal(await browser.status('GET', me), 200)
  browser.csrfToken = right
  assert.equal(await browser.status('POST', organizations, { name: 'honest' }), 201)
})

test('requests with an Authorization header need no CSRF token, and their cookie is not looked at', async (t) => {
  const api = await startWithAnn(t)
  const browser = await signedIn(api, 'ann')
  const headers = { cookie: `session=${browser.cookie}` }
  const answer = await api.send({ method: 'GET', path: me, as: 'admin', headers })
  assert.equal(answer.json().username, 'admin')
  const wrong = await api.send({ method: 'GET', path: me, as: 'Bearer nonsense', headers })
  assert.equal(wrong.statusCode, 401)
  assert.equal(
    (await api.send({ method: 'POST', path: organizations, as: 'ann', body: { name: 'anns' } })).statusCode,
    201,
  )
})

test('cookies that are none sign nobody in', async (t) => {
  const api = await startWithAnn(t)
  const browser = await signedIn(api, 'ann')
  for (const cookie of [
    'session=',
    'session=x',
    `session=${browser.cookie}x`,
    `Session=${browser.cookie}`,
    ';=;',
    'session',
  ]) {
    assert.equal((await api.send({ method: 'GET', path: me, headers: { cookie } })).statusCode, 401, cookie)
  }
  const among = { cookie: `a=b; session=short; session=${browser.cookie}; c` }
  assert.equal((await api.send({ method: 'GET', path: me, headers: among })).statusCode, 200)
})

test('wrong credentials are told as Quay tells them, the same whoever the name belongs to', async (t) => {
  const api = await startWithAnn(t)
  const browser = new Browser(api)
  const known = await browser.signIn('ann', 'wrong password')
  const unknown = await browser.signIn('nobody', 'wrong password')
  assert.equal(known.statusCode, 403)
  assert.deepEqual(known.json(), unknown.json())
  const { invalidCredentials, needsEmailVerification, message } = known.json()
  assert.deepEqual([invalidCredentials, needsEmailVerification], [true, false])
  assert.equal(message, 'Invalid Username or Password')
  for (const name of ['$app', '$oauthtoken', 'cache+robot', 'ANN', 'ann ', 'аnn', 'a\0nn']) {
    assert.equal((await browser.signIn(name)).statusCode, 403, name)
  }
})

test('a session ends by idleness, and by age however it is used; what is over is swept', async (t) => {
  const api = await startWithAnn(t)
  const [idle, used] = [await signedIn(api, 'ann'), await signedIn(api, 'ann')]
  const began = api.time.nowMs
  api.time.nowMs = began + SESSION_LIMITS.idleMs - 1
  assert.equal(await used.status('GET', me), 200)
  api.time.nowMs = began + SESSION_LIMITS.idleMs
  assert.equal(await idle.status('GET', me), 401)
  while (api.time.nowMs < began + SESSION_LIMITS.lifetimeMs) {
    assert.equal(await used.status('GET', me), 200)
    api.time.nowMs += SESSION_LIMITS.idleMs / 2
  }
  assert.equal(await used.status('GET', me), 401)
  const young = await signedIn(api, 'ann')
  assert.equal(await api.admin.sessions.sweep(), 2)
  assert.equal(await young.status('GET', me), 200)
})

test('an account has a bounded number of sessions', async (t) => {
  const api = await startWithAnn(t)
  const first = await signedIn(api, 'ann')
  for (let count = 0; count < SESSION_LIMITS.perAccountMax; count += 1) {
    api.time.nowMs += 1
    await signedIn(api, 'ann')
  }
  assert.equal(await first.status('GET', me), 401)
  const rows = await api.metadata.db.selectFrom('session').select('id_sha256').execute()
  assert.equal(rows.length, SESSION_LIMITS.perAccountMax)
})

test('disabling or deleting an account ends its sessions at once', async (t) => {
  const api = await startWithAnn(t)
  await api.createUser('bob')
  const [ann, bob, admin] = [await signedIn(api, 'ann'), await signedIn(api, 'bob'), await signedIn(api, 'admin')]
  assert.equal(await admin.status('PUT', '/api/v1/superuser/users/ann', { enabled: false }), 200)
  assert.equal(await ann.status('GET', me), 401)
  assert.equal((await ann.signIn('ann')).statusCode, 403)
  assert.equal(await admin.status('PUT', '/api/v1/superuser/users/ann', { enabled: true }), 200)
  assert.equal(await ann.status('GET', me), 401)
  assert.equal(await admin.status('DELETE', '/api/v1/superuser/users/bob'), 204)
  assert.equal(await bob.status('GET', me), 401)
  assert.equal(await admin.status('GET', me), 200)
})

test('changing the password needs a fresh login, ends every other session and replaces its own', async (t) => {
  const api = await startWithAnn(t)
  const [browser, other] = [await signedIn(api, 'ann'), await signedIn(api, 'ann')]
  api.time.nowMs += 600_000
  const stale = await browser.send({ method: 'PUT', path: me, body: { password: 'another long password' } })
  assert.deepEqual([stale.statusCode, stale.json().error_type], [401, 'fresh_login_required'])
  const wrong = await browser.send({ method: 'POST', path: '/api/v1/signin/verify', body: { password: 'wrong' } })
  assert.deepEqual([wrong.statusCode, wrong.json().invalidCredentials], [403, true])
  assert.equal(await browser.status('PUT', me, { password: 'another long password' }), 401)
  assert.equal(await browser.status('POST', '/api/v1/signin/verify', { password: PASSWORD }), 200)
  const [before] = [browser.cookie]
  assert.equal(await browser.status('PUT', me, { password: 'another long password' }), 200)
  assert.notEqual(browser.cookie, before)
  assert.equal(await browser.status('GET', me), 200)
  assert.equal(await browser.status('POST', organizations, { name: 'anns' }), 201)
  assert.equal(await other.status('GET', me), 401)
  assert.equal((await api.send({ method: 'GET', path: me, as: 'ann' })).statusCode, 401)
  const fresh = await api.send({ method: 'GET', path: me, as: basic('ann', 'another long password') })
  assert.equal(fresh.statusCode, 200)
})

test('without FEATURE_DIRECT_LOGIN nobody signs in here with a password', async (t) => {
  const api = await startWithAnn(t, { hasDirectLogin: false })
  assert.equal((await new Browser(api).signIn('ann')).statusCode, 404)
})

test('a flood of sign-ins neither hashes without bound nor locks the owner out elsewhere', async (t) => {
  const api = await startWithAnn(t)
  const attacker = new Browser(api)
  await attacker.open()
  const guess = (from: string) =>
    attacker.send({ method: 'POST', path: '/api/v1/signin', body: { username: 'ann', password: 'guess' }, from })
  const answers = await Promise.all(Array.from({ length: 60 }, () => guess('203.0.113.9')))
  const judged = answers.filter(({ statusCode }) => statusCode === 403)
  const refused = answers.filter(({ statusCode }) => statusCode === 429)
  assert.equal(judged.length + refused.length, 60)
  // What is judged at once is what may be hashed for one address.
  assert.ok(judged.length <= Math.max(SIGN_IN_LIMITS.failuresMax, PASSWORD_LIMITS.hashesPerAddressMax))
  assert.ok(refused.every(({ headers }) => Number(headers['retry-after']) >= 1))
  assert.equal((await new Browser(api).signIn('ann', PASSWORD, '198.51.100.1')).statusCode, 200)
  while ((await guess('203.0.113.9')).statusCode !== 429);
  // Even the right password waits there, but not for ever.
  assert.equal((await new Browser(api).signIn('ann', 'wrong again', '203.0.113.9')).statusCode, 429)
  api.time.nowMs += SIGN_IN_LIMITS.windowMs
  assert.equal((await new Browser(api).signIn('ann', PASSWORD, '203.0.113.9')).statusCode, 200)
})

test('failed sign-ins are logged, counted together, and without what was typed', async (t) => {
  const api = await startWithAnn(t)
  const browser = new Browser(api)
  for (let count = 0; count < 3; count += 1) await browser.signIn('ann', 'typed-secret', '203.0.113.9')
  await browser.signIn('typed-secret-as-name', 'x', '203.0.113.9')
  await api.admin.flush()
  await api.admin.flush()
  const rows = await api.metadata.db.selectFrom('log_entry').selectAll().where('kind', '=', 'login_failure').execute()
  const told = rows.map(({ address, metadata }) => [address, JSON.parse(metadata)])
  assert.deepEqual(told, [
    ['203.0.113.9', { type: 'quayauth', username: 'ann', count: 3 }],
    ['203.0.113.9', { type: 'quayauth', count: 1 }],
  ])
  assert.ok(!JSON.stringify(api.reports).includes('typed-secret'))
})
