import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type CachedRepository,
  chargeOf,
  EXPIRATION_S,
  keep,
  startWithRepository,
  tagsOf,
} from '../../../test/api/cached-repository.ts'
import type { ApiRequest } from '../../../test/api/start-api.ts'
import { freshDigest, makeImage, makeIndex, makeLayer } from '../../../test/contracts/metadata-case.ts'

const HOUR_S = 3600
const DAY_S = 24 * HOUR_S
const WINDOW_S = 14 * DAY_S

type View = { name: string; manifest_digest: string; [field: string]: unknown }

function send(cached: CachedRepository, method: ApiRequest['method'], path: string, body?: unknown, as = 'owner') {
  return cached.api.send({ method, path: `${cached.path}${path}`, as, ...(body === undefined ? {} : { body }) })
}

async function list(cached: CachedRepository, query = '', as = 'member'): Promise<View[]> {
  const answer = await send(cached, 'GET', `/tag/${query}`, undefined, as)
  assert.equal(answer.statusCode, 200, answer.body)
  return answer.json().tags
}

function pass(cached: CachedRepository, seconds: number): void {
  cached.api.time.nowMs += seconds * 1000
}

function nowSeconds(cached: CachedRepository): number {
  return Math.floor(cached.api.time.nowMs / 1000)
}

async function logKinds({ api, organization }: CachedRepository): Promise<string[]> {
  const rows = await api.metadata.db
    .selectFrom('log_entry')
    .select('kind')
    .where('organization_id', '=', organization.id)
    .orderBy('id')
    .execute()
  return rows.map((row) => row.kind)
}

test("tags are told in Quay's fields, with ours beside them", async (t) => {
  const cached = await startWithRepository(t)
  const image = makeImage([makeLayer(freshDigest(), 1000)])
  const absent = freshDigest()
  const index = makeIndex([image.digest, absent])
  await keep(cached, image, ['v1'])
  pass(cached, 1)
  await keep(cached, index, ['multi'])
  const [multi, single] = await list(cached)
  assert.ok(multi && single)
  const start = Date.UTC(2030, 0, 1) / 1000
  assert.deepEqual(single, {
    name: 'v1',
    reversion: false,
    start_ts: start,
    end_ts: start + EXPIRATION_S,
    last_modified: 'Tue, 01 Jan 2030 00:00:00 -0000',
    expiration: 'Wed, 02 Jan 2030 00:00:00 -0000',
    manifest_digest: image.digest,
    is_manifest_list: false,
    size: 1007,
    last_pulled: 'Tue, 01 Jan 2030 00:00:00 -0000',
    is_incomplete: true,
    is_pinned: false,
    evicted: false,
  })
  assert.equal(multi['is_manifest_list'], true)
  assert.equal(multi['size'], null)
  assert.equal(multi['is_sparse'], true)
  assert.deepEqual([multi['child_manifest_count'], multi['present_child_count']], [2, 1])
  assert.deepEqual(multi['child_manifests_presence'], { [image.digest]: true, [absent]: false })
})

test('a tag that expires leaves the list, stays in the history, and can be restored within the window', async (t) => {
  const cached = await startWithRepository(t)
  const image = makeImage([])
  await keep(cached, image, ['v1'])
  pass(cached, EXPIRATION_S)
  assert.deepEqual(await list(cached, '?onlyActiveTags=true'), [])
  const [kept] = await list(cached)
  assert.equal(kept?.['end_ts'], nowSeconds(cached))
  assert.equal(Date.parse(String(kept?.['kept_until'])), cached.api.time.nowMs + WINDOW_S * 1000)
  pass(cached, WINDOW_S - 1)
  const restore = { manifest_digest: image.digest }
  const answer = await send(cached, 'POST', '/tag/v1/restore', restore)
  assert.equal(answer.statusCode, 200, answer.body)
  assert.deepEqual(answer.json(), {})
  const [alive, former] = await list(cached)
  assert.deepEqual([alive?.['reversion'], alive?.['end_ts']], [true, nowSeconds(cached) + EXPIRATION_S])
  assert.equal(former?.['end_ts'], Date.UTC(2030, 0, 2) / 1000, 'it had ended when it expired')
  pass(cached, EXPIRATION_S + WINDOW_S)
  const late = await send(cached, 'POST', '/tag/v1/restore', restore)
  assert.equal(late.statusCode, 400)
  assert.match(late.json().detail, /kept for 1209600 seconds/)
  assert.deepEqual(await logKinds(cached), ['revert_tag'])
})

test('what was evicted is a record that says so, and cannot be restored', async (t) => {
  const cached = await startWithRepository(t)
  const image = makeImage([])
  const [tag] = await keep(cached, image, ['v1'])
  await cached.api.metadata.db
    .updateTable('tag')
    .set({ ended_at: cached.api.time.nowMs, evicted_at: cached.api.time.nowMs })
    .where('id', '=', tag?.id ?? 0)
    .execute()
  const [record] = await list(cached)
  assert.deepEqual([record?.['evicted'], record?.['kept_until']], [true, undefined])
  const answer = await send(cached, 'POST', '/tag/v1/restore', { manifest_digest: image.digest })
  assert.equal(answer.statusCode, 400)
  assert.match(answer.json().detail, /evicted/)
})

test("an expiry is set by hand within Quay's bounds, and null gives the organization's own anew", async (t) => {
  const cached = await startWithRepository(t)
  await keep(cached, makeImage([]), ['v1'])
  const start = nowSeconds(cached)
  const set = async (expiration: number | null) => {
    const answer = await send(cached, 'PUT', '/tag/v1', { expiration })
    assert.equal(answer.statusCode, 201, answer.body)
    assert.equal(answer.body, '"Updated"')
    return (await list(cached))[0]?.['end_ts']
  }
  assert.equal(await set(start + 5 * DAY_S), start + 5 * DAY_S)
  assert.equal(await set(start + 1), start + HOUR_S)
  assert.equal(await set(start + 10_000 * DAY_S), start + 728 * DAY_S)
  pass(cached, 60)
  assert.equal(await set(null), start + 60 + EXPIRATION_S)
  // Past the latest instant that counts from the tag's start, it counts from now.
  assert.equal(await set(start + 728 * DAY_S), start + 728 * DAY_S)
  pass(cached, 728 * DAY_S - 61)
  assert.equal(await set(start + 729 * DAY_S), start + 728 * DAY_S)
  assert.deepEqual(new Set(await logKinds(cached)), new Set(['change_tag_expiration']))
})

test('a tag is moved to a digest that is held, and to no other', async (t) => {
  const cached = await startWithRepository(t)
  const [first, second] = [makeImage([]), makeImage([])]
  await keep(cached, first, ['v1'])
  await keep(cached, second, ['v2'])
  const moved = await send(cached, 'PUT', '/tag/v1', { manifest_digest: second.digest })
  assert.equal(moved.statusCode, 201, moved.body)
  assert.deepEqual((await tagsOf(cached, second.digest)).sort(), ['v1', 'v2'])
  assert.equal((await send(cached, 'PUT', '/tag/v1', { manifest_digest: freshDigest() })).statusCode, 404)
  assert.equal((await send(cached, 'PUT', '/tag/none', { manifest_digest: second.digest })).statusCode, 404)
  assert.deepEqual(await logKinds(cached), ['move_tag'])
})

test('a deleted tag expires now, is kept, and is deleted for good with its bytes when nothing else holds them', async (t) => {
  const cached = await startWithRepository(t)
  const shared = freshDigest()
  const [image, other] = [makeImage([makeLayer(shared, 1000)]), makeImage([makeLayer(shared, 1000)])]
  await keep(cached, image, ['v1', 'same'])
  await keep(cached, other, ['other'])
  const before = await chargeOf(cached)
  const deleted = await send(cached, 'DELETE', '/tag/v1')
  assert.deepEqual([deleted.statusCode, deleted.body], [204, ''])
  assert.equal((await send(cached, 'DELETE', '/tag/v1')).statusCode, 404)
  assert.equal((await list(cached, '?onlyActiveTags=1&specificTag=v1')).length, 0)
  assert.equal((await list(cached, '?specificTag=v1')).length, 1)
  const target = { manifest_digest: image.digest, include_submanifests: true, is_alive: false }
  const expire = (name: string, body: object) => send(cached, 'POST', `/tag/${name}/expire`, body)
  assert.equal((await expire('v1', { ...target, is_alive: true })).statusCode, 404, 'it does not live')
  assert.equal((await expire('v1', target)).statusCode, 200)
  assert.deepEqual(await list(cached, '?specificTag=v1'), [])
  assert.equal(await chargeOf(cached), before, 'another tag holds the image')
  assert.equal((await expire('same', target)).statusCode, 404, 'it lives')
  assert.equal((await expire('same', { ...target, is_alive: true })).statusCode, 200)
  assert.equal(await chargeOf(cached), before - image.manifest.bytes.byteLength - 7, 'the shared layer stays')
  assert.deepEqual(
    (await list(cached)).map((tag) => tag.name),
    ['other'],
  )
  assert.deepEqual(await logKinds(cached), ['delete_tag', 'permanently_delete_tag', 'permanently_delete_tag'])
})

test('history comes by pages and filters, and says what is wrong with a question', async (t) => {
  const cached = await startWithRepository(t)
  for (const name of ['v1', 'v2', 'latest']) await keep(cached, makeImage([]), [name])
  const page = async (query: string) => {
    const answer = await send(cached, 'GET', `/tag/?${query}`, undefined, 'member')
    const { tags, page, has_additional } = answer.json()
    return [answer.statusCode, tags.map((tag: View) => tag.name), page, has_additional]
  }
  assert.deepEqual(await page('limit=2'), [200, ['latest', 'v1'], 1, true])
  assert.deepEqual(await page('limit=2&page=2'), [200, ['v2'], 2, false])
  assert.deepEqual(await page('filter_tag_name=like:V'), [200, ['v1', 'v2'], 1, false])
  assert.deepEqual(await page('filter_tag_name=eq:v'), [200, [], 1, false])
  const wrong = ['page=0', 'page=-1', 'page=1.5', 'page=x', 'page=1e3', `page=${2 ** 53}`, 'page=3&limit=2', 'page=']
  wrong.push('limit=0', 'limit=101', 'limit=', 'page=1&page=2', 'filter_tag_name=v', 'onlyActiveTags=maybe')
  wrong.push(`specificTag=${'a'.repeat(2000)}`)
  for (const query of wrong) {
    const answer = await send(cached, 'GET', `/tag/?${query}`, undefined, 'member')
    assert.equal(answer.statusCode, 400, query)
    assert.ok(answer.json().detail.startsWith(query.split('=', 1)[0] ?? ''), answer.json().detail)
  }
})

test('images that were asked for by digest have a list of their own', async (t) => {
  const cached = await startWithRepository(t)
  const image = makeImage([])
  await keep(cached, image, [], { isByDigest: true })
  await keep(cached, makeImage([]), ['v1'])
  const images = async () => (await send(cached, 'GET', '/image', undefined, 'member')).json().images
  const [only, ...rest] = await images()
  assert.deepEqual(rest, [])
  assert.equal(only.manifest_digest, image.digest)
  assert.equal(only.end_ts, nowSeconds(cached) + EXPIRATION_S)
  assert.deepEqual(
    (await list(cached)).map((tag) => tag.name),
    ['v1'],
  )
})

test('who may not, and whoever belongs elsewhere, changes and sees nothing', async (t) => {
  const cached = await startWithRepository(t)
  const image = makeImage([])
  await keep(cached, image, ['v1'])
  const before = await chargeOf(cached)
  const writes: [ApiRequest['method'], string, unknown][] = [
    ['PUT', '/tag/v1', { expiration: null }],
    ['DELETE', '/tag/v1', undefined],
    ['POST', '/tag/v1/restore', { manifest_digest: image.digest }],
    ['POST', '/tag/v1/expire', { manifest_digest: image.digest, is_alive: true }],
    ['PUT', '/tag/v1/pin', undefined],
    ['DELETE', '/tag/v1/pin', undefined],
    ['PUT', `/manifest/${image.digest}/pin`, undefined],
    ['DELETE', `/manifest/${image.digest}/pin`, undefined],
  ]
  for (const [method, path, body] of writes) {
    for (const as of ['member', 'other', 'auditor']) {
      // Which repositories there are is not told to strangers.
      const status = as === 'other' ? 404 : 403
      assert.equal((await send(cached, method, path, body, as)).statusCode, status, `${as} ${method} ${path}`)
    }
    const anonymous = await cached.api.send({ method, path: `${cached.path}${path}`, ...(body ? { body } : {}) })
    assert.equal(anonymous.statusCode, 401)
    // The same digest, guessed, in an organization of one's own.
    const theirs = { method, path: `/api/v1/repository/theirs/app/web${path}`, as: 'other', ...(body ? { body } : {}) }
    assert.equal((await cached.api.send(theirs)).statusCode, 404)
  }
  for (const path of ['/tag/', '/image']) {
    assert.equal((await send(cached, 'GET', path, undefined, 'other')).statusCode, 404)
    assert.equal((await send(cached, 'GET', path, undefined, 'auditor')).statusCode, 200)
  }
  assert.equal(await chargeOf(cached), before)
  assert.equal((await list(cached)).length, 1)
  assert.deepEqual(await logKinds(cached), [])
})

test('hostile and mistaken requests are told what is wrong, and change nothing', async (t) => {
  const cached = await startWithRepository(t)
  const image = makeImage([])
  await keep(cached, image, ['v1'])
  const before = [await chargeOf(cached), await list(cached)]
  const past = nowSeconds(cached)
  const requests: [ApiRequest['method'], string, unknown, number][] = [
    ['PUT', '/tag/v1', { expiration: past }, 400],
    ['PUT', '/tag/v1', { expiration: -1 }, 400],
    ['PUT', '/tag/v1', { expiration: past + 0.5 }, 400],
    ['PUT', '/tag/v1', { expiration: '1' }, 400],
    ['PUT', '/tag/v1', { expiration: 2 ** 53 }, 400],
    ['PUT', '/tag/v1', { expiration: [past] }, 400],
    ['PUT', '/tag/v1', {}, 400],
    ['PUT', '/tag/v1', { manifest_digest: 'sha256:abc' }, 400],
    ['PUT', '/tag/none', { expiration: past + DAY_S }, 404],
    ['PUT', '/tag/%2e%2e', { expiration: past + DAY_S }, 404],
    ['PUT', '/tag/v%001', { expiration: past + DAY_S }, 404],
    ['PUT', '/tag/v1%2F..', { expiration: past + DAY_S }, 404],
    ['DELETE', '/tag/none', undefined, 404],
    ['POST', '/tag/v1/restore', {}, 400],
    ['POST', '/tag/v1/restore', { manifest_digest: 'latest' }, 400],
    ['POST', '/tag/v1/restore', { manifest_digest: freshDigest() }, 404],
    ['POST', '/tag/none/restore', { manifest_digest: image.digest }, 404],
    ['POST', '/tag/v1/expire', { is_alive: true }, 400],
    ['POST', '/tag/v1/expire', { manifest_digest: freshDigest(), is_alive: true }, 404],
    ['POST', '/tag/v1/expire', { manifest_digest: image.digest, is_alive: 'yes' }, 400],
    ['PUT', '/tag/none/pin', undefined, 404],
    ['PUT', `/manifest/${freshDigest()}/pin`, undefined, 404],
    ['PUT', '/manifest/v1/pin', undefined, 404],
    ['DELETE', '/tag/v1/pin', undefined, 404],
    ['POST', '/tag/v1', {}, 405],
    ['GET', '/tag/v1/nothing', undefined, 404],
    ['GET', '/../app/web/tag/', undefined, 404],
  ]
  for (const [method, path, body, status] of requests) {
    const answer = await send(cached, method, path, body)
    assert.equal(answer.statusCode, status, `${method} ${path} ${JSON.stringify(body)}: ${answer.body}`)
    assert.ok(answer.json().detail.length > 0)
  }
  for (const path of ['/api/v1/repository/cache/none/tag/', '/api/v1/repository/nowhere/app/tag/']) {
    assert.equal((await cached.api.send({ method: 'GET', path, as: 'owner' })).statusCode, 404)
  }
  assert.deepEqual([await chargeOf(cached), await list(cached)], before)
  assert.deepEqual(cached.api.internalErrors, [])
  assert.deepEqual(await logKinds(cached), [])
})
