/** Space: ledger, reservations, roots, and what goes with them. */
import assert from 'node:assert/strict'
import { sql } from 'kysely'
import {
  findStoreUsage,
  forgetBlob,
  isGarbage,
  listGarbage,
  publishBlob,
  removeGarbage,
  revokeBlobs,
} from '../../src/metadata/blobs.ts'
import { findContainingRoots, listSiblings, loadRootFacts } from '../../src/metadata/eviction-facts.ts'
import {
  chargeItems,
  findReservedBytes,
  type LedgerItem,
  lockUsage,
  recountUsage,
  repositorySizes,
} from '../../src/metadata/ledger.ts'
import { countMissingBlobs, findManifest, OrganizationGoneError } from '../../src/metadata/manifests.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import {
  bumpGeneration,
  collectGenerationStep,
  collectOrganizationStep,
  markOrganizationDeleted,
} from '../../src/metadata/organizations.ts'
import { type Removal, removeManifests, removeRoots } from '../../src/metadata/removal.ts'
import { ensureRepository, type Repository } from '../../src/metadata/repositories.ts'
import {
  endReservations,
  endReservationsOf,
  listIdleReservations,
  openReservation,
  touchReservations,
} from '../../src/metadata/reservations.ts'
import { listEvictionCandidates, listExpiredRoots, listPinnedRoots, refreshRoots } from '../../src/metadata/roots.ts'
import { pointTag } from '../../src/metadata/tags.ts'
import type { Digest } from '../../src/oci/digest.ts'
import {
  freshDigest,
  freshName,
  type MetadataCase,
  makeImage,
  makeIndex,
  makeLayer,
  NOW_MS,
  newRepository,
  store,
  type TestManifest,
  tenTimes,
} from './metadata-case.ts'

export const SPACE_CASES: readonly MetadataCase[] = [
  {
    title: 'ten images of shared layers that are kept, published and evicted at once leave the charge true',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const shared = freshDigest()
      await tenTimes(async () => {
        const image = makeImage([makeLayer(shared), makeLayer(freshDigest(), 10)])
        const id = await admit(metadata, repository, image, freshName())
        for (const { digest, size } of image.parsed.blobs) await publish(metadata, repository, digest, size)
        await evict(metadata, repository, [id])
      })
      await isTrue(metadata, repository)
      assert.equal((await recountUsage(metadata.db, repository.organizationId)).chargeBytes, 0)
    },
  },
  {
    title: 'bytes that two organizations share are charged to each, and are garbage when the last lets go',
    async check(metadata) {
      const [one, other] = [await newRepository(metadata), await newRepository(metadata)]
      const layer = freshDigest()
      const image = makeImage([makeLayer(layer, 100)])
      const ids = [await admit(metadata, one, image, 'a'), await admit(metadata, other, image, 'a')]
      for (const repository of [one, other]) await publish(metadata, repository, layer, 100)
      const chargeBytes = image.manifest.bytes.byteLength + 107
      for (const repository of [one, other]) {
        assert.equal((await isTrue(metadata, repository)).chargeBytes, chargeBytes)
        assert.equal(await findReservedBytes(metadata.db, repository.organizationId), 7)
      }
      const before = await findStoreUsage(metadata.db)
      assert.deepEqual((await evict(metadata, one, ids.slice(0, 1))).garbage, [])
      assert.deepEqual((await evict(metadata, other, ids.slice(1))).garbage, [layer])
      assert.equal((await findStoreUsage(metadata.db)).blobBytes, before.blobBytes - 100)
      assert.equal(await isGarbage(metadata.db, layer), true)
      const listed = (await listGarbage(metadata.db, 100_000)).filter(({ digest }) => digest === layer)
      assert.deepEqual(listed, [{ digest: layer, sizeBytes: 100, createdAtMs: NOW_MS + 1 }])
      await admit(metadata, one, image, 'a')
      await publish(metadata, one, layer, 100)
      assert.equal(await isGarbage(metadata.db, layer), false, 'published again')
      await metadata.transaction((tx) => removeGarbage(tx, layer))
    },
  },
  {
    title: 'a blob in two repositories of one organization is charged once, and freed with the second',
    async check(metadata) {
      const one = await newRepository(metadata)
      const two = await beside(metadata, one)
      const layer = freshDigest()
      const [first, second] = [makeImage([makeLayer(layer, 100)]), makeImage([makeLayer(layer, 100)])]
      const ids = [await admit(metadata, one, first, 'a'), await admit(metadata, two, second, 'a')]
      await publish(metadata, one, layer, 100)
      const sizes = await repositorySizes(metadata.db, [one.id, two.id])
      assert.equal(sizes.get(one.id), first.manifest.bytes.byteLength + 107)
      assert.equal(sizes.get(two.id), second.manifest.bytes.byteLength + 107)
      const gone = await evict(metadata, one, ids.slice(0, 1))
      assert.equal(gone.freedBytes, first.manifest.bytes.byteLength + 7)
      assert.deepEqual(gone.blobs.toSorted(), [first.config, layer].toSorted(), 'links of both have changed')
      assert.deepEqual((await evict(metadata, two, ids.slice(1))).garbage, [layer])
      assert.equal((await isTrue(metadata, one)).chargeBytes, 0)
    },
  },
  {
    title: 'what a removal says is what went: images with their tags, manifests, current tags, blobs and garbage',
    check: checkRemoval,
  },
  {
    title: 'a child that is a root itself, or is held by another index, stays; a diamond goes whole',
    check: checkTrees,
  },
  {
    title: 'a sibling that an index holds goes alone, the least recently used is named first, roots are none',
    check: checkSiblings,
  },
  { title: 'a reservation ends in four ways, and frees what no other holds', check: checkReservations },
  {
    title: 'roots are derived from tags, history, by-digest marks and pins',
    check: checkRoots,
  },
  {
    title: 'damaged bytes stay charged and are reserved until they come again',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const layer = freshDigest()
      const id = await admit(metadata, repository, makeImage([makeLayer(layer, 100)]), 'a')
      await publish(metadata, repository, layer, 100)
      await metadata.transaction((tx) => endReservations(tx, repository.organizationId, [id]))
      const { chargeBytes } = await isTrue(metadata, repository)
      await metadata.transaction((tx) => forgetBlob(tx, layer, NOW_MS))
      assert.equal((await isTrue(metadata, repository)).chargeBytes, chargeBytes)
      assert.equal(await publish(metadata, repository, layer, 100), true)
      assert.equal((await isTrue(metadata, repository)).chargeBytes, chargeBytes)
    },
  },
  {
    title: 'another upstream discharges all blobs at once, and their bytes go with the former manifests',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const { organizationId } = repository
      const layer = freshDigest()
      const image = makeImage([makeLayer(layer, 100)])
      await admit(metadata, repository, image, 'a')
      await publish(metadata, repository, layer, 100)
      const generation = await metadata.transaction(async (tx) => {
        await revokeBlobs(tx, organizationId)
        return bumpGeneration(tx, organizationId)
      })
      assert.equal((await isTrue(metadata, repository)).chargeBytes, image.manifest.bytes.byteLength)
      await assert.rejects(store(metadata, repository, makeImage([])), OrganizationGoneError)
      for (let steps = 0; ; steps++) {
        assert.ok(steps < 100)
        const isDone = await collectGenerationStep(metadata.db, organizationId, generation, 3, NOW_MS)
        await isTrue(metadata, repository)
        if (isDone) break
      }
      assert.equal((await isTrue(metadata, repository)).chargeBytes, 0)
      assert.equal(await isGarbage(metadata.db, layer), true)
    },
  },
  {
    title: 'an organization that is being deleted is charged for what is left of it at every step',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const { organizationId } = repository
      const [stored, reserved] = [freshDigest(), freshDigest()]
      const image = makeImage([makeLayer(stored, 100), makeLayer(reserved, 50)])
      await admit(metadata, repository, image, 'a')
      await publish(metadata, repository, stored, 100)
      await metadata.db
        .insertInto('pin')
        .values({
          organization_id: organizationId,
          repository_id: repository.id,
          kind: 'tag',
          reference: 'a',
          created_at: NOW_MS,
        })
        .execute()
      await metadata.db
        .insertInto('quota')
        .values({ organization_id: organizationId, limit_bytes: 1, created_at: NOW_MS })
        .execute()
      await markOrganizationDeleted(metadata.db, organizationId, NOW_MS)
      await assert.rejects(store(metadata, repository, makeImage([])), OrganizationGoneError)
      for (let steps = 0; !(await collectOrganizationStep(metadata.db, organizationId, 4, NOW_MS)); steps++) {
        assert.ok(steps < 100)
        await isTrue(metadata, repository)
      }
      assert.equal(await isGarbage(metadata.db, stored), true)
    },
  },
  {
    title: 'candidates come page by page: kept ones by expiry, then those alive by use, pinned ones never',
    check: checkCandidates,
  },
]

async function checkRemoval(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const [layer, moved] = [freshDigest(), makeImage([])]
  const image = makeImage([makeLayer(layer, 100)])
  const id = await admit(metadata, repository, image, 'a')
  await admit(metadata, repository, image, 'b')
  await admit(metadata, repository, image, 'was')
  await admit(metadata, repository, moved, 'was')
  await publish(metadata, repository, layer, 100)
  const { db } = metadata
  const removal = await evict(metadata, repository, [id, 999_999_999])
  const { id: repositoryId, name: repositoryName } = repository
  assert.deepEqual(removal, {
    freedBytes: image.manifest.bytes.byteLength + 107,
    reservations: 1,
    roots: [{ manifestId: id, repositoryId, repositoryName, digest: image.digest, tags: ['a', 'b', 'was'] }],
    manifests: [{ repositoryId, digest: image.digest }],
    tags: removal.tags,
    blobs: removal.blobs,
    garbage: [layer],
  } satisfies Removal)
  assert.deepEqual(removal.tags.map(({ name }) => name).toSorted(), ['a', 'b'], 'current ones')
  assert.deepEqual(removal.blobs.toSorted(), [image.config, layer].toSorted())
  const records = await db.selectFrom('tag').selectAll().where('repository_id', '=', repositoryId).execute()
  assert.equal(records.filter((row) => row.evicted_at === NOW_MS + 1 && row.ended_at !== null).length, 3)
  assert.equal(await findManifest(db, repositoryId, image.digest), undefined)
  await isTrue(metadata, repository)

  const last = (await findManifest(db, repositoryId, moved.digest))?.id ?? 0
  await evict(metadata, repository, [last], 'collected')
  const left = await db.selectFrom('tag').selectAll().where('repository_id', '=', repositoryId).execute()
  assert.ok(left.length === 3 && left.every((row) => row.evicted_at !== null), 'collected tags go, records stay')
  assert.equal((await isTrue(metadata, repository)).chargeBytes, 0)
}

async function checkTrees(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const { db } = metadata
  const [shared, own] = [makeImage([makeLayer(freshDigest(), 100)]), makeImage([makeLayer(freshDigest(), 10)])]
  const [left, right] = [makeIndex([shared.digest]), makeIndex([shared.digest, own.digest])]
  const top = makeIndex([left.digest, right.digest])
  const topId = await admit(metadata, repository, top, 'top')
  const leftId = await admit(metadata, repository, left, 'left')
  for (const made of [right, shared, own]) await admit(metadata, repository, made)
  const all = [top, left, right, shared, own].map(({ digest }) => digest)
  assert.deepEqual(await findContainingRoots(db, repository.id, shared.digest), [topId, leftId])
  assert.deepEqual(await findContainingRoots(db, repository.id, own.digest), [topId])

  const [facts] = await loadRootFacts(db, repository.organizationId, [topId])
  assert.deepEqual(facts?.manifests.map(({ digest }) => digest).toSorted(), all.toSorted())
  assert.equal(facts?.manifests[0]?.manifestId, topId)
  const ofShared = facts?.manifests.find(({ digest }) => digest === shared.digest)
  assert.equal(ofShared?.parentIds.length, 2)
  assert.deepEqual(ofShared?.items.map(({ kind, holders }) => [kind, holders]).toSorted(), [
    ['blob', 1],
    ['blob', 1],
    ['manifest', 1],
  ])

  const gone = await evict(metadata, repository, [topId])
  const named = (removal: Removal) => removal.manifests.map(({ digest }) => digest).toSorted()
  assert.deepEqual(named(gone), [top.digest, right.digest, own.digest].toSorted())
  await isTrue(metadata, repository)
  assert.deepEqual(named(await evict(metadata, repository, [leftId])), [left.digest, shared.digest].toSorted())
  assert.equal((await isTrue(metadata, repository)).chargeBytes, 0)

  // A root that an index holds too loses its tags, and stays as a child.
  const child = makeImage([])
  const childId = await admit(metadata, repository, child, 'child')
  const index = makeIndex([child.digest])
  const indexId = await admit(metadata, repository, index, 'index')
  const untagged = await evict(metadata, repository, [childId])
  assert.deepEqual([untagged.freedBytes, untagged.manifests], [0, []])
  assert.deepEqual(untagged.tags, [{ repositoryId: repository.id, name: 'child' }])
  assert.equal((await evict(metadata, repository, [indexId])).manifests.length, 2)
  assert.equal((await isTrue(metadata, repository)).chargeBytes, 0)
}

async function checkSiblings(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const made = [makeImage([]), makeImage([]), makeImage([]), makeImage([])] as const
  const [late, early, tagged, wanted] = made
  const index = makeIndex(made.map(({ digest }) => digest))
  const indexId = await admit(metadata, repository, index, 'index')
  const { id: lateId } = await store(metadata, repository, late, { nowMs: NOW_MS + 9 })
  const { id: earlyId } = await store(metadata, repository, early, { nowMs: NOW_MS + 3 })
  const taggedId = await admit(metadata, repository, tagged, 'tagged')
  assert.deepEqual(await listSiblings(metadata.db, repository.id, wanted.digest), [earlyId, lateId])
  const manifestIds = [earlyId, taggedId]
  const { organizationId, id: repositoryId } = repository
  const removal = await metadata.transaction((tx) =>
    removeManifests(tx, { organizationId, manifestIds, nowMs: NOW_MS }),
  )
  assert.deepEqual(removal.manifests, [{ repositoryId, digest: early.digest }])
  assert.deepEqual(removal.roots, [])
  assert.ok(await findManifest(metadata.db, repositoryId, index.digest))
  await isTrue(metadata, repository)
  await evict(metadata, repository, [indexId, taggedId])
  assert.equal((await isTrue(metadata, repository)).chargeBytes, 0)
}

async function checkReservations(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const { organizationId } = repository
  const [shared, own, foreign] = [freshDigest(), freshDigest(), freshDigest()]
  const one = makeImage([makeLayer(shared, 100), { ...makeLayer(foreign), urls: ['https://example.test/x'] }])
  const two = makeImage([makeLayer(shared, 100), makeLayer(own, 10)])
  const [oneId, twoId] = [await admit(metadata, repository, one, 'a'), await admit(metadata, repository, two, 'b')]
  const manifests = one.manifest.bytes.byteLength + two.manifest.bytes.byteLength
  const charge = async () => (await isTrue(metadata, repository)).chargeBytes - manifests
  assert.equal(await charge(), 124)
  assert.deepEqual(await countMissingBlobs(metadata.db, [oneId, twoId]), new Map([[oneId, 2] as const, [twoId, 3]]))

  await metadata.transaction((tx) => touchReservations(tx, organizationId, [own], NOW_MS + 5))
  const idle = (await listIdleReservations(metadata.db, NOW_MS + 5, 100_000)).map(({ manifestId }) => manifestId)
  assert.ok(idle.includes(oneId) && !idle.includes(twoId))
  const ended = await metadata.transaction((tx) => endReservations(tx, organizationId, [oneId, twoId], NOW_MS + 5))
  assert.equal(ended, 7, 'idle: what the other holds stays')
  assert.equal(await charge(), 117)
  await metadata.transaction((tx) => endReservationsOf(tx, organizationId, own))
  assert.equal(await charge(), 0, 'refused for good')

  await admit(metadata, repository, one, 'a')
  assert.equal(await publish(metadata, repository, shared, 100), true)
  assert.equal(await publish(metadata, repository, one.config, 7), true)
  assert.equal(await charge(), 107)
  assert.equal(await endCount(metadata, organizationId), 0, 'all are stored')

  await admit(metadata, repository, two, 'b')
  assert.equal(await charge(), 124)
  const { freedBytes } = await evict(metadata, repository, [twoId])
  assert.equal(freedBytes, two.manifest.bytes.byteLength + 17, 'its image goes')
  await isTrue(metadata, repository)

  const three = makeImage([makeLayer(own, 10)])
  const again = await admit(metadata, repository, two, 'b')
  const threeId = await admit(metadata, repository, three, 'c')
  await metadata.transaction((tx) => endReservations(tx, organizationId, [again]))
  const third = await evict(metadata, repository, [threeId])
  assert.equal(third.freedBytes, three.manifest.bytes.byteLength + 17, 'though an image without a reservation names it')
  await isTrue(metadata, repository)
}

async function endCount({ db }: Metadata, organizationId: number): Promise<number> {
  const rows = await db
    .selectFrom('reservation')
    .select('manifest_id')
    .where('organization_id', '=', organizationId)
    .execute()
  return rows.length
}

async function checkRoots(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const { db } = metadata
  const image = makeImage([])
  const { id } = await store(metadata, repository, image)
  const root = async () => {
    const row = await db.selectFrom('root').selectAll().where('manifest_id', '=', id).executeTakeFirst()
    return row && [row.last_used_at - NOW_MS, row.expires_at && row.expires_at - NOW_MS, row.is_pinned]
  }
  const refresh = () => metadata.transaction((tx) => refreshRoots(tx, [id]))
  assert.equal(await root(), undefined)
  await store(metadata, repository, image, { isByDigest: true, expiresAtMs: NOW_MS + 5, nowMs: NOW_MS + 1 })
  assert.deepEqual(await root(), [1, 5, 0])
  const fields = { repositoryId: repository.id, name: 'a', digest: image.digest, nowMs: NOW_MS + 2 }
  const point = (digest: Digest, expiresAtMs: number | undefined) =>
    metadata.transaction(async (tx) => {
      await pointTag(tx, { ...fields, digest, expiresAtMs })
      await refreshRoots(tx, [id])
    })
  await point(image.digest, NOW_MS + 9)
  assert.deepEqual(await root(), [2, 9, 0])
  await point(image.digest, undefined)
  assert.deepEqual(await root(), [2, null, 0], 'for ever')
  await point(freshDigest(), undefined)
  assert.deepEqual(await root(), [2, 5, 0], 'the tag moved; the mark lives longer')
  const pin = { organization_id: repository.organizationId, repository_id: repository.id, created_at: NOW_MS }
  await db
    .insertInto('pin')
    .values({ ...pin, kind: 'tag', reference: 'a' })
    .execute()
  await refresh()
  assert.deepEqual(await root(), [2, 5, 0], 'the pin follows the tag')
  await db
    .insertInto('pin')
    .values({ ...pin, kind: 'digest', reference: image.digest })
    .execute()
  await refresh()
  assert.deepEqual(await root(), [2, null, 1])
  assert.deepEqual(await listPinnedRoots(db, repository.organizationId), [id])
  await db.deleteFrom('pin').where('repository_id', '=', repository.id).execute()
  await db.deleteFrom('tag').where('repository_id', '=', repository.id).execute()
  await db.updateTable('manifest').set({ is_by_digest: 0 }).where('id', '=', id).execute()
  await refresh()
  assert.equal(await root(), undefined)
}

async function checkCandidates(metadata: Metadata): Promise<void> {
  const repository = await newRepository(metadata)
  const { organizationId } = repository
  const ids: number[] = []
  // Expired 1 and 1 ago, then alive, used in the other order, then one that is pinned.
  for (const [use, expiry] of [
    [5, -1],
    [4, -2],
    [3, 9],
    [2, undefined],
    [1, undefined],
  ] as const) {
    const expiresAtMs = expiry === undefined ? undefined : NOW_MS + expiry
    const image = makeImage([])
    const options = { isByDigest: true, nowMs: NOW_MS + use, ...(expiresAtMs !== undefined && { expiresAtMs }) }
    ids.push((await store(metadata, repository, image, options)).id)
  }
  await metadata.db
    .updateTable('root')
    .set({ is_pinned: 1 })
    .where('manifest_id', '=', ids[4] ?? 0)
    .execute()
  const page = (phase: 'kept' | 'alive', after?: Awaited<ReturnType<typeof listEvictionCandidates>>[number]) =>
    listEvictionCandidates(metadata.db, { organizationId, nowMs: NOW_MS, phase, after, limit: 1 })
  const found: number[] = []
  for (const phase of ['kept', 'alive'] as const) {
    let [next] = await page(phase)
    while (next !== undefined) {
      found.push(next.manifestId)
      assert.equal(next.repositoryName, repository.name)
      ;[next] = await page(phase, next)
    }
  }
  assert.deepEqual(found, [ids[1], ids[0], ids[3], ids[2]])
  assert.deepEqual(await listExpiredRoots(metadata.db, { organizationId, endedBeforeMs: NOW_MS - 2, limit: 9 }), [
    ids[1],
  ])
  const ofAll = await listEvictionCandidates(metadata.db, {
    organizationId: undefined,
    nowMs: NOW_MS,
    phase: 'kept',
    limit: 100_000,
  })
  assert.deepEqual(
    ofAll.filter((root) => root.organizationId === organizationId).map((root) => root.manifestId),
    [ids[1], ids[0]],
  )
}

/** Keep an image as an admission does, under a tag if one is given; resolves to its id. */
export async function admit(
  metadata: Metadata,
  repository: Repository,
  made: TestManifest,
  tag?: string,
): Promise<number> {
  const { organizationId, id: repositoryId } = repository
  const { id } = await store(metadata, repository, made)
  await metadata.transaction(async (tx) => {
    if ((await lockUsage(tx, organizationId)) === undefined) return
    const rows = await tx.selectFrom('manifest').select('id').where('id', '=', id).execute()
    if (rows.length === 0) return
    const items = made.parsed.blobs
      .filter((blob) => !blob.hasUrls)
      .map(({ digest, size }): LedgerItem => ({ kind: 'blob', digest, sizeBytes: size }))
    await chargeItems(tx, organizationId, items, undefined)
    await openReservation(tx, { organizationId, manifestId: id, nowMs: NOW_MS })
    if (tag === undefined) return
    const { digest } = made
    await pointTag(tx, { repositoryId, name: tag, digest, nowMs: NOW_MS, expiresAtMs: undefined })
    const stored = await tx.selectFrom('manifest').select('id').where('repository_id', '=', repositoryId).execute()
    await refreshRoots(
      tx,
      stored.map((row) => row.id),
    )
  })
  return id
}

export async function publish(
  metadata: Metadata,
  { organizationId, generation }: Repository,
  digest: Digest,
  sizeBytes: number,
): Promise<boolean> {
  const fields = { organizationId, generation, digest, sizeBytes, nowMs: NOW_MS }
  return metadata.transaction((tx) => publishBlob(tx, fields))
}

export function evict(
  metadata: Metadata,
  { organizationId }: Repository,
  manifestIds: readonly number[],
  reason: 'evicted' | 'collected' = 'evicted',
): Promise<Removal> {
  return metadata.transaction((tx) => removeRoots(tx, { organizationId, manifestIds, nowMs: NOW_MS + 1, reason }))
}

/** Charge, ledger and recount are one, every reserved row has its reservation, and the store's sum is right. */
export async function isTrue(metadata: Metadata, { organizationId }: Repository) {
  const recount = await recountUsage(metadata.db, organizationId)
  const { chargeBytes, ledgerBytes, trueBytes } = recount
  assert.deepEqual([ledgerBytes, trueBytes], [chargeBytes, chargeBytes])
  const { rows } = await sql<{ blob_bytes: number; bytes: number | string | null }>`
    select blob_bytes, (select sum(size_bytes) from blob) as bytes from store_usage
  `.execute(metadata.db)
  assert.equal(Number(rows[0]?.bytes ?? 0), rows[0]?.blob_bytes)
  return recount
}

async function beside(metadata: Metadata, { organizationId, generation }: Repository): Promise<Repository> {
  const fields = { organizationId, generation, name: freshName(), nowMs: NOW_MS }
  return metadata.transaction((tx) => ensureRepository(tx, fields))
}
