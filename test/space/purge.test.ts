/** DESIGN part 6, additions: purging what is cached, and the preview of an eviction, against a real server. */
import assert from 'node:assert/strict'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { openMetadata } from '../../src/metadata/open.ts'
import { refreshRootsOf } from '../../src/metadata/roots.ts'
import { blobsOf, type FakeManifest, image, index } from '../fakes/content.ts'
import { Gate } from '../fakes/gate.ts'
import { assertServed } from '../pull-through/assert-answer.ts'
import type { Cache } from '../pull-through/cache.ts'
import { type Entrepot, startEntrepot } from '../pull-through/start-entrepot.ts'
import { runCommand } from './run-command.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const a1 = image({ layers: 2, layerBytes: 20_000, seed: 'a1' })
const a2 = image({
  layers: [...a1.layers.slice(0, 1), ...image({ seed: 'a2', layerBytes: 20_000 }).layers],
  seed: 'a2',
})
const b1 = image({ layers: 1, layerBytes: 30_000, seed: 'b1' })

async function cached(t: TestContext): Promise<Cache> {
  const cache = await entrepot.cache(t, { a: { one: a1, two: a2 }, 'deep/b': { one: b1 } })
  await pull(cache, 'a', 'one', a1)
  await entrepot.clock.advance(60_000)
  await pull(cache, 'a', 'two', a2)
  await entrepot.clock.advance(60_000)
  await pull(cache, 'deep/b', 'one', b1)
  await entrepot.clock.advance(60_000)
  return cache
}

async function pull(cache: Cache, repository: string, reference: string, content: FakeManifest): Promise<void> {
  assert.equal((await cache.get(`${repository}/manifests/${reference}`)).status, 200)
  for (const { digest, bytes } of blobsOf(content)) {
    assertServed(await cache.get(`${repository}/blobs/${digest}`), { bytes })
  }
  await entrepot.ingestsEnded()
}

function post(cache: Cache, document: unknown, authorization?: string) {
  const path = `/api/v1/organization/${cache.organization}/purge`
  return entrepot.api('POST', path, JSON.stringify(document), authorization)
}

async function purge(cache: Cache, document: unknown = {}) {
  const answer = await post(cache, document)
  assert.equal(answer.status, 200, answer.body.toString())
  return JSON.parse(answer.body.toString())
}

async function preview(cache: Cache, bytes: string | number) {
  const answer = await entrepot.api('GET', `/api/v1/organization/${cache.organization}/quota/preview?bytes=${bytes}`)
  return { status: answer.status, ...JSON.parse(answer.body.toString()) }
}

async function isInStore(digest: string): Promise<boolean> {
  const hex = digest.slice('sha256:'.length)
  return access(join(entrepot.folder, 'data', 'blobs', 'sha256', hex.slice(0, 2), hex)).then(
    () => true,
    () => false,
  )
}

function sizeOf(...images: readonly FakeManifest[]): number {
  const parts = new Map<string, number>()
  for (const content of images) {
    parts.set(content.digest, content.bytes.byteLength)
    for (const { digest, bytes } of blobsOf(content)) parts.set(digest, bytes.byteLength)
  }
  return [...parts.values()].reduce((sum, bytes) => sum + bytes, 0)
}

function run(args: readonly string[], answer?: string) {
  return runCommand(entrepot.origin, args, answer)
}

test('one tag goes with its bytes, what others share stays, and the next pull fetches it again', async (t) => {
  const cache = await cached(t)
  const purged = await purge(cache, { repository: 'a', reference: 'one' })
  assert.equal(purged.removed_images, 1)
  assert.equal(purged.freed_bytes, sizeOf(a1, a2) - sizeOf(a2))
  assert.equal(await isInStore(a1.layers[1]?.digest ?? ''), false)
  assert.equal(await isInStore(a1.layers[0]?.digest ?? ''), true)
  await pull(cache, 'a', 'one', a1)
})

test('a repository goes, and the others stay', async (t) => {
  const cache = await cached(t)
  const purged = await purge(cache, { repository: 'a' })
  assert.deepEqual([purged.removed_images, purged.freed_bytes], [2, sizeOf(a1, a2)])
  await cache.upstream.refuse()
  assert.equal((await cache.get('deep/b/manifests/one')).status, 200)
  assert.equal((await cache.get('a/manifests/one')).status, 502)
})

test('everything of the organization goes, and nothing of another', async (t) => {
  const [cache, other] = [await cached(t), await cached(t)]
  const foreseen = await purge(cache, { dry_run: true })
  assert.deepEqual([foreseen.images, foreseen.freed_bytes], [3, sizeOf(a1, a2, b1)])
  const purged = await purge(cache)
  assert.deepEqual([purged.state, purged.removed_images, purged.freed_bytes], ['done', 3, foreseen.freed_bytes])
  await other.upstream.refuse()
  for (const { digest, bytes } of blobsOf(a1)) assertServed(await other.get(`a/blobs/${digest}`), { bytes })
  assert.equal((await purge(cache)).removed_images, 0)
})

test('a digest goes though an index holds it', async (t) => {
  const children = [image({ seed: 'left' }), image({ seed: 'right' })]
  const whole = index(children)
  const cache = await entrepot.cache(t, { app: { latest: whole } })
  assert.equal((await cache.get('app/manifests/latest')).status, 200)
  const [left, right] = children
  assert.ok(left && right)
  for (const child of children) await pull(cache, 'app', child.digest, child)
  const purged = await purge(cache, { repository: 'app', reference: left.digest })
  assert.deepEqual([purged.removed_images, purged.freed_bytes], [1, sizeOf(left)])
  cache.upstream.transcript.take()
  await pull(cache, 'app', right.digest, right)
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('what a client is receiving stays, and it gets all of it', async (t) => {
  const cache = await cached(t)
  const big = image({ layers: 1, layerBytes: 3_000_000, seed: 'big' })
  cache.upstream.repository('big').tag('latest', big)
  const gate = new Gate()
  const [layer] = big.layers
  assert.ok(layer)
  cache.upstream.quirk(`GET /v2/big/blobs/${layer.digest}`, { hangBeforeHeaders: gate })
  assert.equal((await cache.get('big/manifests/latest')).status, 200)
  const receiving = cache.get(`big/blobs/${layer.digest}`)
  await cache.upstream.transcript.until(({ entries }) => entries.some(({ target }) => target.includes(layer.digest)))
  await entrepot.clock.advance(60_000)
  const purged = await purge(cache)
  assert.deepEqual([purged.removed_images, purged.skipped_in_use], [3, 1])
  gate.open()
  assertServed(await receiving, { bytes: layer.bytes })
})

test('what is pinned stays unless it is included', async (t) => {
  const cache = await cached(t)
  await entrepot.halt()
  const { db, close } = await openMetadata({ uri: undefined, dataFolder: join(entrepot.folder, 'data') })
  const tag = await db
    .selectFrom('tag')
    .innerJoin('organization', 'organization.id', 'tag.organization_id')
    .select(['tag.organization_id', 'tag.repository_id', 'tag.digest'])
    .where('organization.name', '=', cache.organization)
    .where('tag.name', '=', 'two')
    .executeTakeFirstOrThrow()
  const { organization_id, repository_id, digest } = tag
  await db
    .insertInto('pin')
    .values({ organization_id, repository_id, kind: 'tag', reference: 'two', created_at: 0 })
    .execute()
  await db.transaction().execute((tx) => refreshRootsOf(tx, repository_id, [digest]))
  await close()
  await entrepot.start()
  const first = await purge(cache, { repository: 'a', reference: 'two' })
  assert.deepEqual([first.removed_images, first.skipped_pinned], [0, 1])
  const second = await purge(cache)
  assert.deepEqual([second.removed_images, second.skipped_pinned], [2, 1])
  const third = await purge(cache, { include_pinned: true })
  assert.deepEqual([third.removed_images, third.skipped_pinned], [1, 0])
})

test('only administrators of the organization purge', async (t) => {
  const cache = await cached(t)
  const user = await entrepot.createUser()
  const basic = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString('base64')}`
  assert.equal((await post(cache, {}, basic)).status, 403)
  assert.equal((await post(cache, {}, 'none')).status, 401)
  assert.equal((await purge(cache, { dry_run: true })).images, 3)
})

test('what is not there, or is no name, is refused, and nothing goes', async (t) => {
  const cache = await cached(t)
  const refused: [unknown, number][] = [
    [{ repository: 'none' }, 404],
    [{ repository: 'a', reference: 'none' }, 404],
    [{ repository: 'a', reference: `sha256:${'0'.repeat(64)}` }, 404],
    [{ repository: 'a', reference: 'sha256:12' }, 400],
    [{ repository: '../a' }, 400],
    [{ repository: 'A' }, 400],
    [{ reference: 'one' }, 400],
    [{ repository: 7 }, 400],
    [{ include_pinned: 'yes' }, 400],
    [{ repository: 'a'.repeat(600) }, 400],
  ]
  for (const [document, status] of refused) {
    const answer = await post(cache, document)
    assert.equal(answer.status, status, JSON.stringify(document))
  }
  assert.equal((await purge(cache, { dry_run: true })).images, 3)
})

test('a preview says what would go, in order, and changes nothing', async (t) => {
  const cache = await cached(t)
  const limit = sizeOf(a1, a2, b1) + 1000
  await entrepot.must('POST', `/api/v1/organization/${cache.organization}/quota`, { limit_bytes: limit })
  assert.equal((await preview(cache, 1000)).outcome, 'fits')
  const one = await preview(cache, 1001)
  assert.deepEqual([one.outcome, one.fits, one.charge_bytes, one.limit_bytes], ['evicts', true, limit - 1000, limit])
  assert.deepEqual(
    one.images.map(({ repository, tags, digest }: Record<string, unknown>) => [repository, tags, digest]),
    [['a', ['one'], a1.digest]],
  )
  assert.deepEqual([one.images[0].size_bytes, one.images[0].frees_bytes], [sizeOf(a1), sizeOf(a1, a2) - sizeOf(a2)])
  const all = await preview(cache, limit)
  assert.deepEqual([all.images.length, all.freed_bytes], [3, limit - 1000])
  const tooLarge = await preview(cache, limit + 1)
  assert.deepEqual([tooLarge.outcome, tooLarge.fits, tooLarge.images], ['too_large', false, []])
  for (const bytes of ['-1', '0', '1.5', 'x', '', '9007199254740993', '1&bytes=2']) {
    const bad = await preview(cache, bytes)
    assert.equal(bad.status, 400, bytes)
    assert.match(bad.detail, /^bytes: /)
  }
  assert.equal((await purge(cache, { dry_run: true })).images, 3)
  const ran = await run(['quota', 'preview', cache.organization, '1001'])
  assert.equal(ran.code, 0, ran.err)
  assert.match(ran.out, /these would go.*\n {2}a one, last pulled /)
  assert.equal((await run(['quota', 'preview', cache.organization, '-1'])).code, 2)
})

test('the command shows what would go and asks, unless it is told not to', async (t) => {
  const cache = await cached(t)
  const no = await run(['purge', `${cache.organization}/a`], 'n')
  assert.equal(no.code, 1)
  assert.match(no.err, /2 images of .* would go/)
  assert.equal((await run(['purge', cache.organization])).code, 1)
  assert.equal((await purge(cache, { dry_run: true })).images, 3)
  const yes = await run(['purge', `${cache.organization}/deep/b:one`], 'y')
  assert.equal(yes.code, 0, yes.err)
  assert.match(yes.out, /Removed 1 image /)
  const all = await run(['purge', cache.organization, '--yes', '--json'])
  assert.equal(JSON.parse(all.out).removed_images, 2)
  for (const what of ['', '/a', 'org:tag', 'org/', 'org/a:', 'org/a@']) {
    assert.equal((await run(['purge', what, '--yes'])).code, 2, what)
  }
})
