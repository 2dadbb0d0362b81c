import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ApiRequest, type ApiUnderTest, PASSWORD, startApi } from '../../../test/api/start-api.ts'
import { listApiRoutes } from './register-api.ts'

const ERROR_KEYS = ['detail', 'error_message', 'error_type', 'message', 'status', 'title', 'type']

test("every error has Quay's body, with the message in both of its places", async (t) => {
  const api = await startApi(t)
  await api.initialize()
  const rows: readonly [ApiRequest, number, string][] = [
    [{ method: 'GET', path: '/api/v1/user/' }, 401, 'invalid_token'],
    [{ method: 'GET', path: '/api/v1/organization/none' }, 404, 'not_found'],
    [{ method: 'GET', path: '/api/v1/nothing/here' }, 404, 'not_found'],
    [{ method: 'GET', path: '/api/v1' }, 404, 'not_found'],
    [{ method: 'PATCH', path: '/api/v1/organization/none' }, 405, 'method_not_allowed'],
    [{ method: 'GET', path: '/api/v1/user/initialize' }, 405, 'method_not_allowed'],
    [{ method: 'OPTIONS', path: '/api/v1/user/initialize' }, 405, 'method_not_allowed'],
  ]
  for (const [request, status, type] of rows) {
    const answer = await api.send(request)
    assert.equal(answer.statusCode, status, request.path)
    const body = answer.json()
    assert.deepEqual(Object.keys(body).sort(), ERROR_KEYS)
    assert.equal(body.error_type, type)
    assert.equal(body.title, type)
    assert.equal(body.status, status)
    assert.equal(body.detail, body.error_message)
    assert.equal(body.type, `https://registry.test:8080/api/v1/error/${type}`)
  }
  const allowed = await api.send({ method: 'PATCH', path: '/api/v1/organization/none' })
  assert.equal(allowed.headers['allow'], 'DELETE, GET, HEAD, PUT')
  const described = await api.send({ method: 'GET', path: '/api/v1/error/not_found' })
  assert.equal(described.json().title, 'not_found')
})

test('a body that is not JSON, not an object, too large or of another type is refused before it does anything', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  const post = (payload: string | Buffer, type = 'application/json') =>
    api.send({ method: 'POST', path: '/api/v1/organization/', as: 'admin', payload, headers: { 'content-type': type } })
  const rows: readonly [string | Buffer, string, number][] = [
    ['{', 'application/json', 400],
    ['', 'application/json', 400],
    ['null', 'application/json', 400],
    ['[]', 'application/json', 400],
    ['"name"', 'application/json', 400],
    ['{"name":"a-1","__proto__":{"x":1}}', 'application/json', 400],
    ['{"name":"a-1","constructor":{"prototype":{"x":1}}}', 'application/json', 400],
    [Buffer.from([0xff, 0xfe, 0x00]), 'application/json', 400],
    ['[['.repeat(100_000), 'application/json', 400],
    [`{"name":"${'a'.repeat(1024 * 1024)}"}`, 'application/json', 413],
    ['name=a-1', 'application/x-www-form-urlencoded', 415],
    ['{"name":"a-1"}', 'text/plain', 415],
  ]
  for (const [payload, type, status] of rows) {
    const answer = await post(payload, type)
    assert.equal(answer.statusCode, status, String(payload).slice(0, 40))
    assert.deepEqual(Object.keys(answer.json()).sort(), ERROR_KEYS)
  }
  assert.equal((await api.metadata.db.selectFrom('organization').select('id').execute()).length, 0)
})

test('whoever is not known has no body read', async (t) => {
  const api = await startApi(t)
  const payload = '{'.repeat(2 * 1024 * 1024)
  const headers = { 'content-type': 'application/json' }
  const answer = await api.send({ method: 'POST', path: '/api/v1/organization/', payload, headers })
  assert.equal(answer.statusCode, 401)
})

test('a name in a path can be hostile, and nothing comes of it', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  for (const name of [
    '%00',
    '..%2f..',
    '%0d%0aX-Evil:1',
    'a%20b',
    'CACHE',
    "'%20or%201=1--",
    'deleted:1',
    'a'.repeat(500),
    '%e4%ff',
  ]) {
    for (const method of ['GET', 'DELETE'] as const) {
      const answer = await api.send({ method, path: `/api/v1/organization/${name}`, as: 'admin' })
      assert.ok([400, 404].includes(answer.statusCode), `${name}: ${answer.statusCode}`)
      assert.equal(answer.headers['x-evil'], undefined)
    }
  }
})

const hostile = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.constantFrom(
    '',
    '\0',
    'a'.repeat(5000),
    '../..',
    'quay.io',
    'a-1',
    '::1',
    '\ud800',
    '{{7*7}}',
    "';--",
    '\r\nX: y',
  ),
  fc.double(),
  fc.constantFrom(0, -1, 1e308, 2 ** 53, 86_400),
  fc.boolean(),
  fc.constant(null),
  fc.array(fc.oneof(fc.string({ maxLength: 40 }), fc.integer(), fc.constant(null)), { maxLength: 120 }),
  fc.dictionary(fc.string({ maxLength: 8 }), fc.jsonValue()),
)

/** Each route with a body, and the fields of its schema: what is fuzzed follows what is served. */
function fuzzedRoutes(api: ApiUnderTest): { method: ApiRequest['method']; path: string; fields: string[] }[] {
  return listApiRoutes(api.admin).flatMap(({ method, path, body }) => {
    if (body === undefined || !('shape' in body)) return []
    // Who changes their own password with it is somebody else afterwards.
    const isOwn = method === 'PUT' && path === '/user/'
    const fields = Object.keys(body.shape as object).filter((field) => !isOwn || field !== 'password')
    return [
      { method, path: `/api/v1${path}`.replace(':organization', 'cache').replace(/:(?:quota|limit)/g, '1'), fields },
    ]
  })
}

test("nothing that a body can hold makes the server fail, and every refusal is Quay's", async (t) => {
  const api = await startApi(t)
  await api.initialize()
  await api.createOrganization('cache')
  const routes = fuzzedRoutes(api)
  assert.ok(routes.length >= 15, `${routes.length} routes`)
  for (const { method, path, fields } of routes) {
    const body = fc.record(Object.fromEntries(fields.map((field) => [field, hostile])), { requiredKeys: [] })
    const anyBody = fc.oneof({ weight: 5, arbitrary: body }, { weight: 1, arbitrary: hostile })
    await fc.assert(
      fc.asyncProperty(anyBody, async (sent) => {
        const answer = await api.send({ method, path, as: 'admin', body: sent })
        assert.ok(answer.statusCode < 500, `${method} ${path} ${answer.statusCode}: ${answer.body}`)
        assert.ok(!answer.body.includes(PASSWORD))
        if (answer.statusCode < 400) return
        const keys = Object.keys(answer.json())
        assert.deepEqual(
          ERROR_KEYS.filter((key) => !keys.includes(key)),
          [],
        )
        if (answer.statusCode === 400)
          assert.match(
            answer.json().detail,
            /^(?:[a-z_.0-9]+: |Cannot |Proxy |A user |Organization quota |Quota limit )/,
          )
      }),
      { numRuns: 60 },
    )
  }
  assert.deepEqual(api.internalErrors, [])
})

test('an error that nobody expected is told without its cause, and reported', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  await api.createOrganization('cache')
  api.probe = async () => {
    throw new Error('secret of the inside')
  }
  const body = { upstream_registry: 'quay.io' }
  const answer = await api.send({
    method: 'POST',
    path: '/api/v1/organization/cache/validateproxycache',
    as: 'admin',
    body,
  })
  assert.equal(answer.statusCode, 500)
  assert.ok(!answer.body.includes('secret of the inside'))
  assert.equal(api.internalErrors.length, 1)
})
