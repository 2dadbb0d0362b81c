import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ApiUnderTest, startApi } from '../../../test/api/start-api.ts'
import { upstreamConfigOf } from '../../admin/upstream-credentials.ts'
import { UpstreamError } from '../../errors.ts'
import { findProxyCache } from '../../metadata/proxy-caches.ts'
import type { UpstreamConfig } from '../../oci/registry.ts'

const path = '/api/v1/organization/cache/proxycache'
const validate = '/api/v1/organization/cache/validateproxycache'
const login = { upstream_registry_username: 'robot', upstream_registry_password: 'upstream-secret' }

async function startWithOwner(t: Parameters<typeof startApi>[0]): Promise<ApiUnderTest> {
  const api = await startApi(t)
  await api.initialize()
  for (const username of ['owner', 'other', 'auditor']) await api.createUser(username)
  await api.createOrganization('cache', 'owner')
  return api
}

async function generationOf(api: ApiUnderTest): Promise<number> {
  return (await api.admin.organizations.find('cache')).generation
}

test("an upstream is set, read and deleted with Quay's statuses and bodies", async (t) => {
  const api = await startWithOwner(t)
  const get = () => api.send({ method: 'GET', path, as: 'owner' })
  const none = { upstream_registry: '', expiration_s: '', insecure: '', has_credentials: false }
  assert.equal((await get()).statusCode, 200)
  assert.deepEqual((await get()).json(), none)
  const made = await api.send({
    method: 'POST',
    path,
    as: 'owner',
    body: { upstream_registry: 'quay.io', org_name: 'x' },
  })
  assert.deepEqual([made.statusCode, made.body], [201, '"Created"'])
  assert.deepEqual((await get()).json(), {
    upstream_registry: 'quay.io',
    expiration_s: 86_400,
    insecure: false,
    has_credentials: false,
  })
  const again = await api.send({ method: 'POST', path, as: 'owner', body: { upstream_registry: 'quay.io' } })
  assert.deepEqual([again.statusCode, again.json().detail], [400, 'Proxy Cache Configuration already exists'])
  const gone = await api.send({ method: 'DELETE', path, as: 'owner' })
  assert.deepEqual([gone.statusCode, gone.body], [201, '"Deleted"'])
  assert.deepEqual((await get()).json(), none)
  assert.equal((await api.send({ method: 'DELETE', path, as: 'owner' })).statusCode, 404)
  assert.equal((await api.send({ method: 'PUT', path, as: 'owner', body: {} })).statusCode, 404)
})

test('of two who set an upstream at once one is told that there is one', async (t) => {
  const api = await startWithOwner(t)
  const body = { upstream_registry: 'quay.io' }
  const answers = await Promise.all([1, 2].map(() => api.send({ method: 'POST', path, as: 'owner', body })))
  assert.deepEqual(answers.map(({ statusCode }) => statusCode).sort(), [201, 400])
})

test('members read it, administrators change it', async (t) => {
  const api = await startWithOwner(t)
  const body = { upstream_registry: 'quay.io' }
  const statusOf = async (method: 'GET' | 'POST' | 'PUT' | 'DELETE', url: string, as?: string) => {
    const withBody = method === 'POST' || method === 'PUT' ? { body } : {}
    return (await api.send({ method, path: url, ...withBody, ...(as === undefined ? {} : { as }) })).statusCode
  }
  for (const method of ['GET', 'POST', 'PUT', 'DELETE'] as const) {
    assert.equal(await statusOf(method, path), 401)
    assert.equal(await statusOf(method, path, 'other'), 403)
    assert.equal(await statusOf(method, '/api/v1/organization/none/proxycache', 'other'), 404)
  }
  assert.equal(await statusOf('GET', path, 'auditor'), 200)
  assert.equal(await statusOf('POST', path, 'auditor'), 403)
  assert.equal(await statusOf('POST', validate, 'other'), 403)
  assert.equal(await statusOf('GET', '/api/v1/organization/other/proxycache', 'other'), 200)
})

test('credentials are sealed at rest and never told', async (t) => {
  const api = await startWithOwner(t)
  const made = await api.send({ method: 'POST', path, as: 'owner', body: { upstream_registry: 'quay.io', ...login } })
  assert.equal(made.statusCode, 201)
  const read = await api.send({ method: 'GET', path, as: 'owner' })
  assert.equal(read.json().has_credentials, true)
  const organization = await api.send({ method: 'GET', path: '/api/v1/organization/cache', as: 'owner' })
  const rows = JSON.stringify(await api.metadata.db.selectFrom('proxy_cache').selectAll().execute())
  const told = [read.body, organization.body, rows, JSON.stringify(api.reports)].join()
  for (const secret of ['upstream-secret', 'robot']) assert.ok(!told.includes(secret), secret)
})

const REFUSED: readonly [string, Record<string, unknown>][] = [
  ['upstream_registry', {}],
  ['upstream_registry', { upstream_registry: null }],
  ['upstream_registry', { upstream_registry: '' }],
  ['upstream_registry', { upstream_registry: 'https://quay.io' }],
  ['upstream_registry', { upstream_registry: 'robot:upstream-secret@quay.io' }],
  ['upstream_registry', { upstream_registry: 'quay.io\r\nX: y' }],
  ['upstream_registry', { upstream_registry: 'a'.repeat(271) }],
  ['upstream_registry', { upstream_registry: '10.0.0.1:5000' }],
  ['expiration_s', { upstream_registry: 'quay.io', expiration_s: -1 }],
  ['expiration_s', { upstream_registry: 'quay.io', expiration_s: 1.5 }],
  ['expiration_s', { upstream_registry: 'quay.io', expiration_s: '86400' }],
  ['expiration_s', { upstream_registry: 'quay.io', expiration_s: 2 ** 31 }],
  ['expiration_s', { upstream_registry: 'quay.io', expiration_s: null }],
  ['insecure', { upstream_registry: 'quay.io', insecure: 'true' }],
  ['upstream_registry_password', { upstream_registry: 'quay.io', upstream_registry_username: 'robot' }],
  ['upstream_registry_username', { upstream_registry: 'quay.io', upstream_registry_password: 'upstream-secret' }],
  [
    'upstream_registry_password',
    { upstream_registry: 'quay.io', ...login, upstream_registry_password: 'upstream-secret'.repeat(300) },
  ],
  ['upstream_registry_username', { upstream_registry: 'quay.io', ...login, upstream_registry_username: 'a\r\nb' }],
]

test('a field that cannot be is 400 and named, without what was secret in it', async (t) => {
  const api = await startWithOwner(t)
  for (const [field, body] of REFUSED) {
    const answer = await api.send({ method: 'POST', path, as: 'owner', body })
    assert.equal(answer.statusCode, 400, JSON.stringify(body).slice(0, 100))
    assert.ok(answer.json().detail.startsWith(`${field}: `), answer.json().detail)
    assert.ok(!answer.body.includes('upstream-secret'))
  }
  const literal = await api.send({ method: 'POST', path, as: 'owner', body: { upstream_registry: '10.0.0.1:5000' } })
  assert.match(literal.json().detail, /private address.*10\.0\.0\.1:5000 to SSRF_ALLOWED_HOSTS/)
  assert.equal((await api.send({ method: 'GET', path, as: 'owner' })).json().upstream_registry, '')
})

test('PUT changes what is sent; credentials stay, go with null, and are replaced', async (t) => {
  const api = await startWithOwner(t)
  await api.send({ method: 'POST', path, as: 'owner', body: { upstream_registry: 'quay.io', ...login } })
  const configNow = async (): Promise<UpstreamConfig['credentials']> => {
    const organization = await api.admin.organizations.find('cache')
    const stored = await findProxyCache(api.metadata.db, organization.id)
    assert.ok(stored)
    return upstreamConfigOf(api.secretBox, organization, stored).credentials
  }
  const put = (body: Record<string, unknown>) => api.send({ method: 'PUT', path, as: 'owner', body })
  for (const payload of ['', 'null', '[]']) {
    const headers = { 'content-type': 'application/json' }
    assert.equal((await api.send({ method: 'PUT', path, as: 'owner', payload, headers })).statusCode, 400)
  }
  const changed = await put({ expiration_s: 0 })
  assert.equal(changed.statusCode, 200)
  assert.deepEqual(changed.json(), {
    upstream_registry: 'quay.io',
    expiration_s: 0,
    insecure: false,
    has_credentials: true,
  })
  assert.deepEqual(await configNow(), { kind: 'password', username: 'robot', password: 'upstream-secret' })
  await put({ upstream_registry_password: 'rotated' })
  assert.deepEqual(await configNow(), { kind: 'password', username: 'robot', password: 'rotated' })
  const cleared = await put({ upstream_registry_username: null, upstream_registry_password: null })
  assert.equal(cleared.json().has_credentials, false)
  assert.deepEqual(await configNow(), { kind: 'anonymous' })
})

test('a stored password is never sent to another host, nor in clear where it was not', async (t) => {
  const api = await startWithOwner(t)
  await api.send({ method: 'POST', path, as: 'owner', body: { upstream_registry: 'quay.io', ...login } })
  const put = (body: Record<string, unknown>) => api.send({ method: 'PUT', path, as: 'owner', body })
  for (const body of [
    { upstream_registry: 'evil.example' },
    { insecure: true },
    { upstream_registry: 'quay.io:8443' },
  ]) {
    const refused = await put(body)
    assert.equal(refused.statusCode, 400, JSON.stringify(body))
    assert.match(refused.json().detail, /^upstream_registry_password: /)
  }
  let asked: UpstreamConfig | undefined
  api.probe = async (config) => {
    asked = config
    return 'anonymous'
  }
  await api.send({ method: 'POST', path: validate, as: 'owner', body: { upstream_registry: 'evil.example' } })
  assert.deepEqual(asked?.credentials, { kind: 'anonymous' })
  await api.send({
    method: 'POST',
    path: validate,
    as: 'owner',
    body: { upstream_registry: 'quay.io', insecure: true },
  })
  assert.deepEqual(asked?.credentials, { kind: 'anonymous' })
  await api.send({ method: 'POST', path: validate, as: 'owner', body: { upstream_registry: 'quay.io/team' } })
  assert.deepEqual(asked?.credentials, { kind: 'password', username: 'robot', password: 'upstream-secret' })
  assert.equal((await put({ upstream_registry: 'evil.example', ...login })).statusCode, 200)
})

test('another host or namespace hides what was cached, also by way of DELETE; another spelling does not', async (t) => {
  const api = await startWithOwner(t)
  const set = async (upstream_registry: string, method: 'POST' | 'PUT' = 'PUT') => {
    await api.send({ method, path, as: 'owner', body: { upstream_registry } })
    return generationOf(api)
  }
  const first = await set('docker.io', 'POST')
  assert.equal(await set('index.docker.io'), first)
  assert.equal(await set('docker.io/library'), first + 1)
  assert.equal(await set('quay.io'), first + 2)
  await api.send({ method: 'DELETE', path, as: 'owner' })
  assert.equal(await set('Quay.io', 'POST'), first + 2)
  await api.send({ method: 'DELETE', path, as: 'owner' })
  assert.equal(await set('evil.example', 'POST'), first + 3)
  const jobs = await api.metadata.db.selectFrom('job').select(['kind']).execute()
  assert.deepEqual(
    jobs.map(({ kind }) => kind),
    Array(3).fill('collect_generation'),
  )
})

test('validation says Valid, Anonymous, or what is wrong', async (t) => {
  const api = await startWithOwner(t)
  const ask = (body: Record<string, unknown>) => api.send({ method: 'POST', path: validate, as: 'owner', body })
  const quay = { upstream_registry: 'quay.io/team' }
  let asked: UpstreamConfig | undefined
  api.probe = async (config) => {
    asked = config
    return config.credentials.kind === 'password' ? 'valid' : 'anonymous'
  }
  const anonymous = await ask(quay)
  assert.deepEqual([anonymous.statusCode, anonymous.body], [202, '"Anonymous"'])
  assert.deepEqual(asked, { scheme: 'https', host: 'quay.io', caPem: undefined, credentials: { kind: 'anonymous' } })
  const valid = await ask({ ...quay, ...login, insecure: true })
  assert.deepEqual([valid.statusCode, valid.body], [202, '"Valid"'])
  assert.equal(asked?.scheme, 'http')
  const failures = [
    ['denied', /refuses this username and password/],
    ['not_found', /there is no \/v2\//],
    ['rate_limited', /try again later/],
    ['unreachable', /could not be reached/],
    ['timeout', /could not be reached/],
    ['server_error', /could not be reached/],
    ['protocol', /could not be reached/],
  ] as const
  for (const [failure, message] of failures) {
    api.probe = async () => {
      throw new UpstreamError(failure, 'quay.io', 'quay.io could not be reached')
    }
    const refused = await ask({ ...quay, ...login })
    assert.equal(refused.statusCode, 400, failure)
    assert.match(refused.json().detail, message)
    assert.ok(!refused.body.includes('upstream-secret'))
  }
  assert.equal((await ask({})).statusCode, 400)
  assert.equal((await api.send({ method: 'GET', path, as: 'owner' })).json().upstream_registry, '')
})

test('validations under way are bounded', async (t) => {
  const api = await startWithOwner(t)
  const { promise: answer, resolve } = Promise.withResolvers<'valid'>()
  const { promise: allAsked, resolve: sayAllAsked } = Promise.withResolvers<void>()
  let asked = 0
  api.probe = () => {
    asked += 1
    if (asked === 8) sayAllAsked()
    return answer
  }
  const body = { upstream_registry: 'quay.io' }
  const waiting = Array.from({ length: 8 }, () => api.send({ method: 'POST', path: validate, as: 'owner', body }))
  await Promise.race([allAsked, ...waiting])
  assert.equal((await api.send({ method: 'POST', path: validate, as: 'owner', body })).statusCode, 429)
  resolve('valid')
  assert.deepEqual(
    (await Promise.all(waiting)).map(({ statusCode }) => statusCode),
    Array(8).fill(202),
  )
})

test('with the feature off its paths do not exist', async (t) => {
  const api = await startApi(t, { hasProxyCache: false })
  await api.initialize()
  await api.createOrganization('cache')
  for (const method of ['GET', 'POST', 'PUT', 'DELETE'] as const) {
    assert.equal((await api.send({ method, path, as: 'admin' })).statusCode, 404)
  }
  assert.equal((await api.send({ method: 'POST', path: validate, as: 'admin' })).statusCode, 404)
})
