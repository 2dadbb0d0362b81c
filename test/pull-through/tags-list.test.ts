/** DESIGN part 4, *The rest of /v2*: tags and the catalog. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image } from '../fakes/content.ts'
import { assertRefused } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import type { ClientAnswer } from './registry-client.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const v1 = image({ seed: 'v1' })
const list = 'app/tags/list'

function tagsOf(cache: Cache, answer: ClientAnswer): string[] {
  assert.equal(answer.status, 200, answer.body.toString())
  const document = JSON.parse(answer.body.toString())
  assert.equal(document.name, `${cache.organization}/app`)
  return document.tags
}

test('the upstream’s whole list, all its pages, sorted; kept 60 s; it creates nothing', async (t) => {
  const tags = Object.fromEntries(['b', 'a', 'C', '1', 'z', '_x'].map((tag) => [tag, v1]))
  const cache = await entrepot.cache(t, { app: tags })
  cache.upstream.quirk('*/tags/list', { tagPages: 2 })
  const sorted = ['1', 'C', '_x', 'a', 'b', 'z']
  assert.deepEqual(tagsOf(cache, await cache.get(list)), sorted)
  assert.equal(cache.upstream.transcript.take().length, 3)
  cache.upstream.repository('app').tag('new', v1)
  await entrepot.clock.advance(59_000)
  assert.deepEqual(tagsOf(cache, await cache.get(list)), sorted)
  assert.deepEqual(cache.upstream.transcript.take(), [])
  await entrepot.clock.advance(2_000)
  assert.ok(tagsOf(cache, await cache.get(list)).includes('new'))
  assert.deepEqual(await cache.repositories(), [])
})

test('it is merged with what we hold', async (t) => {
  const cache = await entrepot.cache(t, { app: { gone: v1, here: v1 } })
  await cache.get('app/manifests/gone')
  cache.upstream.repository('app').untag('gone')
  assert.deepEqual(tagsOf(cache, await cache.get(list)), ['gone', 'here'])
})

for (const status of [500, 503, 429]) {
  test(`ours alone when the upstream answers ${status}`, async (t) => {
    const cache = await entrepot.cache(t, { app: { held: v1, other: v1 } })
    await cache.get('app/manifests/held')
    cache.upstream.quirk('*/tags/list', { status })
    assert.deepEqual(tagsOf(cache, await cache.get(list)), ['held'])
  })
}

test('when it is down and nothing is held, that is an error and not an empty list', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  await cache.upstream.refuse()
  assertRefused(await cache.get(list), 502, 'UNAVAILABLE')
})

test('a repository that the upstream does not know is 404 NAME_UNKNOWN; one it refuses is 403', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  assertRefused(await cache.get('nothing/tags/list'), 404, 'NAME_UNKNOWN')
  cache.upstream.quirk('*', { status: 401 })
  assertRefused(await cache.get('app/tags/list'), 403, 'DENIED')
})

test('it is paged by us: n, last and Link', async (t) => {
  const cache = await entrepot.cache(t, { app: { a: v1, b: v1, c: v1, d: v1, e: v1 } })
  const pages: string[][] = []
  let next: string | undefined = `/v2/${cache.organization}/${list}?n=2`
  while (next !== undefined) {
    const answer: ClientAnswer = await cache.client.get(next)
    pages.push(tagsOf(cache, answer))
    next = /^<([^>]+)>; rel="next"$/.exec(String(answer.headers.link))?.[1]
  }
  assert.deepEqual(pages, [['a', 'b'], ['c', 'd'], ['e']])
  assert.deepEqual(tagsOf(cache, await cache.get(`${list}?last=c`)), ['d', 'e'])
  assert.deepEqual(tagsOf(cache, await cache.get(`${list}?last=bb&n=1`)), ['c'])
  assert.deepEqual(tagsOf(cache, await cache.get(`${list}?n=0`)), [])
  assert.deepEqual(tagsOf(cache, await cache.get(`${list}?n=10000`)), ['a', 'b', 'c', 'd', 'e'])
  assert.equal(cache.upstream.transcript.take().length, 1)
})

test('an n that is no number is 400', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  for (const n of ['-1', 'x', '1.5', '', '99999999999999999999', '1e3', '%00']) {
    const answer = await cache.get(`${list}?n=${n}`)
    assert.equal(answer.status, 400, `n=${n}`)
  }
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('an endless list is bounded', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  cache.upstream.quirk('*/tags/list', { headers: { link: '</v2/app/tags/list?last=v1>; rel="next"' } })
  assert.deepEqual(tagsOf(cache, await cache.get(list)), ['v1'])
  assert.ok(cache.upstream.transcript.take().length < 1000)
})

test('a Link to another host is not followed', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } })
  const other = await entrepot.cache(t, { app: { evil: v1 } })
  cache.upstream.quirk('*/tags/list', { headers: { link: `<${other.upstream.url}/v2/app/tags/list>; rel="next"` } })
  await cache.get(list)
  assert.deepEqual(other.upstream.transcript.take(), [])
})

test('the catalog is what the caller may see, paged', async (t) => {
  const cache = await entrepot.cache(t, { a: { v1 }, b: { v1 }, 'c/d': { v1 } })
  for (const name of ['a', 'b', 'c/d']) await cache.get(`${name}/manifests/v1`)
  const names = ['a', 'b', 'c/d'].map((name) => `${cache.organization}/${name}`)
  assert.deepEqual(await cache.repositories(), ['a', 'b', 'c/d'])
  const stranger = cache.as(await entrepot.createUser())
  const seen = JSON.parse((await stranger.client.get('/v2/_catalog?n=10000')).body.toString()).repositories
  assert.deepEqual(
    seen.filter((name: string) => names.includes(name)),
    [],
  )
  const one = await cache.client.get('/v2/_catalog?n=1')
  assert.equal(JSON.parse(one.body.toString()).repositories.length, 1)
  assert.match(String(one.headers.link), /rel="next"/)
})

test('a token for the catalog lists it, and one for a repository does not', async (t) => {
  const cache = await entrepot.cache(t, { a: { v1 } })
  await cache.get('a/manifests/v1')
  const anonymous = cache.as(undefined).client
  const list = async (scope: string) => {
    const { token } = JSON.parse((await cache.client.get(`/v2/auth?scope=${scope}`)).body.toString())
    return anonymous.get('/v2/_catalog?n=10000', { authorization: `Bearer ${token}` })
  }
  const allowed = await list('registry:catalog:*')
  assert.equal(allowed.status, 200)
  assert.ok(JSON.parse(allowed.body.toString()).repositories.includes(`${cache.organization}/a`))
  assert.equal((await list(`repository:${cache.organization}/a:pull`)).status, 401)
})
