/** DESIGN part 4: the token protocol as clients go through it. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image } from '../fakes/content.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import type { ClientAnswer } from './registry-client.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const v1 = image({ seed: 'v1' })

/** Ask the token service that a 401 names, as the client with these credentials. */
async function answerChallenge(cache: Cache, refused: ClientAnswer): Promise<ClientAnswer> {
  const challenge = String(refused.headers['www-authenticate'])
  const [, realm = '', service = ''] = /^Bearer realm="([^"]+)",service="([^"]+)"/.exec(challenge) ?? []
  const scope = /scope="([^"]+)"/.exec(challenge)?.[1]
  const url = new URL(realm)
  url.searchParams.set('service', service)
  if (scope !== undefined) url.searchParams.set('scope', scope)
  return cache.client.get(`${url.pathname}${url.search}`)
}

test('GET /v2/ without credentials is 401 with a challenge; with a token for it, 200', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  const refused = await cache.as(undefined).client.get('/v2/')
  assertRefused(refused, 401, 'UNAUTHORIZED')
  assert.equal(refused.headers['docker-distribution-api-version'], 'registry/2.0')
  const given = JSON.parse((await answerChallenge(cache, refused)).body.toString())
  const answer = await cache.client.send('/v2/', { authorization: `Bearer ${given.token}` })
  assert.equal(answer.status, 200)
})

test('a token for a repository pulls from it and from no other', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 }, other: { v1 } })
  const refused = await cache.as(undefined).get('app/manifests/v1')
  assertRefused(refused, 401, 'UNAUTHORIZED')
  const given = await answerChallenge(cache, refused)
  const { token, access_token: accessToken, expires_in: expiresIn } = JSON.parse(given.body.toString())
  assert.deepEqual([given.status, expiresIn, accessToken], [200, 300, token])
  const authorization = `Bearer ${token}`
  assertServed(await cache.send('app/manifests/v1', { authorization }), { outcome: 'miss', bytes: v1.bytes })
  assertServed(await cache.send('app/manifests/v1', { authorization }), { outcome: 'revalidated', bytes: v1.bytes })
  const elsewhere = await cache.send('other/manifests/v1', { authorization })
  assert.ok([401, 403].includes(elsewhere.status))
  const forged = await cache.send('app/manifests/v1', { authorization: `${authorization.slice(0, -2)}xx` })
  assert.equal(forged.status, 401)
})

test('a token lives 300 s', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  const given = await answerChallenge(cache, await cache.as(undefined).get('app/manifests/v1'))
  const authorization = `Bearer ${JSON.parse(given.body.toString()).token}`
  await entrepot.clock.advance(295_000)
  assert.equal((await cache.send('app/manifests/v1', { authorization })).status, 200)
  await entrepot.clock.advance(66_000) // A minute of leeway for clocks that differ.
  assert.equal((await cache.send('app/manifests/v1', { authorization })).status, 401)
})

test('for a repository that the caller may not pull a token grants nothing', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  const stranger = cache.as(await entrepot.createUser())
  const given = await answerChallenge(stranger, await cache.as(undefined).get('app/manifests/v1'))
  assert.equal(given.status, 200)
  const authorization = `Bearer ${JSON.parse(given.body.toString()).token}`
  const answer = await cache.send('app/manifests/v1', { authorization })
  assert.ok([401, 403].includes(answer.status))
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('wrong credentials get no token', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  const wrong = cache.as({ username: 'admin', password: 'wrong' })
  const answer = await answerChallenge(wrong, await cache.as(undefined).get('app/manifests/v1'))
  assert.equal(answer.status, 401)
})
