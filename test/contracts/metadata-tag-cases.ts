/** Tags: pointing, history, and what never goes back. */
import assert from 'node:assert/strict'
import { findManifest } from '../../src/metadata/manifests.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import { applyUses, confirmTag, findTag, listTagNames, pointTag } from '../../src/metadata/tags.ts'
import { freshDigest, type MetadataCase, makeImage, NOW_MS, newRepository, store, tenTimes } from './metadata-case.ts'
import { EXPIRATION_CASES } from './metadata-expiration-cases.ts'
import { TAG_CHANGE_CASES } from './metadata-tag-change-cases.ts'

export const TAG_CASES: readonly MetadataCase[] = [
  {
    title: 'a new tag names its digest, and has no other history',
    async check(metadata) {
      const { id: repositoryId } = await newRepository(metadata)
      const digest = freshDigest()
      const tag = await point(metadata, { repositoryId, digest, expiresAtMs: NOW_MS + 9 })
      assert.deepEqual(tag, {
        id: tag.id,
        repositoryId,
        name: 'latest',
        digest,
        startedAtMs: NOW_MS,
        confirmedAtMs: NOW_MS,
        lastUsedAtMs: NOW_MS,
        expiresAtMs: NOW_MS + 9,
        isExpirySet: false,
      })
      assert.deepEqual(await findTag(metadata.db, repositoryId, 'latest'), tag)
      assert.equal(await findTag(metadata.db, repositoryId, 'Latest'), undefined)
      assert.deepEqual(await history(metadata, repositoryId), [[digest, null]])
    },
  },
  {
    title: 'a tag that has expired lives again when the upstream names the same digest',
    async check(metadata) {
      const { id: repositoryId } = await newRepository(metadata)
      const digest = freshDigest()
      const before = await point(metadata, { repositoryId, digest, expiresAtMs: NOW_MS + 9 })
      assert.deepEqual(await listTagNames(metadata.db, repositoryId, NOW_MS + 9), [])
      const after = await point(metadata, { repositoryId, digest, nowMs: NOW_MS + 50, expiresAtMs: NOW_MS + 90 })
      const times = { confirmedAtMs: NOW_MS + 50, lastUsedAtMs: NOW_MS + 50, expiresAtMs: NOW_MS + 90 }
      assert.deepEqual(after, { ...before, ...times })
      assert.deepEqual(await listTagNames(metadata.db, repositoryId, NOW_MS + 89), ['latest'])
      assert.deepEqual(await history(metadata, repositoryId), [[digest, null]])
    },
  },
  {
    title: 'a tag that moves leaves its former digests in the history, also when it moves back',
    async check(metadata) {
      const { id: repositoryId } = await newRepository(metadata)
      const [first, second] = [freshDigest(), freshDigest()]
      const ids = new Set<number>()
      for (const [turn, digest] of [first, second, first].entries()) {
        ids.add((await point(metadata, { repositoryId, digest, nowMs: NOW_MS + turn, expiresAtMs: undefined })).id)
      }
      assert.equal(ids.size, 3)
      assert.deepEqual(await history(metadata, repositoryId), [
        [first, NOW_MS + 1],
        [second, NOW_MS + 2],
        [first, null],
      ])
      assert.equal((await findTag(metadata.db, repositoryId, 'latest'))?.expiresAtMs, undefined)
    },
  },
  {
    title: 'ten who point a tag at once to two digests leave one current row, and no gap in the history',
    async check(metadata) {
      const { id: repositoryId } = await newRepository(metadata)
      const digests = [freshDigest(), freshDigest()]
      await tenTimes((turn) =>
        point(metadata, { repositoryId, digest: digests[turn % 2] ?? '', expiresAtMs: undefined }),
      )
      const rows = await history(metadata, repositoryId)
      assert.deepEqual(
        rows.map(([, endedAt]) => endedAt === null),
        [...Array(rows.length - 1).fill(false), true],
      )
      for (const [index, [digest]] of rows.entries()) assert.notEqual(digest, rows[index + 1]?.[0])
      assert.equal((await findTag(metadata.db, repositoryId, 'latest'))?.digest, rows.at(-1)?.[0])
    },
  },
  {
    title: 'confirming never goes back',
    async check(metadata) {
      const { id: repositoryId } = await newRepository(metadata)
      const { id } = await point(metadata, { repositoryId, digest: freshDigest(), expiresAtMs: NOW_MS + 9 })
      const times = async () => {
        const tag = await findTag(metadata.db, repositoryId, 'latest')
        return [tag?.confirmedAtMs, tag?.expiresAtMs]
      }
      await confirmTag(metadata.db, id, { confirmedAtMs: NOW_MS - 1, expiresAtMs: NOW_MS + 8 })
      assert.deepEqual(await times(), [NOW_MS, NOW_MS + 9])
      await confirmTag(metadata.db, id, { confirmedAtMs: NOW_MS + 1, expiresAtMs: NOW_MS + 10 })
      assert.deepEqual(await times(), [NOW_MS + 1, NOW_MS + 10])
      await confirmTag(metadata.db, id, { confirmedAtMs: NOW_MS + 2, expiresAtMs: undefined })
      await confirmTag(metadata.db, id, { confirmedAtMs: NOW_MS + 3, expiresAtMs: NOW_MS + 99 })
      assert.deepEqual(await times(), [NOW_MS + 3, undefined])
    },
  },
  {
    title: 'tags that have not expired are listed by code unit',
    async check(metadata) {
      const { id: repositoryId } = await newRepository(metadata)
      const other = await newRepository(metadata)
      for (const name of ['a', 'B', '_', 'a-b', 'a.b', 'b', '1']) {
        await point(metadata, { repositoryId, name, digest: freshDigest(), expiresAtMs: undefined })
      }
      await point(metadata, { repositoryId, name: 'expired', digest: freshDigest(), expiresAtMs: NOW_MS })
      await point(metadata, { repositoryId, name: 'alive', digest: freshDigest(), expiresAtMs: NOW_MS + 1 })
      await point(metadata, { repositoryId: other.id, name: 'other', digest: freshDigest(), expiresAtMs: undefined })
      const names = await listTagNames(metadata.db, repositoryId, NOW_MS)
      assert.deepEqual(names, ['1', 'B', '_', 'a', 'a-b', 'a.b', 'alive', 'b'])
    },
  },
  {
    title: 'uses that were counted move last use and expiry forward only, and for ever wins',
    check: checkUses,
  },
  {
    title: 'batches of the same uses at once, in any order, all succeed',
    async check(metadata) {
      const { id: repositoryId } = await newRepository(metadata)
      const ids: number[] = []
      for (let count = 0; count < 20; count++) {
        const digest = freshDigest()
        ids.push((await point(metadata, { repositoryId, name: `t${count}`, digest, expiresAtMs: NOW_MS })).id)
      }
      await tenTimes((turn) => {
        const order = turn % 2 === 0 ? ids : ids.toReversed()
        const tags = order.map((id) => ({ id, lastUsedAtMs: NOW_MS + turn, expiresAtMs: undefined }))
        return metadata.transaction((tx) => applyUses(tx, { tags, manifests: [] }))
      })
      assert.equal((await findTag(metadata.db, repositoryId, 't19'))?.lastUsedAtMs, NOW_MS + 9)
    },
  },
  ...TAG_CHANGE_CASES,
  ...EXPIRATION_CASES,
]

type Pointed = { repositoryId: number; name?: string; digest: string; nowMs?: number; expiresAtMs: number | undefined }

function point(metadata: Metadata, fields: Pointed) {
  return metadata.transaction((tx) => pointTag(tx, { name: 'latest', nowMs: NOW_MS, ...fields }))
}

/** Digest and end of each row of the tag `latest`, the oldest first. */
async function history(metadata: Metadata, repositoryId: number): Promise<[string, number | null][]> {
  const rows = await metadata.db
    .selectFrom('tag')
    .select(['digest', 'ended_at'])
    .where('repository_id', '=', repositoryId)
    .where('name', '=', 'latest')
    .orderBy('id')
    .execute()
  return rows.map((row) => [row.digest, row.ended_at])
}

async function checkUses(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const repositoryId = repository.id
  const image = makeImage([])
  const manifest = await store(metadata, repository, image, { isByDigest: true, expiresAtMs: NOW_MS + 10 })
  const tag = await point(metadata, { repositoryId, digest: image.digest, expiresAtMs: NOW_MS + 10 })
  const apply = async (lastUsedAtMs: number, expiresAtMs: number | null | undefined) => {
    const use = { lastUsedAtMs, expiresAtMs }
    const uses = {
      tags: [
        { id: tag.id, ...use },
        { id: 0, ...use },
      ],
      manifests: [{ id: manifest.id, ...use }],
    }
    await metadata.transaction((tx) => applyUses(tx, uses))
    const rows = [
      await findTag(metadata.db, repositoryId, 'latest'),
      await findManifest(metadata.db, repositoryId, image.digest),
    ]
    return rows.map((row) => [row?.lastUsedAtMs, row?.expiresAtMs])
  }
  const both = (lastUsedAtMs: number, expiresAtMs: number | undefined) => Array(2).fill([lastUsedAtMs, expiresAtMs])
  assert.deepEqual(await apply(NOW_MS - 5, NOW_MS + 5), both(NOW_MS, NOW_MS + 10))
  assert.deepEqual(await apply(NOW_MS + 1, undefined), both(NOW_MS + 1, NOW_MS + 10))
  assert.deepEqual(await apply(NOW_MS + 2, NOW_MS + 20), both(NOW_MS + 2, NOW_MS + 20))
  assert.deepEqual(await apply(NOW_MS + 3, null), both(NOW_MS + 3, undefined))
  assert.deepEqual(await apply(NOW_MS + 4, NOW_MS + 99), both(NOW_MS + 4, undefined))
}
