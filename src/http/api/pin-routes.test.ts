import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type CachedRepository,
  chargeOf,
  EXPIRATION_S,
  keep,
  startWithRepository,
} from '../../../test/api/cached-repository.ts'
import type { ApiRequest } from '../../../test/api/start-api.ts'
import { freshDigest, makeImage, makeLayer } from '../../../test/contracts/metadata-case.ts'
import { lockUsage } from '../../metadata/ledger.ts'
import { createQuota } from '../../metadata/quotas.ts'
import { endReservationsOf } from '../../metadata/reservations.ts'
import { pointTag } from '../../metadata/tags.ts'

function send(cached: CachedRepository, method: ApiRequest['method'], path: string, body?: unknown) {
  return cached.api.send({
    method,
    path: `${cached.path}${path}`,
    as: 'owner',
    ...(body === undefined ? {} : { body }),
  })
}

async function rootOf({ api, repository }: CachedRepository, digest: string) {
  return api.metadata.db
    .selectFrom('root')
    .innerJoin('manifest', 'manifest.id', 'root.manifest_id')
    .select(['root.expires_at', 'root.is_pinned'])
    .where('manifest.repository_id', '=', repository.id)
    .where('manifest.digest', '=', digest)
    .executeTakeFirst()
}

/** Nobody has received a byte for a while: what was reserved is released. */
async function release({ api, organization }: CachedRepository, digest: string): Promise<void> {
  await api.metadata.transaction(async (tx) => {
    await lockUsage(tx, organization.id)
    await endReservationsOf(tx, organization.id, digest)
  })
}

async function setQuota({ api, organization }: CachedRepository, limitBytes: number): Promise<void> {
  const quota = await createQuota(api.metadata.db, { organizationId: organization.id, limitBytes, nowMs: 0 })
  assert.ok(quota)
}

test('a pinned tag never expires, is not changed by hand, and lives on like after a pull when it is unpinned', async (t) => {
  const cached = await startWithRepository(t)
  const image = makeImage([])
  await keep(cached, image, ['v1'])
  for (let times = 1; times <= 2; times++) assert.equal((await send(cached, 'PUT', '/tag/v1/pin')).statusCode, 201)
  assert.deepEqual(await rootOf(cached, image.digest), { expires_at: null, is_pinned: 1 })
  const [tag] = (await send(cached, 'GET', '/tag/')).json().tags
  assert.deepEqual([tag.is_pinned, tag.end_ts], [true, undefined])
  const seconds = cached.api.time.nowMs / 1000
  const digest = { manifest_digest: image.digest }
  for (const [method, path, body] of [
    ['PUT', '/tag/v1', { expiration: seconds + 7200 }],
    ['DELETE', '/tag/v1', undefined],
    ['POST', '/tag/v1/expire', { ...digest, is_alive: true }],
  ] as const) {
    const answer = await send(cached, method, path, body)
    assert.deepEqual([answer.statusCode, answer.json().error_type], [409, 'conflict'], `${method} ${path}`)
  }
  assert.equal((await send(cached, 'PUT', '/tag/v1', { expiration: null })).statusCode, 201)
  assert.equal((await rootOf(cached, image.digest))?.expires_at, null)
  cached.api.time.nowMs += 5000
  assert.equal((await send(cached, 'DELETE', '/tag/v1/pin')).statusCode, 204)
  assert.equal((await send(cached, 'DELETE', '/tag/v1/pin')).statusCode, 404)
  const expires_at = cached.api.time.nowMs + EXPIRATION_S * 1000
  assert.deepEqual(await rootOf(cached, image.digest), { expires_at, is_pinned: 0 })
})

test('a pinned digest stays when its tags move on, and gets a time of its own when it is unpinned', async (t) => {
  const cached = await startWithRepository(t)
  const [image, next] = [makeImage([]), makeImage([])]
  await keep(cached, image, ['v1'])
  const path = `/manifest/${image.digest}/pin`
  assert.equal((await send(cached, 'PUT', path)).statusCode, 201)
  await keep(cached, next, ['v1'])
  assert.deepEqual(await rootOf(cached, image.digest), { expires_at: null, is_pinned: 1 })
  const expire = { manifest_digest: image.digest, is_alive: false }
  assert.equal((await send(cached, 'POST', '/tag/v1/expire', expire)).statusCode, 409)
  cached.api.time.nowMs += 30 * 86_400_000
  assert.equal((await send(cached, 'DELETE', path)).statusCode, 204)
  const expires_at = cached.api.time.nowMs + EXPIRATION_S * 1000
  assert.deepEqual(await rootOf(cached, image.digest), { expires_at, is_pinned: 0 })
})

test('what is pinned must fit in the limit, and a refused pin changes nothing', async (t) => {
  const cached = await startWithRepository(t)
  const shared = freshDigest()
  const [left, right] = [makeImage([makeLayer(shared, 5000)]), makeImage([makeLayer(shared, 5000)])]
  const third = makeImage([makeLayer(freshDigest(), 5000)])
  for (const [name, image] of [
    ['left', left],
    ['right', right],
    ['third', third],
  ] as const) {
    await keep(cached, image, [name])
  }
  const charge = await chargeOf(cached)
  await setQuota(cached, charge - 1)
  for (const name of ['left', 'right']) assert.equal((await send(cached, 'PUT', `/tag/${name}/pin`)).statusCode, 201)
  const refused = await send(cached, 'PUT', '/tag/third/pin')
  assert.equal(refused.statusCode, 409)
  assert.match(refused.json().detail, new RegExp(`${charge} bytes, the quota allows ${charge - 1}`))
  assert.equal((await rootOf(cached, third.digest))?.is_pinned, 0)
  assert.equal(await chargeOf(cached), charge)
})

test('a pin completes its image: what is missing is charged, reserved and wanted, if it fits', async (t) => {
  const cached = await startWithRepository(t)
  const layer = freshDigest()
  const [image, other] = [makeImage([makeLayer(layer, 5000)]), makeImage([])]
  await keep(cached, image, ['v1'])
  await keep(cached, other, ['other'])
  const whole = await chargeOf(cached)
  await release(cached, layer)
  const incomplete = await chargeOf(cached)
  assert.ok(incomplete < whole - 5000)
  await setQuota(cached, whole - 1)
  assert.equal((await send(cached, 'PUT', '/tag/v1/pin')).statusCode, 409)
  assert.equal(await chargeOf(cached), incomplete)
  await cached.api.metadata.db.updateTable('quota').set({ limit_bytes: whole }).execute()
  assert.equal((await send(cached, 'PUT', '/tag/v1/pin')).statusCode, 201)
  assert.equal(await chargeOf(cached), whole)
  const wanted = await cached.api.metadata.db.selectFrom('ingest').select(['digest', 'size_bytes']).execute()
  assert.deepEqual(new Map(wanted.map((row) => [row.digest, row.size_bytes])).get(layer), 5000)
})

test('a tag that a pull moves keeps its pin', async (t) => {
  const cached = await startWithRepository(t)
  const [image, next] = [makeImage([]), makeImage([])]
  await keep(cached, image, ['v1'])
  await keep(cached, next, ['v2'])
  await send(cached, 'PUT', '/tag/v1/pin')
  const { nowMs } = cached.api.time
  await cached.api.metadata.transaction((tx) =>
    pointTag(tx, {
      repositoryId: cached.repository.id,
      name: 'v1',
      digest: next.digest,
      nowMs: nowMs + 1,
      expiresAtMs: nowMs + 2,
    }),
  )
  assert.deepEqual(await rootOf(cached, next.digest), { expires_at: null, is_pinned: 1 })
  assert.equal((await rootOf(cached, image.digest))?.is_pinned, 0)
})
