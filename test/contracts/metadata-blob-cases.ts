/** Blobs, ingests and jobs. */
import assert from 'node:assert/strict'
import {
  findBlobLink,
  findStoredBlob,
  forgetBlob,
  listBlobHolders,
  listMissingBlobsBeside,
  publishBlob,
  revokeBlobs,
} from '../../src/metadata/blobs.ts'
import {
  listDueIngests,
  postponeIngest,
  removeExpiredIngests,
  removeIngest,
  type WantedBlob,
  wantBlobs,
} from '../../src/metadata/ingests.ts'
import { addJob, listDueJobs, postponeJob, removeJob } from '../../src/metadata/jobs.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import { bumpGeneration } from '../../src/metadata/organizations.ts'
import { ensureRepository, type Repository } from '../../src/metadata/repositories.ts'
import type { Digest } from '../../src/oci/digest.ts'
import {
  freshDigest,
  freshName,
  type MetadataCase,
  makeImage,
  makeLayer,
  NOW_MS,
  newOrganization,
  newRepository,
  store,
  tenTimes,
} from './metadata-case.ts'

const isStored = { isStored: true, storedAtMs: NOW_MS }
const notStored = { isStored: false, storedAtMs: undefined }

export const BLOB_CASES: readonly MetadataCase[] = [
  {
    title: "what is revoked from one organization stays another's",
    async check(metadata) {
      const [one, other] = [await newRepository(metadata), await newRepository(metadata)]
      const digest = freshDigest()
      for (const repository of [one, other]) {
        await name(metadata, repository, digest)
        await publish(metadata, repository, digest)
      }
      await metadata.transaction((tx) => revokeBlobs(tx, one.organizationId))
      assert.equal((await findLink(metadata, one, digest))?.isStored, false)
      assert.equal((await findLink(metadata, other, digest))?.isStored, true)
      assert.ok(await findStoredBlob(metadata.db, digest))
    },
  },
  {
    title: 'what a former generation published is no right of the organization, and is still wanted by it',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const digest = freshDigest()
      await name(metadata, repository, digest)
      await bumpGeneration(metadata.db, repository.organizationId)
      await wantBlobs(metadata.db, [want(repository, digest)])
      assert.equal(await publish(metadata, repository, digest), false)
      assert.equal((await findLink(metadata, repository, digest))?.isStored, false)
      assert.equal((await dueOf(metadata, digest)).length, 1)
      assert.equal(await publish(metadata, repository, digest, 2), true)
      assert.equal((await findLink(metadata, repository, digest))?.isStored, true)
    },
  },
  {
    title: 'publishing while the upstream is changed never leaves a right to what the former one gave',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const { organizationId } = repository
      const digest = freshDigest()
      await name(metadata, repository, digest)
      await tenTimes(async (turn) => {
        if (turn !== 5) return void (await publish(metadata, repository, digest))
        await metadata.transaction(async (tx) => {
          await bumpGeneration(tx, organizationId)
          await revokeBlobs(tx, organizationId)
        })
      })
      assert.deepEqual(await listBlobHolders(metadata.db, digest), [])
    },
  },
  {
    title: 'a blob is linked by a manifest of the repository, by the organization, by both, or not at all',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const [named, stored, both, foreign] = [freshDigest(), freshDigest(), freshDigest(), freshDigest()]
      await store(
        metadata,
        repository,
        makeImage([
          makeLayer(named, 11),
          makeLayer(both, 12),
          { ...makeLayer(foreign, 13), urls: ['https://example.test/x'] },
        ]),
      )
      await name(metadata, await sibling(metadata, repository), stored)
      for (const digest of [stored, both]) await publish(metadata, repository, digest)
      const link = (digest: Digest) => findLink(metadata, repository, digest)
      assert.deepEqual(await link(named), { sizeBytes: 11, isNamed: true, ...notStored, hasUrls: false })
      assert.deepEqual(await link(stored), { sizeBytes: 500, isNamed: false, ...isStored, hasUrls: false })
      assert.deepEqual(await link(both), { sizeBytes: 500, isNamed: true, ...isStored, hasUrls: false })
      assert.deepEqual(await link(foreign), { sizeBytes: 13, isNamed: true, ...notStored, hasUrls: true })
      assert.equal(await link(freshDigest()), undefined)
    },
  },
  {
    title: 'an empty blob is linked too',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const empty = freshDigest()
      await store(metadata, repository, makeImage([makeLayer(empty, 0)]))
      assert.deepEqual(await findLink(metadata, repository, empty), {
        sizeBytes: 0,
        isNamed: true,
        ...notStored,
        hasUrls: false,
      })
    },
  },
  {
    title: 'naming the digest of another organization gives no right to its bytes',
    async check(metadata) {
      const [victim, attacker] = [await newRepository(metadata), await newRepository(metadata)]
      const secret = freshDigest()
      await name(metadata, victim, secret)
      await publish(metadata, victim, secret)
      await store(metadata, attacker, makeImage([makeLayer(secret)]))
      assert.equal((await findLink(metadata, attacker, secret))?.isStored, false)
      assert.deepEqual(await listBlobHolders(metadata.db, secret), [{ organizationId: victim.organizationId }])
    },
  },
  {
    title: 'ten who publish the same blob at once publish it once, and it is no longer wanted',
    async check(metadata) {
      const [first, second] = [await newRepository(metadata), await newRepository(metadata)]
      const digest = freshDigest()
      for (const repository of [first, second]) await name(metadata, repository, digest)
      await metadata.transaction((tx) => wantBlobs(tx, [want(first, digest), want(second, digest)]))
      await tenTimes((turn) => publish(metadata, turn % 2 === 0 ? first : second, digest))
      const organizationIds = [first, second].map(({ organizationId }) => ({ organizationId }))
      assert.deepEqual(await listBlobHolders(metadata.db, digest), organizationIds)
      assert.deepEqual(await findStoredBlob(metadata.db, digest), { sizeBytes: 500 })
      assert.deepEqual(await dueOf(metadata, digest), [])
    },
  },
  {
    title: 'a blob published for an organization that is gone belongs to nobody',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const digest = freshDigest()
      await publish(metadata, { ...repository, organizationId: 999_999_999 }, digest)
      assert.deepEqual(await listBlobHolders(metadata.db, digest), [])
    },
  },
  {
    title: 'publishing and forgetting at once never leave a right to bytes that are forgotten',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const digest = freshDigest()
      await name(metadata, repository, digest)
      await tenTimes(async (turn) => {
        if (turn % 2 === 0) await publish(metadata, repository, digest)
        else await metadata.transaction((tx) => forgetBlob(tx, digest, NOW_MS))
      })
      const isStored = (await findStoredBlob(metadata.db, digest)) !== undefined
      assert.equal((await listBlobHolders(metadata.db, digest)).length > 0, isStored)
      await metadata.transaction((tx) => forgetBlob(tx, digest, NOW_MS))
      assert.equal(await findStoredBlob(metadata.db, digest), undefined)
      assert.deepEqual(await listBlobHolders(metadata.db, digest), [])
    },
  },
  {
    title: 'beside a layer, what is missing is what its images name and the organization does not have',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const [asked, missing, present, foreign, elsewhere] = [1, 2, 3, 4, 5].map(() => freshDigest())
      assert.ok(asked && missing && present && foreign && elsewhere)
      const layers = [makeLayer(asked), makeLayer(missing, 20), makeLayer(missing, 20), makeLayer(present)]
      const image = makeImage([...layers, { ...makeLayer(foreign), urls: ['https://example.test/'] }])
      await store(metadata, repository, image)
      await store(metadata, repository, makeImage([makeLayer(elsewhere)]))
      await publish(metadata, repository, present)
      const beside = async (layerDigest: Digest) => {
        const { organizationId, id: repositoryId } = repository
        const rows = await listMissingBlobsBeside(metadata.db, { organizationId, repositoryId, layerDigest })
        return new Map(rows.map(({ digest, sizeBytes }) => [digest, sizeBytes]))
      }
      assert.deepEqual(
        await beside(asked),
        new Map([[asked, 1000] as const, [missing, 20] as const, [image.config, 7] as const].toSorted()),
        'as sets',
      )
      assert.equal((await beside(image.config)).size, 0, 'a config is no layer')
    },
  },
  {
    title: 'a wanted blob comes due, is postponed, and is given up in the end',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const digest = freshDigest()
      const wanted = want(repository, digest)
      await tenTimes(() => metadata.transaction((tx) => wantBlobs(tx, [wanted, { ...wanted, sizeBytes: 9 }])))
      const { organizationId } = repository
      const [ingest] = await dueOf(metadata, digest)
      assert.deepEqual(ingest, {
        organizationId,
        repositoryId: repository.id,
        digest,
        sizeBytes: ingest?.sizeBytes,
        createdAtMs: NOW_MS,
        attempts: 0,
        nextAttemptAtMs: NOW_MS,
        giveUpAtMs: NOW_MS + 100,
      })
      assert.deepEqual(await dueOf(metadata, digest, NOW_MS - 1), [])
      await postponeIngest(metadata.db, { organizationId, digest, nextAttemptAtMs: NOW_MS + 50, attempts: 3 })
      assert.deepEqual(await dueOf(metadata, digest, NOW_MS + 49), [])
      assert.equal((await dueOf(metadata, digest, NOW_MS + 50))[0]?.attempts, 3)
      assert.deepEqual(await dueOf(metadata, digest, NOW_MS + 100), [], 'given up')
      assert.ok((await removeExpiredIngests(metadata.db, NOW_MS + 100)) >= 1)
      assert.equal(await removeIngest(metadata.db, { organizationId, digest }), false)
      await metadata.transaction((tx) => wantBlobs(tx, [wanted]))
      assert.equal(await removeIngest(metadata.db, { organizationId, digest }), true)
    },
  },
  {
    title: 'as many blobs as one manifest may name are wanted at once',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const wanted = Array.from({ length: 10_000 }, () => want(repository, freshDigest()))
      await metadata.transaction((tx) => wantBlobs(tx, wanted))
      await metadata.transaction((tx) => wantBlobs(tx, []))
      assert.ok((await removeExpiredIngests(metadata.db, NOW_MS + 100)) >= 10_000)
    },
  },
  {
    title: 'a job comes due, fails, is postponed and removed',
    async check({ db }) {
      const kind = freshName()
      const due = async (nowMs: number) => (await listDueJobs(db, nowMs, 1000)).filter((job) => job.kind === kind)
      const { id } = await addJob(db, { kind, payload: { list: [1, 'a\0'] }, nowMs: NOW_MS, runAtMs: NOW_MS + 5 })
      await addJob(db, { kind, payload: null, nowMs: NOW_MS, runAtMs: NOW_MS + 4 })
      assert.deepEqual(await due(NOW_MS + 3), [])
      const [earlier, job] = await due(NOW_MS + 5)
      assert.equal(earlier?.payload, null)
      const expected = { id, kind, payload: { list: [1, 'a\0'] }, createdAtMs: NOW_MS, runAtMs: NOW_MS + 5 }
      assert.deepEqual(job, { ...expected, attempts: 0, lastError: undefined })
      await postponeJob(db, { id, runAtMs: NOW_MS + 9, attempts: 1, lastError: `broken\0${'x'.repeat(5000)}` })
      const [, postponed] = await due(NOW_MS + 9)
      assert.equal(postponed?.attempts, 1)
      assert.match(postponed?.lastError ?? '', /^broken.x{900,}$/)
      assert.deepEqual([await removeJob(db, id), await removeJob(db, id)], [true, false])
    },
  },
  {
    title: 'organizations share nothing by itself',
    async check(metadata) {
      const organization = await newOrganization(metadata.db)
      const [first, second] = [await newRepository(metadata, organization), await newRepository(metadata, organization)]
      const digest = freshDigest()
      await store(metadata, first, makeImage([makeLayer(digest)]))
      await publish(metadata, first, digest)
      const link = await findLink(metadata, second, digest)
      assert.deepEqual(link, { sizeBytes: 500, isNamed: false, ...isStored, hasUrls: false }, 'the caller sees that')
    },
  },
]

/** A blob that no manifest names is nobody's. */
async function name(metadata: Metadata, repository: Repository, digest: Digest): Promise<void> {
  await store(metadata, repository, makeImage([makeLayer(digest, 500)]))
}

/** Another repository of the same organization. */
function sibling(metadata: Metadata, { organizationId, generation }: Repository): Promise<Repository> {
  const fields = { organizationId, generation, name: freshName(), nowMs: NOW_MS }
  return metadata.transaction((tx) => ensureRepository(tx, fields))
}

function want(repository: Repository, digest: Digest): WantedBlob {
  const { organizationId, id: repositoryId } = repository
  return { organizationId, repositoryId, digest, sizeBytes: 5, nowMs: NOW_MS, giveUpAtMs: NOW_MS + 100 }
}

async function dueOf(metadata: Metadata, digest: Digest, nowMs = NOW_MS) {
  return (await listDueIngests(metadata.db, nowMs, 100_000)).filter((ingest) => ingest.digest === digest)
}

function publish(metadata: Metadata, { organizationId }: Repository, digest: Digest, generation = 1): Promise<boolean> {
  const fields = { organizationId, generation, digest, sizeBytes: 500, nowMs: NOW_MS }
  return metadata.transaction((tx) => publishBlob(tx, fields))
}

function findLink(metadata: Metadata, { organizationId, id }: Repository, digest: Digest) {
  return findBlobLink(metadata.db, { organizationId, repositoryId: id, digest })
}
