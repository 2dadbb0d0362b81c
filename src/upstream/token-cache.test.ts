import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UpstreamError } from '../errors.ts'
import { UPSTREAM_LIMITS } from './limits.ts'
import { TokenCache } from './token-cache.ts'
import type { TokenRequest } from './token-issuer.ts'

const REQUEST: TokenRequest = { realm: 'https://quay.io/v2/auth', service: 'quay.io', scope: 'repository:a/b:pull' }

function start(lifetimeMs = 300_000) {
  const now = { ms: 1_000_000 }
  const asked: TokenRequest[] = []
  const failures: Error[] = []
  const cache = new TokenCache({
    clock: () => now.ms,
    limits: UPSTREAM_LIMITS,
    fetch: async (request) => {
      asked.push(request)
      const failure = failures.shift()
      if (failure !== undefined) throw failure
      return { token: `t${asked.length}`, lifetimeMs }
    },
  })
  return { now, asked, failures, cache }
}

test('a token is fetched once for all who ask at once, and kept', async () => {
  const { cache, asked } = start()
  const grants = await Promise.all([cache.get(REQUEST), cache.get(REQUEST)])
  assert.deepEqual(grants, [
    { token: 't1', isFresh: true },
    { token: 't1', isFresh: true },
  ])
  assert.deepEqual(await cache.get(REQUEST), { token: 't1', isFresh: false })
  assert.equal(asked.length, 1)
})

test('each scope, service and realm has a token of its own', async () => {
  const { cache } = start()
  await cache.get(REQUEST)
  for (const change of [{ scope: 'repository:a/c:pull' }, { service: undefined }, { realm: 'https://other' }]) {
    assert.equal((await cache.get({ ...REQUEST, ...change })).isFresh, true)
  }
})

test('a token is renewed 30 s before its end, a short one after four fifths of its life', async () => {
  for (const [lifetimeMs, renewedAfterMs] of [
    [300_000, 270_000],
    [60_000, 48_000],
    [10_000, 8000],
  ] as const) {
    const { cache, now } = start(lifetimeMs)
    await cache.get(REQUEST)
    now.ms += renewedAfterMs - 1
    assert.equal((await cache.get(REQUEST)).token, 't1')
    now.ms += 1
    assert.equal((await cache.get(REQUEST)).token, 't2')
  }
})

test('a refused token is replaced once a minute, by one for all', async () => {
  const { cache, now } = start()
  await cache.get(REQUEST)
  const old = await cache.get(REQUEST)
  const [first, second] = await Promise.all([cache.replace(REQUEST, old), cache.replace(REQUEST, old)])
  assert.deepEqual(first, { token: 't2', isFresh: true })
  assert.ok(second === undefined || second.token === 't2')
  assert.equal(await cache.replace(REQUEST, { token: 't2', isFresh: false }), undefined)
  now.ms += 60_000
  assert.equal((await cache.replace(REQUEST, { token: 't2', isFresh: false }))?.token, 't3')
})

test('a fresh token that is refused is not replaced, now and for a minute', async () => {
  const { cache, now } = start()
  assert.equal(await cache.replace(REQUEST, await cache.get(REQUEST)), undefined)
  assert.equal(await cache.replace(REQUEST, await cache.get(REQUEST)), undefined)
  now.ms += 60_000
  assert.equal((await cache.replace(REQUEST, await cache.get(REQUEST)))?.token, 't2')
})

test('whoever comes with an older token gets the present one', async () => {
  const { cache, asked } = start()
  await cache.get(REQUEST)
  assert.deepEqual(await cache.replace(REQUEST, { token: 't0', isFresh: false }), { token: 't1', isFresh: true })
  assert.equal(asked.length, 1)
})

test('a refusal is remembered for 10 s, any other failure is not', async () => {
  const { cache, asked, failures, now } = start()
  failures.push(new UpstreamError('denied', 'quay.io', 'no'), new UpstreamError('timeout', 'quay.io', 'slow'))
  await assert.rejects(cache.get(REQUEST), { failure: 'denied' })
  await assert.rejects(cache.get(REQUEST), { failure: 'denied' })
  assert.equal(asked.length, 1)
  now.ms += 10_000
  await assert.rejects(cache.get(REQUEST), { failure: 'timeout' })
  assert.equal((await cache.get(REQUEST)).token, 't3')
})
