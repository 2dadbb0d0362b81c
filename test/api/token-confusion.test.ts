/** Over HTTP: each credential opens what it is for, and at every other door it is nothing. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image } from '../fakes/content.ts'
import type { Cache } from '../pull-through/cache.ts'
import { type Entrepot, startEntrepot } from '../pull-through/start-entrepot.ts'

const v1 = image({ seed: 'confusion' })
const ann = { username: 'ann', password: 'a password of some length' }
let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

type Credentials = {
  registry: string
  application: string
  access: string
  clientSecret: string
  cookie: string
  csrf: string
}

function basic(username: string, secret: string): string {
  return `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`
}

async function call(method: string, path: string, body: unknown, authorization = basic(ann.username, ann.password)) {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const answer = await entrepot.api(method, path, text, authorization)
  return { status: answer.status, headers: answer.headers, body: JSON.parse(answer.body.toString() || 'null') }
}

async function exchange(authorization: string, scope: string): Promise<string> {
  const answer = await call('GET', `/v2/auth?scope=${scope}`, undefined, authorization)
  assert.equal(answer.status, 200)
  return answer.body.token
}

/** Ann, a member of nothing but the organization, with one credential of every kind. */
async function credentialsFor(cache: Cache): Promise<Credentials> {
  const { organization } = cache
  const applications = `/api/v1/organization/${organization}/applications`
  const app = (await call('POST', applications, { name: 'ci' })).body
  const tokens = `${applications}/${app.client_id}/tokens`
  const access = (await call('POST', tokens, { scope: 'repo:read user:read' })).body.token
  const application = (await call('POST', '/api/v1/user/apptoken', { title: 'laptop' })).body.token.token_code
  const registry = await exchange(basic('$app', application), `repository:${organization}/app:pull`)
  const csrfAnswer = await call('GET', '/csrf_token', undefined, 'none')
  const visitor = String(csrfAnswer.headers['set-cookie']).split(';')[0] ?? ''
  const signedIn = await entrepot.client(undefined).send('/api/v1/signin', {
    method: 'POST',
    headers: { 'content-type': 'application/json', cookie: visitor, 'x-csrf-token': csrfAnswer.body.csrf_token },
    body: JSON.stringify(ann),
  })
  assert.equal(signedIn.status, 200)
  const cookie = /^session=([^;]+)/.exec(String(signedIn.headers['set-cookie']))?.[1] ?? ''
  const csrf = String(signedIn.headers['x-next-csrf-token'])
  return { registry, application, access, clientSecret: app.client_secret, cookie, csrf }
}

test('each credential opens its own door, and no other', async (t) => {
  await entrepot.must('POST', '/api/v1/superuser/users/', ann)
  await call('POST', '/api/v1/organization/', { name: 'confused' })
  const cache = await entrepot.cache(t, { app: { v1 }, other: { v1 } }, { organization: 'second' })
  await call('POST', '/api/v1/organization/confused/proxycache', {
    upstream_registry: cache.upstream.host,
    insecure: true,
  })
  const own = { organization: 'confused' } as Cache
  const made = await credentialsFor(own)
  const pull = (path: string, authorization: string) => entrepot.client(undefined).send(path, { authorization })
  const ownManifest = '/v2/confused/app/manifests/v1'
  const status = async (path: string, authorization: string) => (await pull(path, authorization)).status

  // Warm, so that afterwards the hot path answers.
  assert.equal(await status(ownManifest, `Bearer ${made.registry}`), 200)
  assert.equal(await status(ownManifest, `Bearer ${made.registry}`), 200)
  assert.equal(await status(ownManifest, basic('$app', made.application)), 200)
  assert.equal(await status(ownManifest, basic('$oauthtoken', made.access)), 200)
  assert.equal(await status('/api/v1/user/', `Bearer ${made.access}`), 200)

  // Another repository, and another organization.
  for (const path of [
    '/v2/confused/other/manifests/v1',
    '/v2/second/app/manifests/v1',
    '/v2/confused/app2/tags/list',
  ]) {
    assert.ok([401, 403].includes(await status(path, `Bearer ${made.registry}`)), path)
  }
  for (const authorization of [basic('$app', made.application), basic('$oauthtoken', made.access)]) {
    assert.ok([401, 403].includes(await status('/v2/second/app/manifests/v1', authorization)))
    const foreign = await exchange(authorization, 'repository:second/app:pull')
    assert.ok([401, 403].includes(await status('/v2/second/app/manifests/v1', `Bearer ${foreign}`)))
  }

  // Everything but a registry token, as one.
  const secrets = Object.values(made)
  for (const secret of secrets.filter((other) => other !== made.registry)) {
    assert.equal(await status(ownManifest, `Bearer ${secret}`), 401)
  }
  // Everything as a password of somebody or something else.
  for (const username of ['ann', 'admin', '$app', '$oauthtoken', '$token', 'confused+robot', '']) {
    for (const secret of secrets) {
      const isRight =
        (username === '$app' && secret === made.application) || (username === '$oauthtoken' && secret === made.access)
      if (isRight) continue
      const code = await status(ownManifest, basic(username, secret))
      assert.ok([401, 429].includes(code), `${username}: ${code}`)
    }
  }
  // Nothing but an access token, at the API.
  for (const secret of secrets.filter((other) => other !== made.access)) {
    for (const authorization of [`Bearer ${secret}`, basic('$oauthtoken', secret), basic('$app', secret)]) {
      assert.equal(await status('/api/v1/user/', authorization), 401)
    }
  }
  // A registry token is exchanged for nothing, and a cookie pulls nothing.
  assert.equal((await call('GET', '/v2/auth', undefined, `Bearer ${made.registry}`)).status, 401)
  const cookie = { cookie: `session=${made.cookie}` }
  assert.equal((await entrepot.client(undefined).send(ownManifest, { headers: cookie })).status, 401)
  assert.equal((await entrepot.client(undefined).send('/api/v1/user/', { headers: cookie })).status, 200)
})

test('a revoked application token ends the pulls of registry tokens within a second, also warm ones', async () => {
  const made = (await call('POST', '/api/v1/user/apptoken', { title: 'short' })).body.token
  const registry = `Bearer ${await exchange(basic('$app', made.token_code), 'repository:confused/app:pull')}`
  const pull = async () =>
    (await entrepot.client(undefined).send('/v2/confused/app/manifests/v1', { authorization: registry })).status
  assert.deepEqual([await pull(), await pull()], [200, 200])
  assert.equal((await call('DELETE', `/api/v1/user/apptoken/${made.uuid}`, undefined)).status, 204)
  assert.equal(await pull(), 401)
})

test('a changed password ends the registry tokens that were made with the former one', async () => {
  const registry = `Bearer ${await exchange(basic(ann.username, ann.password), 'repository:confused/app:pull')}`
  const pull = async () =>
    (await entrepot.client(undefined).send('/v2/confused/app/manifests/v1', { authorization: registry })).status
  assert.deepEqual([await pull(), await pull()], [200, 200])
  assert.equal((await call('PUT', '/api/v1/user/', { password: 'another long password' })).status, 200)
  assert.equal(await pull(), 401)
})
