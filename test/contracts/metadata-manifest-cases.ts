/** Manifests: what they hold, and what holds them. */
import assert from 'node:assert/strict'
import { findBlobLink } from '../../src/metadata/blobs.ts'
import { findHolders, findManifest, isHeld, listReferrersOf, storeManifest } from '../../src/metadata/manifests.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import { findReferrers, saveReferrers } from '../../src/metadata/referrers.ts'
import type { Repository } from '../../src/metadata/repositories.ts'
import { pointTag } from '../../src/metadata/tags.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { MANIFEST_LIMITS } from '../../src/oci/manifest.ts'
import {
  freshDigest,
  type MetadataCase,
  makeImage,
  makeIndex,
  makeLayer,
  makeManifest,
  NOW_MS,
  newRepository,
  store,
  tenTimes,
} from './metadata-case.ts'

export const MANIFEST_CASES: readonly MetadataCase[] = [
  {
    title: 'a manifest comes back byte for byte, in its repository only',
    async check(metadata) {
      const [repository, other] = [await newRepository(metadata), await newRepository(metadata)]
      const subject = freshDigest()
      const made = makeManifest({
        artifactType: 'application/x-signature',
        subject: { mediaType: 'x', digest: subject, size: 1 },
        layers: [],
      })
      const { id } = await store(metadata, repository, made)
      const found = await findManifest(metadata.db, repository.id, made.digest)
      assert.ok(found !== undefined && Buffer.isBuffer(found.bytes))
      assert.deepEqual(found, {
        id,
        repositoryId: repository.id,
        digest: made.digest,
        mediaType: made.manifest.descriptor.mediaType,
        bytes: made.manifest.bytes,
        sizeBytes: made.manifest.bytes.byteLength,
        artifactType: 'application/x-signature',
        subjectDigest: subject,
        depth: 1,
        createdAtMs: NOW_MS,
        lastUsedAtMs: NOW_MS,
        isByDigest: false,
        expiresAtMs: undefined,
      })
      assert.equal(await findManifest(metadata.db, other.id, made.digest), undefined)
    },
  },
  {
    title: 'ten who store the same manifest at once store it once',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const layer = freshDigest()
      const made = makeImage([makeLayer(layer), makeLayer(layer)])
      const stored = await tenTimes((turn) => store(metadata, repository, made, { nowMs: NOW_MS + turn }))
      assert.equal(new Set(stored.map(({ id }) => id)).size, 1)
      const found = await findManifest(metadata.db, repository.id, made.digest)
      assert.equal(found?.lastUsedAtMs, NOW_MS + 9)
      const { organizationId, id: repositoryId } = repository
      const link = await findBlobLink(metadata.db, { organizationId, repositoryId, digest: layer })
      assert.deepEqual(link, {
        sizeBytes: 1000,
        isNamed: true,
        isStored: false,
        storedAtMs: undefined,
        hasUrls: false,
      })
      const rows = await metadata.db
        .selectFrom('manifest_blob')
        .selectAll()
        .where('repository_id', '=', repositoryId)
        .execute()
      assert.deepEqual(rows.map(({ kind, position }) => [kind, position]).toSorted(), [
        ['config', 0],
        ['layer', 1],
        ['layer', 2],
      ])
    },
  },
  {
    title: 'a manifest with as many descriptors as are allowed is stored whole',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const count = MANIFEST_LIMITS.descriptorsMax
      const digests = Array.from({ length: count }, () => freshDigest())
      const image = makeManifest({ layers: digests.map((digest) => makeLayer(digest)) })
      const index = makeIndex(digests)
      await store(metadata, repository, image)
      await store(metadata, repository, index)
      const last = digests[count - 1]
      assert.ok(last !== undefined)
      assert.equal(await isHeld(metadata.db, repository.id, last), true)
      const { organizationId, id: repositoryId } = repository
      assert.ok(await findBlobLink(metadata.db, { organizationId, repositoryId, digest: last }))
    },
  },
  {
    title: 'hostile text in a manifest is stored without an error',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const digest = freshDigest()
      const bad = 'a\0b\ud800\u202e'
      const image = makeManifest({ artifactType: bad, layers: [{ mediaType: bad, digest, size: 1 }] })
      const index = makeManifest({
        manifests: [{ mediaType: bad, digest, size: 1, platform: { os: bad, architecture: bad } }],
      })
      for (const made of [image, index]) {
        const { descriptor, bytes } = made.manifest
        const hostile = { ...made, manifest: { descriptor: { ...descriptor, mediaType: bad }, bytes } }
        await store(metadata, repository, hostile)
        const found = await findManifest(metadata.db, repository.id, made.digest)
        assert.equal(found?.mediaType.includes('\0'), false)
        assert.deepEqual(found?.bytes, bytes)
      }
      assert.equal(await findManifest(metadata.db, repository.id, 'sha256:\0'), undefined)
    },
  },
  {
    title: 'depth grows with the indexes that hold a manifest, and storing it again learns it',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const image = makeImage([])
      const inner = makeIndex([image.digest])
      const outer = makeIndex([inner.digest])
      assert.equal((await store(metadata, repository, image)).depth, 1)
      assert.equal((await store(metadata, repository, outer)).depth, 1)
      assert.equal((await store(metadata, repository, inner)).depth, 2)
      assert.equal((await store(metadata, repository, image)).depth, 3)
    },
  },
  {
    title: 'a by-digest image keeps the later expiry, until a tag or index holds it',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const image = makeImage([])
      const expiry = async () => {
        const found = await findManifest(metadata.db, repository.id, image.digest)
        return [found?.isByDigest, found?.expiresAtMs]
      }
      await store(metadata, repository, image, { isByDigest: true, expiresAtMs: NOW_MS + 5 })
      await store(metadata, repository, image, { isByDigest: true, expiresAtMs: NOW_MS + 3, nowMs: NOW_MS - 9 })
      assert.deepEqual(await expiry(), [true, NOW_MS + 5])
      assert.equal((await findManifest(metadata.db, repository.id, image.digest))?.lastUsedAtMs, NOW_MS)
      await store(metadata, repository, image, { expiresAtMs: NOW_MS + 7 })
      assert.deepEqual(await expiry(), [false, undefined])
      await store(metadata, repository, image, { isByDigest: true, expiresAtMs: NOW_MS + 4 })
      assert.deepEqual(await expiry(), [true, NOW_MS + 4])
      await store(metadata, repository, image, { isByDigest: true })
      await store(metadata, repository, image, { isByDigest: true, expiresAtMs: NOW_MS + 9 })
      assert.deepEqual(await expiry(), [true, undefined])
    },
  },
  {
    title: 'the holders of a manifest are all indexes above it, and the current tags of it and of those',
    check: checkHolders,
  },
  {
    title: 'the walk to the holders ends at the depth that is allowed',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const ids: number[] = []
      let child: Digest = freshDigest()
      const deepest = child
      for (let level = 1; level <= MANIFEST_LIMITS.depthMax + 3; level++) {
        const index = makeIndex([child])
        ids.push((await store(metadata, repository, index)).id)
        child = index.digest
      }
      const { manifestIds } = await findHolders(metadata.db, repository.id, deepest)
      assert.deepEqual(manifestIds.toSorted(byNumber), ids.slice(0, MANIFEST_LIMITS.depthMax))
    },
  },
  {
    title: 'a manifest that is rolled back was never there',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const { manifest, parsed, digest } = makeImage([makeLayer(freshDigest())])
      const fields = {
        repositoryId: repository.id,
        manifest,
        parsed,
        nowMs: NOW_MS,
        isByDigest: false,
        expiresAtMs: undefined,
      }
      const work = metadata.transaction(async (tx) => {
        await storeManifest(tx, fields)
        assert.ok(await findManifest(tx, repository.id, digest), 'a transaction sees what it wrote')
        assert.equal(
          await findManifest(metadata.db, repository.id, digest),
          undefined,
          'others do not, and do not wait',
        )
        throw new Error('changed its mind')
      })
      await assert.rejects(work, /changed its mind/)
      assert.equal(await findManifest(metadata.db, repository.id, digest), undefined)
      assert.ok((await store(metadata, repository, { manifest, parsed, digest })).id)
    },
  },
  {
    title: 'manifests with a subject are its referrers, the oldest first',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const subject = { mediaType: 'x', digest: freshDigest(), size: 1 }
      const made = ['one', 'two'].map((artifactType) => makeManifest({ artifactType, subject, layers: [] }))
      for (const referrer of made) await store(metadata, repository, referrer)
      const found = await listReferrersOf(metadata.db, repository.id, subject.digest)
      assert.deepEqual(
        found.map(({ digest, bytes }) => [digest, bytes]),
        made.map(({ digest, manifest }) => [digest, manifest.bytes]),
      )
      assert.deepEqual(await listReferrersOf(metadata.db, repository.id, freshDigest()), [])
    },
  },
  {
    title: "the upstream's list of referrers is replaced by a later one only",
    async check({ db, ...metadata }) {
      const { id: repositoryId } = await newRepository({ db, ...metadata })
      const subject = freshDigest()
      const referrer = { mediaType: 'x', digest: freshDigest(), size: 3, annotations: { odd: 'a\0b' } }
      assert.equal(await findReferrers(db, repositoryId, subject), undefined)
      await saveReferrers(db, { repositoryId, subject, referrers: [], fetchedAtMs: NOW_MS })
      await saveReferrers(db, { repositoryId, subject, referrers: [referrer], fetchedAtMs: NOW_MS + 1 })
      await saveReferrers(db, { repositoryId, subject, referrers: [], fetchedAtMs: NOW_MS })
      assert.deepEqual(await findReferrers(db, repositoryId, subject), {
        referrers: [referrer],
        fetchedAtMs: NOW_MS + 1,
      })
    },
  },
]

async function checkHolders(metadata: Metadata): Promise<void> {
  const [repository, other] = [await newRepository(metadata), await newRepository(metadata)]
  const image = makeImage([])
  const inner = makeIndex([image.digest])
  const outer = makeIndex([inner.digest, image.digest])
  const beside = makeIndex([freshDigest()])
  for (const made of [image, beside]) await store(metadata, repository, made)
  const innerId = (await store(metadata, repository, inner)).id
  const outerId = (await store(metadata, repository, outer)).id
  await store(metadata, other, outer)
  assert.equal(await isHeld(metadata.db, repository.id, outer.digest), false)

  const onOuter = await point(metadata, repository, 'outer', outer.digest)
  const onImage = await point(metadata, repository, 'image', image.digest)
  await point(metadata, repository, 'beside', beside.digest)
  await point(metadata, other, 'outer', outer.digest)
  await point(metadata, repository, 'moved', inner.digest)
  await point(metadata, repository, 'moved', beside.digest)

  const holders = await findHolders(metadata.db, repository.id, image.digest)
  assert.deepEqual(holders.manifestIds.toSorted(byNumber), [innerId, outerId])
  assert.deepEqual(holders.tags.map((tag) => tag.id).toSorted(byNumber), [onOuter, onImage])
  assert.deepEqual(await findHolders(metadata.db, repository.id, outer.digest), {
    manifestIds: [],
    tags: [{ id: onOuter, name: 'outer', expiresAtMs: NOW_MS }],
  })
  const none = { manifestIds: [], tags: [] }
  assert.deepEqual(await findHolders(metadata.db, repository.id, freshDigest()), none)
  for (const { digest } of [outer, inner, image]) assert.equal(await isHeld(metadata.db, repository.id, digest), true)
  assert.equal(await isHeld(metadata.db, other.id, image.digest), true, 'held by an index without being there itself')
  assert.equal(await isHeld(metadata.db, other.id, beside.digest), false)
}

async function point(metadata: Metadata, repository: Repository, name: string, digest: Digest): Promise<number> {
  const fields = { repositoryId: repository.id, name, digest, nowMs: NOW_MS, expiresAtMs: NOW_MS }
  return (await metadata.transaction((tx) => pointTag(tx, fields))).id
}

function byNumber(left: number, right: number): number {
  return left - right
}
