/** Tags and what people do with them: roots in step, expiries set by hand, pins, restoring, and the history. */
import assert from 'node:assert/strict'
import type { Metadata } from '../../src/metadata/open.ts'
import { deletePin, findImageContent, insertPin, sumPinnedBytes } from '../../src/metadata/pins.ts'
import type { Repository } from '../../src/metadata/repositories.ts'
import { refreshRootsOf } from '../../src/metadata/roots.ts'
import { listTagRecords, restoreTag, setDigestExpiry, setTagExpiry } from '../../src/metadata/tag-changes.ts'
import { listTagHistory, listUntaggedImages } from '../../src/metadata/tag-history.ts'
import { applyUses, confirmTag, findTag, pointTag } from '../../src/metadata/tags.ts'
import {
  freshDigest,
  type MetadataCase,
  makeImage,
  makeIndex,
  makeLayer,
  NOW_MS,
  newRepository,
  store,
} from './metadata-case.ts'

const ALL = { onlyActiveTags: false, page: 1, limit: 50, nowMs: NOW_MS }

export const TAG_CHANGE_CASES: readonly MetadataCase[] = [
  {
    title: 'a root lives as long as the last of its tags, and is used with each',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const image = makeImage([])
      await store(metadata, repository, image)
      const { digest } = image
      await point(metadata, repository, { name: 'a', digest, expiresAtMs: NOW_MS + 10 })
      const b = await point(metadata, repository, { name: 'b', digest, expiresAtMs: NOW_MS + 20 })
      assert.deepEqual(await rootOf(metadata, repository, digest), [NOW_MS, NOW_MS + 20, 0])
      await use(metadata, b.id, NOW_MS + 5, NOW_MS + 30)
      assert.deepEqual(await rootOf(metadata, repository, digest), [NOW_MS + 5, NOW_MS + 30, 0])
      await confirmTag(metadata.db, b.id, { confirmedAtMs: NOW_MS + 6, expiresAtMs: undefined })
      assert.deepEqual(await rootOf(metadata, repository, digest), [NOW_MS + 5, null, 0])
    },
  },
  {
    title: 'a tag that moves makes both of its images roots, the former since it ended or expired',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const images = [makeImage([]), makeImage([]), makeImage([])] as const
      for (const image of images) await store(metadata, repository, image)
      const [{ digest: first }, { digest: second }, { digest: third }] = images
      await point(metadata, repository, { digest: first, expiresAtMs: NOW_MS + 10 })
      await point(metadata, repository, { digest: second, nowMs: NOW_MS + 5, expiresAtMs: NOW_MS + 10 })
      assert.equal((await rootOf(metadata, repository, first))[1], NOW_MS + 5)
      await point(metadata, repository, { digest: third, nowMs: NOW_MS + 50, expiresAtMs: undefined })
      assert.equal((await rootOf(metadata, repository, second))[1], NOW_MS + 10, 'it had expired before it moved')
      assert.equal((await rootOf(metadata, repository, third))[1], null)
    },
  },
  {
    title: 'an expiry that was set by hand gives way to the next pull, be it earlier',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const digest = freshDigest()
      const { id } = await point(metadata, repository, { digest, expiresAtMs: NOW_MS + 10 })
      const set = (expiresAtMs: number) =>
        metadata.transaction((tx) => setTagExpiry(tx, id, { expiresAtMs, isSet: true }))
      const expiry = async () => {
        const tag = await findTag(metadata.db, repository.id, 'latest')
        return [tag?.expiresAtMs, tag?.isExpirySet]
      }
      await set(NOW_MS + 1000)
      assert.deepEqual(await expiry(), [NOW_MS + 1000, true])
      await use(metadata, id, NOW_MS + 1, undefined)
      assert.deepEqual(await expiry(), [NOW_MS + 1000, true], 'a stale pull leaves it')
      await use(metadata, id, NOW_MS + 2, NOW_MS + 12)
      assert.deepEqual(await expiry(), [NOW_MS + 12, false])
      await use(metadata, id, NOW_MS + 3, NOW_MS + 11)
      assert.deepEqual(await expiry(), [NOW_MS + 12, false], 'then it never goes back')
      await set(NOW_MS + 1000)
      await confirmTag(metadata.db, id, { confirmedAtMs: NOW_MS + 4, expiresAtMs: NOW_MS + 14 })
      assert.deepEqual(await expiry(), [NOW_MS + 14, false])
      await set(NOW_MS + 1000)
      await point(metadata, repository, { digest, expiresAtMs: NOW_MS + 15 })
      assert.deepEqual(await expiry(), [NOW_MS + 15, false])
    },
  },
  {
    title: 'a pinned tag lives for ever, whatever pulls say and wherever it moves',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const images = [makeImage([]), makeImage([])] as const
      for (const image of images) await store(metadata, repository, image)
      const [{ digest: first }, { digest: second }] = images
      const { id } = await point(metadata, repository, { digest: first, expiresAtMs: NOW_MS + 10 })
      await pin(metadata, repository, 'tag', 'latest')
      await metadata.transaction((tx) => setTagExpiry(tx, id, { expiresAtMs: undefined, isSet: false }))
      assert.deepEqual(await rootOf(metadata, repository, first), [NOW_MS, null, 1])
      await use(metadata, id, NOW_MS + 1, NOW_MS + 11)
      await point(metadata, repository, { digest: first, nowMs: NOW_MS + 2, expiresAtMs: NOW_MS + 12 })
      assert.equal((await findTag(metadata.db, repository.id, 'latest'))?.expiresAtMs, undefined)
      await point(metadata, repository, { digest: second, nowMs: NOW_MS + 3, expiresAtMs: NOW_MS + 13 })
      assert.equal((await findTag(metadata.db, repository.id, 'latest'))?.expiresAtMs, undefined)
      assert.deepEqual(await rootOf(metadata, repository, second), [NOW_MS + 3, null, 1])
      assert.deepEqual(await rootOf(metadata, repository, first), [NOW_MS + 2, NOW_MS + 3, 0], 'the pin has moved on')
    },
  },
  {
    title: 'what is pinned counts each digest once, children and what is missing included',
    check: checkPinnedBytes,
  },
  {
    title: 'restoring begins a new row, and what was there goes to the history',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const [first, second] = [freshDigest(), freshDigest()]
      await point(metadata, repository, { digest: first, expiresAtMs: NOW_MS + 10 })
      await point(metadata, repository, { digest: second, nowMs: NOW_MS + 5, expiresAtMs: NOW_MS + 15 })
      const fields = { repositoryId: repository.id, name: 'latest', nowMs: NOW_MS + 20, expiresAtMs: NOW_MS + 30 }
      const tag = await metadata.transaction((tx) =>
        restoreTag(tx, { ...fields, digest: first, confirmedAtMs: NOW_MS }),
      )
      assert.deepEqual([tag.digest, tag.confirmedAtMs, tag.expiresAtMs], [first, NOW_MS, NOW_MS + 30])
      const records = await listTagRecords(metadata.db, { repositoryId: repository.id, name: 'latest' })
      assert.deepEqual(
        records.map((record) => [record.digest, record.isCurrent, record.endsAtMs]),
        [
          [first, true, NOW_MS + 30],
          [second, false, NOW_MS + 15],
          [first, false, NOW_MS + 5],
        ],
      )
    },
  },
  {
    title: 'the history has the latest first, by pages, and can be filtered',
    check: checkHistory,
  },
  {
    title: 'the history tells what an image is, what is missing of it, and which children are there',
    check: checkImages,
  },
  {
    title: 'a by-digest image is listed unless a live tag or a live index holds it',
    check: checkUntagged,
  },
]

function point(
  metadata: Metadata,
  repository: Repository,
  fields: { name?: string; digest: string; nowMs?: number; expiresAtMs: number | undefined },
) {
  const all = { repositoryId: repository.id, name: 'latest', nowMs: NOW_MS, ...fields }
  return metadata.transaction((tx) => pointTag(tx, all))
}

function use(metadata: Metadata, id: number, lastUsedAtMs: number, expiresAtMs: number | null | undefined) {
  return metadata.transaction((tx) => applyUses(tx, { tags: [{ id, lastUsedAtMs, expiresAtMs }], manifests: [] }))
}

/** Last use, expiry, and whether it is pinned. */
async function rootOf(metadata: Metadata, repository: Repository, digest: string): Promise<(number | null)[]> {
  const row = await metadata.db
    .selectFrom('root')
    .innerJoin('manifest', 'manifest.id', 'root.manifest_id')
    .select(['root.last_used_at', 'root.expires_at', 'root.is_pinned'])
    .where('root.repository_id', '=', repository.id)
    .where('manifest.digest', '=', digest)
    .executeTakeFirst()
  return row === undefined ? [] : [row.last_used_at, row.expires_at, row.is_pinned]
}

async function pin(metadata: Metadata, repository: Repository, kind: 'tag' | 'digest', reference: string) {
  const { id: repositoryId, organizationId } = repository
  await metadata.transaction(async (tx) => {
    assert.equal(await insertPin(tx, { repositoryId, organizationId, kind, reference, nowMs: NOW_MS }), true)
    assert.equal(await insertPin(tx, { repositoryId, organizationId, kind, reference, nowMs: NOW_MS }), false)
    if (kind === 'digest') await refreshRootsOf(tx, repositoryId, [reference])
  })
}

async function checkPinnedBytes(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const shared = freshDigest()
  const left = makeImage([makeLayer(shared, 100), makeLayer(freshDigest(), 20)])
  const right = makeImage([makeLayer(shared, 100)])
  const index = makeIndex([left.digest, right.digest, freshDigest()])
  const foreign = makeImage([{ ...makeLayer(freshDigest(), 5000), urls: ['https://elsewhere.test/x'] }])
  const ids = new Map<string, number>()
  for (const made of [left, right, index, foreign]) ids.set(made.digest, (await store(metadata, repository, made)).id)
  const bytes = (...made: { manifest: { bytes: Uint8Array } }[]) =>
    made.reduce((sum, { manifest }) => sum + manifest.bytes.byteLength, 0)
  const { organizationId } = repository
  const sum = (digest: string) => sumPinnedBytes(metadata.db, organizationId, ids.get(digest) ?? 0)
  assert.equal(await sum(index.digest), bytes(left, right, index) + 100 + 20 + 7 + 7)
  assert.equal(await sum(foreign.digest), bytes(foreign) + 7)
  await pin(metadata, repository, 'digest', left.digest)
  assert.equal(await sum(right.digest), bytes(left, right) + 100 + 20 + 7 + 7)
  const content = await findImageContent(metadata.db, ids.get(index.digest) ?? 0)
  assert.deepEqual(
    new Set(content.missing.map(({ digest }) => digest)),
    new Set([...left.parsed.blobs, ...right.parsed.blobs].map(({ digest }) => digest)),
  )
  await metadata.transaction(async (tx) => {
    const target = { repositoryId: repository.id, kind: 'digest', reference: left.digest } as const
    assert.equal(await deletePin(tx, target), true)
    assert.equal(await deletePin(tx, target), false)
  })
}

async function checkHistory(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const digests = [freshDigest(), freshDigest(), freshDigest()] as const
  await point(metadata, repository, { name: 'v1', digest: digests[0], expiresAtMs: NOW_MS + 10 })
  await point(metadata, repository, { name: 'V1_%', digest: digests[1], nowMs: NOW_MS + 1, expiresAtMs: undefined })
  await point(metadata, repository, { name: 'a', digest: digests[1], nowMs: NOW_MS + 1, expiresAtMs: undefined })
  await point(metadata, repository, { name: 'v1', digest: digests[2], nowMs: NOW_MS + 2, expiresAtMs: NOW_MS + 5 })
  const list = async (query: Partial<Parameters<typeof listTagHistory>[2]>) => {
    const { entries, hasMore } = await listTagHistory(metadata.db, repository.id, { ...ALL, ...query })
    return { names: entries.map(({ name, digest }) => `${name} ${digests.indexOf(digest)}`), hasMore }
  }
  assert.deepEqual(await list({}), { names: ['v1 2', 'V1_% 1', 'a 1', 'v1 0'], hasMore: false })
  assert.deepEqual(await list({ limit: 3 }), { names: ['v1 2', 'V1_% 1', 'a 1'], hasMore: true })
  assert.deepEqual(await list({ limit: 3, page: 2 }), { names: ['v1 0'], hasMore: false })
  assert.deepEqual((await list({ onlyActiveTags: true })).names, ['v1 2', 'V1_% 1', 'a 1'])
  assert.deepEqual((await list({ onlyActiveTags: true, nowMs: NOW_MS + 5 })).names, ['V1_% 1', 'a 1'])
  assert.deepEqual((await list({ specificTag: 'v1' })).names, ['v1 2', 'v1 0'])
  assert.deepEqual((await list({ filter: { kind: 'eq', text: 'V1' } })).names, [])
  assert.deepEqual((await list({ filter: { kind: 'like', text: 'V' } })).names, ['v1 2', 'V1_% 1', 'v1 0'])
  for (const text of ['_%', '%', '1_']) {
    assert.deepEqual((await list({ filter: { kind: 'like', text } })).names, ['V1_% 1'], text)
  }
  const { entries } = await listTagHistory(metadata.db, repository.id, { ...ALL, nowMs: NOW_MS + 5 })
  assert.deepEqual(
    entries.map((span) => [span.startedAtMs - NOW_MS, span.endsAtMs && span.endsAtMs - NOW_MS, span.isAlive]),
    [
      [2, 5, false],
      [1, undefined, true],
      [1, undefined, true],
      [0, 2, false],
    ],
  )
}

async function checkImages(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const layer = freshDigest()
  const image = makeImage([makeLayer(layer, 100), makeLayer(layer, 100)])
  const absent = freshDigest()
  const index = makeIndex([image.digest, absent])
  for (const made of [image, index]) await store(metadata, repository, made)
  await point(metadata, repository, { name: 'image', digest: image.digest, expiresAtMs: undefined })
  await point(metadata, repository, { name: 'index', digest: index.digest, expiresAtMs: undefined })
  await point(metadata, repository, { name: 'gone', digest: freshDigest(), expiresAtMs: undefined })
  const find = async () => {
    const { entries } = await listTagHistory(metadata.db, repository.id, ALL)
    return new Map(entries.map((span) => [span.name, span.image]))
  }
  const before = await find()
  assert.equal(before.get('gone'), undefined)
  assert.deepEqual([before.get('image')?.sizeBytes, before.get('image')?.isIncomplete], [107, true])
  const { isIndex, sizeBytes, childCount, presentChildCount, children, isIncomplete } = before.get('index') ?? {}
  assert.deepEqual([isIndex, sizeBytes, childCount, presentChildCount, isIncomplete], [true, undefined, 2, 1, true])
  assert.deepEqual(children, [
    { digest: image.digest, isPresent: true },
    { digest: absent, isPresent: false },
  ])
  for (const { digest, size } of image.parsed.blobs) {
    await metadata.db
      .insertInto('ledger')
      .values({
        organization_id: repository.organizationId,
        kind: 'blob',
        digest,
        size_bytes: size,
        stored_at: NOW_MS,
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
  const after = await find()
  assert.deepEqual([after.get('image')?.isIncomplete, after.get('index')?.isIncomplete], [false, false])
}

async function checkUntagged(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const images = [makeImage([]), makeImage([]), makeImage([])] as const
  const [alone, tagged, child] = images
  const index = makeIndex([child.digest])
  const outer = makeIndex([index.digest])
  const ids = new Map<string, number>()
  for (const made of [...images, index, outer]) ids.set(made.digest, (await store(metadata, repository, made)).id)
  await point(metadata, repository, { name: 'tagged', digest: tagged.digest, expiresAtMs: NOW_MS + 10 })
  await point(metadata, repository, { name: 'outer', digest: outer.digest, expiresAtMs: NOW_MS + 20 })
  for (const { digest } of images) {
    const manifest = { repositoryId: repository.id, id: ids.get(digest) ?? 0, digest, expiresAtMs: NOW_MS + 100 }
    await metadata.transaction((tx) => setDigestExpiry(tx, manifest))
  }
  const list = async (nowMs: number, page = 1) => {
    const found = await listUntaggedImages(metadata.db, repository.id, { page, limit: 2, nowMs })
    return { digests: new Set(found.entries.map(({ digest }) => digest)), hasMore: found.hasMore }
  }
  assert.deepEqual(await list(NOW_MS), { digests: new Set([alone.digest]), hasMore: false })
  assert.deepEqual((await list(NOW_MS + 10)).digests, new Set([alone.digest, tagged.digest]))
  assert.equal((await list(NOW_MS + 20)).hasMore, true)
  const all = [...(await list(NOW_MS + 20)).digests, ...(await list(NOW_MS + 20, 2)).digests]
  assert.deepEqual(new Set(all), new Set(images.map(({ digest }) => digest)))
}
