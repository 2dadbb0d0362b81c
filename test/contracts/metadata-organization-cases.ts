/** Organizations, proxy caches and repositories, and how they go. */
import assert from 'node:assert/strict'
import { createAccount } from '../../src/metadata/accounts.ts'
import { publishBlob } from '../../src/metadata/blobs.ts'
import { wantBlobs } from '../../src/metadata/ingests.ts'
import { listDueJobs, removeJob } from '../../src/metadata/jobs.ts'
import { findManifest } from '../../src/metadata/manifests.ts'
import { NameTakenError } from '../../src/metadata/names.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import {
  bumpGeneration,
  collectGenerationStep,
  collectOrganizationStep,
  createOrganization,
  findMirror,
  findOrganization,
  findOrganizationById,
  listOrganizations,
  MirrorTakenError,
  markOrganizationDeleted,
  type Organization,
  updateOrganization,
} from '../../src/metadata/organizations.ts'
import {
  deleteProxyCache,
  findProxyCache,
  insertProxyCache,
  type ProxyCache,
  updateProxyCache,
} from '../../src/metadata/proxy-caches.ts'
import { saveReferrers } from '../../src/metadata/referrers.ts'
import {
  ensureRepository,
  findRepository,
  listRepositories,
  type Repository,
  setRepositoryDenied,
} from '../../src/metadata/repositories.ts'
import type { Database } from '../../src/metadata/schema.ts'
import { listTagNames, pointTag } from '../../src/metadata/tags.ts'
import { addTeamMember, createTeam } from '../../src/metadata/teams.ts'
import {
  DAY_S,
  freshDigest,
  freshName,
  type MetadataCase,
  makeImage,
  makeIndex,
  makeLayer,
  NOW_MS,
  newOrganization,
  newRepository,
  store,
  tenTimes,
} from './metadata-case.ts'

export const ORGANIZATION_CASES: readonly MetadataCase[] = [
  {
    title: 'an organization is found by name and id, with the policies of a new one',
    async check({ db }) {
      const name = freshName()
      const created = await createOrganization(db, {
        name,
        email: 'o@example.test',
        nowMs: NOW_MS,
        tagExpirationSeconds: DAY_S,
      })
      assert.deepEqual(created, {
        id: created.id,
        name,
        email: 'o@example.test',
        createdAtMs: NOW_MS,
        generation: 1,
        tagExpirationSeconds: DAY_S,
        revalidateAfterSeconds: 0,
        maxStaleSeconds: undefined,
        refuseWhenDenied: false,
        anonymousPulls: false,
        frozen: false,
        allowedRepositories: [],
        deniedRepositories: [],
        mirrorHost: undefined,
        caPem: undefined,
        passesTooLarge: false,
      } satisfies Organization)
      assert.deepEqual(await findOrganization(db, name), created)
      assert.deepEqual(await findOrganizationById(db, created.id), created)
      assert.equal(await findOrganization(db, `${name}x`), undefined)
    },
  },
  {
    title: 'of ten who create the same name at once, as organizations and accounts, one succeeds',
    async check({ db }) {
      const name = freshName()
      const account = { username: name, passwordHash: undefined, isSuperuser: false, nowMs: NOW_MS }
      const outcomes = await tenTimes((turn) =>
        (turn % 2 === 0
          ? createOrganization(db, { name, nowMs: NOW_MS, tagExpirationSeconds: DAY_S })
          : createAccount(db, account)
        ).then(
          () => 'created',
          (error: unknown) => (error instanceof NameTakenError ? 'taken' : String(error)),
        ),
      )
      assert.deepEqual(outcomes.toSorted(), ['created', ...Array(9).fill('taken')])
    },
  },
  {
    title: 'every policy changes by itself, and what is there and undefined is unset',
    async check({ db }) {
      const organization = await newOrganization(db)
      const changes = {
        email: 'p@example.test',
        tagExpirationSeconds: 5,
        revalidateAfterSeconds: 6,
        maxStaleSeconds: 7,
        refuseWhenDenied: true,
        anonymousPulls: true,
        frozen: true,
        allowedRepositories: ['library/*', 'a"b'],
        deniedRepositories: ['x'],
        mirrorHost: `${freshName()}.test`,
        caPem: 'PEM',
        passesTooLarge: true,
      }
      await updateOrganization(db, organization.id, changes)
      assert.deepEqual(await findOrganizationById(db, organization.id), { ...organization, ...changes })
      assert.equal((await findMirror(db, changes.mirrorHost))?.id, organization.id)

      await updateOrganization(db, organization.id, {
        maxStaleSeconds: undefined,
        mirrorHost: undefined,
        frozen: false,
      })
      await updateOrganization(db, organization.id, {})
      const unset = { ...changes, maxStaleSeconds: undefined, mirrorHost: undefined, frozen: false }
      assert.deepEqual(await findOrganizationById(db, organization.id), { ...organization, ...unset })
      assert.equal(await findMirror(db, changes.mirrorHost), undefined)
    },
  },
  {
    title: 'a host has one mirror, and many organizations have none',
    async check({ db }) {
      const [first, second] = [await newOrganization(db), await newOrganization(db)]
      const mirrorHost = `${freshName()}.test`
      await updateOrganization(db, first.id, { mirrorHost })
      await assert.rejects(updateOrganization(db, second.id, { mirrorHost }), MirrorTakenError)
      assert.equal((await findMirror(db, mirrorHost))?.id, first.id)
    },
  },
  {
    title: 'organizations are listed by name, page after page',
    async check({ db }) {
      const prefix = freshName()
      for (const end of ['b', 'a', 'a-a', 'aa']) {
        await createOrganization(db, { name: `${prefix}${end}`, nowMs: NOW_MS, tagExpirationSeconds: DAY_S })
      }
      const names = async (after: string, limit: number) =>
        (await listOrganizations(db, { after, limit })).map(({ name }) => name.slice(prefix.length))
      assert.deepEqual(await names(prefix, 3), ['a', 'a-a', 'aa'])
      assert.deepEqual(await names(`${prefix}aa`, 1), ['b'])
    },
  },
  {
    title: 'a proxy cache is inserted once, changed by field, and deleted',
    async check({ db }) {
      const { id } = await newOrganization(db)
      const proxyCache: ProxyCache = {
        organizationId: id,
        upstreamRegistry: 'quay.io/projectquay',
        usernameEncrypted: 'u',
        passwordEncrypted: 'p',
        expirationSeconds: DAY_S,
        insecure: false,
        createdAtMs: NOW_MS,
      }
      assert.equal(await findProxyCache(db, id), undefined)
      assert.equal(await updateProxyCache(db, id, { insecure: true }), false)
      assert.deepEqual((await tenTimes(() => insertProxyCache(db, proxyCache))).toSorted(), [
        ...Array(9).fill(false),
        true,
      ])
      assert.deepEqual(await findProxyCache(db, id), proxyCache)
      assert.equal(await updateProxyCache(db, id, { insecure: true, passwordEncrypted: undefined }), true)
      assert.equal(await updateProxyCache(db, id, {}), true)
      assert.deepEqual(await findProxyCache(db, id), { ...proxyCache, insecure: true, passwordEncrypted: undefined })
      assert.deepEqual([await deleteProxyCache(db, id), await deleteProxyCache(db, id)], [true, false])
    },
  },
  {
    title: 'ten who need the same new repository at once get the same row',
    async check(metadata) {
      const { id, generation } = await newOrganization(metadata.db)
      const fields = { organizationId: id, generation, name: 'library/alpine', nowMs: NOW_MS }
      const rows = await tenTimes(() => metadata.transaction((tx) => ensureRepository(tx, fields)))
      const found = await findRepository(metadata.db, id, generation, 'library/alpine')
      assert.ok(found !== undefined && !found.isPublic)
      assert.deepEqual(rows, Array(10).fill(found))
      assert.equal(await findRepository(metadata.db, id, generation + 1, 'library/alpine'), undefined)
    },
  },
  {
    title: 'a repository remembers since when it is denied, until it is not',
    async check(metadata) {
      const repository = await newRepository(metadata)
      const deniedAt = async () => {
        const { organizationId, generation, name } = repository
        return (await findRepository(metadata.db, organizationId, generation, name))?.deniedAtMs
      }
      await setRepositoryDenied(metadata.db, repository.id, NOW_MS)
      await setRepositoryDenied(metadata.db, repository.id, NOW_MS + 5)
      assert.equal(await deniedAt(), NOW_MS)
      await setRepositoryDenied(metadata.db, repository.id, undefined)
      assert.equal(await deniedAt(), undefined)
    },
  },
  {
    title: 'repositories of the current generation are listed by organization and name, page after page',
    async check(metadata) {
      const [first, second] = [await newOrganization(metadata.db), await newOrganization(metadata.db)]
      const add = (organization: Organization, name: string) =>
        ensureRepository(metadata.db, {
          organizationId: organization.id,
          generation: organization.generation,
          name,
          nowMs: NOW_MS,
        })
      for (const name of ['b', 'a/b', 'a-b', 'a']) await add(first, name)
      await add(second, 'a')
      const ids = [second.id, first.id, first.id]
      const list = async (limit: number, after?: Repository) =>
        listRepositories(metadata.db, { organizationIds: ids, limit, after })
      const page = await list(3)
      assert.deepEqual(
        page.map(({ name }) => name),
        ['a', 'a-b', 'a/b'],
      )
      const rest = await list(10, page[2])
      assert.deepEqual(
        rest.map(({ organizationId, name }) => [organizationId, name]),
        [
          [first.id, 'b'],
          [second.id, 'a'],
        ],
      )

      await bumpGeneration(metadata.db, first.id)
      assert.deepEqual(
        (await list(10)).map(({ organizationId }) => organizationId),
        [second.id],
      )
      assert.deepEqual(await listRepositories(metadata.db, { organizationIds: [], limit: 10 }), [])
    },
  },
  {
    title: 'a deleted organization is gone at once, its name and mirror are free, and its rows go in small steps',
    check: checkDeletion,
  },
  {
    title: 'an organization that is not being deleted is never collected',
    async check(metadata) {
      const { id } = await newOrganization(metadata.db)
      assert.equal(await collectOrganizationStep(metadata.db, id, 10, NOW_MS), true)
      assert.ok(await findOrganizationById(metadata.db, id))
    },
  },
  {
    title: 'a new generation hides what was cached, and only that is collected',
    async check(metadata) {
      const organization = await newOrganization(metadata.db)
      const old = await newRepository(metadata, organization)
      await fill(metadata, old)
      const generation = await bumpGeneration(metadata.db, organization.id)
      assert.equal(generation, 2)
      const current = await newRepository(metadata, { ...organization, generation })
      await fill(metadata, current)

      const step = () => collectGenerationStep(metadata.db, organization.id, generation, 3, NOW_MS)
      for (let steps = 0; !(await step()); steps++) {
        assert.ok(steps < 100, 'it does not end')
      }
      assert.equal(await findRepository(metadata.db, organization.id, 1, old.name), undefined)
      assert.deepEqual(await listTagNames(metadata.db, old.id, NOW_MS), [])
      assert.deepEqual(await listTagNames(metadata.db, current.id, NOW_MS), ['latest'])
    },
  },
]

/** One row at least of everything that a repository can hold; resolves to the digest of its image. */
async function fill(metadata: Metadata, repository: Repository): Promise<string> {
  const layer = freshDigest()
  const image = makeImage([makeLayer(layer)])
  const { organizationId, id: repositoryId } = repository
  const fields = {
    organizationId,
    repositoryId,
    digest: freshDigest(),
    sizeBytes: 1,
    nowMs: NOW_MS,
    giveUpAtMs: NOW_MS,
  }
  await store(metadata, repository, makeIndex([image.digest, freshDigest()]))
  await store(metadata, repository, image)
  await metadata.transaction(async (tx) => {
    for (const digest of [freshDigest(), image.digest]) {
      await pointTag(tx, { repositoryId, name: 'latest', digest, nowMs: NOW_MS, expiresAtMs: undefined })
    }
    await publishBlob(tx, {
      organizationId,
      generation: repository.generation,
      digest: layer,
      sizeBytes: 1000,
      nowMs: NOW_MS,
    })
    await wantBlobs(tx, [fields])
    await saveReferrers(tx, { repositoryId, subject: image.digest, referrers: [], fetchedAtMs: NOW_MS })
  })
  return image.digest
}

async function checkDeletion(metadata: Metadata): Promise<void> {
  const { db } = metadata
  const organization = await newOrganization(db)
  const other = await newRepository(metadata)
  const kept = await fill(metadata, other)
  const { id, name } = organization
  const mirrorHost = `${freshName()}.test`
  await updateOrganization(db, id, { mirrorHost })
  for (let count = 0; count < 3; count++) await fill(metadata, await newRepository(metadata, organization))
  const account = await createAccount(db, {
    username: freshName(),
    passwordHash: undefined,
    isSuperuser: false,
    nowMs: NOW_MS,
  })
  const team = await createTeam(db, { organizationId: id, name: 'owners', role: 'admin', nowMs: NOW_MS })
  await addTeamMember(db, team.id, account.id)

  await markOrganizationDeleted(db, id, NOW_MS)
  await markOrganizationDeleted(db, id, NOW_MS)
  assert.equal(await findOrganization(db, name), undefined)
  assert.equal(await findOrganizationById(db, id), undefined)
  assert.equal(await findMirror(db, mirrorHost), undefined)
  const again = await createOrganization(db, { name, nowMs: NOW_MS, tagExpirationSeconds: DAY_S })
  await updateOrganization(db, again.id, { mirrorHost })
  const jobs = (await listDueJobs(db, NOW_MS, 100)).filter(({ payload }) => isAbout(payload, id))
  assert.deepEqual(
    jobs.map(({ kind }) => kind),
    ['collect_organization'],
  )
  for (const job of jobs) await removeJob(db, job.id)

  const before = await countRows(metadata)
  let steps = 1
  while (!(await collectOrganizationStep(db, id, 4, NOW_MS))) {
    const left = before - (await countRows(metadata))
    assert.ok(left <= 4 * steps && left > 0, `${left} rows are gone after ${steps} steps of at most 4`)
    steps++
  }
  // A repository, 2 tags, 2 children, 2 blobs, 2 manifests with a root, ingest, referrers; 2 manifests and a blob in
  // the ledger; team, member, usage, organization.
  assert.equal(before - (await countRows(metadata)), 3 * 15 + 4)
  assert.equal(await collectOrganizationStep(db, id, 4, NOW_MS), true)
  assert.ok(await findManifest(db, other.id, kept))
}

function isAbout(payload: unknown, organizationId: number): boolean {
  return (
    typeof payload === 'object' &&
    payload !== null &&
    'organizationId' in payload &&
    payload.organizationId === organizationId
  )
}

const COUNTED: readonly (keyof Database)[] = [
  'organization',
  'proxy_cache',
  'repository',
  'manifest',
  'manifest_child',
  'manifest_blob',
  'tag',
  'root',
  'ledger',
  'usage',
  'ingest',
  'referrers',
  'team',
  'team_member',
]

async function countRows({ db }: Metadata): Promise<number> {
  let count = 0
  for (const table of COUNTED) {
    const row = await db
      .selectFrom(table)
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    count += row.count
  }
  return count
}
