/** An organization with a cached repository, for tests of the API: rows as a pull would have left them. */
import assert from 'node:assert/strict'
import { chargeItems, lockUsage, recountUsage } from '../../src/metadata/ledger.ts'
import { findHolders } from '../../src/metadata/manifests.ts'
import type { Organization } from '../../src/metadata/organizations.ts'
import { ensureRepository, type Repository } from '../../src/metadata/repositories.ts'
import { openReservation } from '../../src/metadata/reservations.ts'
import { pointTag, type StoredTag } from '../../src/metadata/tags.ts'
import { addTeamMember, createTeam } from '../../src/metadata/teams.ts'
import { store, type TestManifest } from '../contracts/metadata-case.ts'
import { type ApiUnderTest, startApi } from './start-api.ts'

/** Of what the organization `cache` keeps a tag after its last pull, unless a test changes it. */
export const EXPIRATION_S = 86_400

export type CachedRepository = { api: ApiUnderTest; organization: Organization; repository: Repository; path: string }

/** Users `owner`, `member` and `auditor` of `cache`, and `other` of `theirs`; the repository is `cache/app/web`. */
export async function startWithRepository(
  t: Parameters<typeof startApi>[0],
  settings: Parameters<typeof startApi>[1] = {},
): Promise<CachedRepository> {
  const api = await startApi(t, settings)
  await api.initialize()
  for (const username of ['owner', 'member', 'other', 'auditor']) await api.createUser(username)
  await api.createOrganization('cache', 'owner')
  await api.createOrganization('theirs', 'other')
  await addMember(api, 'member')
  const body = { upstream_registry: 'quay.io', expiration_s: EXPIRATION_S }
  await api.send({ method: 'POST', path: '/api/v1/organization/cache/proxycache', as: 'owner', body })
  const organization = await api.admin.organizations.find('cache')
  const repository = await api.metadata.transaction((tx) =>
    ensureRepository(tx, {
      organizationId: organization.id,
      generation: organization.generation,
      name: 'app/web',
      nowMs: api.time.nowMs,
    }),
  )
  return { api, organization, repository, path: '/api/v1/repository/cache/app/web' }
}

/** Keep an image under tags, charged, with a reservation for its blobs. */
export async function keep(
  { api, repository }: CachedRepository,
  made: TestManifest,
  tags: readonly string[],
  options: { isByDigest?: boolean } = {},
): Promise<StoredTag[]> {
  const nowMs = api.time.nowMs
  const expiresAtMs = nowMs + EXPIRATION_S * 1000
  const { organizationId } = repository
  const { id } = await store(api.metadata, repository, made, { nowMs, expiresAtMs, ...options })
  return api.metadata.transaction(async (tx) => {
    await lockUsage(tx, organizationId)
    const { digest, size: sizeBytes } = made.manifest.descriptor
    await chargeItems(tx, organizationId, [{ kind: 'manifest', digest, sizeBytes }], nowMs)
    const blobs = made.parsed.blobs.map((blob) => ({
      kind: 'blob' as const,
      digest: blob.digest,
      sizeBytes: blob.size,
    }))
    await chargeItems(tx, organizationId, blobs, undefined)
    await openReservation(tx, { organizationId, manifestId: id, nowMs })
    const pointed: StoredTag[] = []
    for (const name of tags) {
      pointed.push(await pointTag(tx, { repositoryId: repository.id, name, digest, nowMs, expiresAtMs }))
    }
    return pointed
  })
}

/** The charge, which must be what a recount gives. */
export async function chargeOf({ api, organization }: CachedRepository): Promise<number> {
  const { chargeBytes, ledgerBytes, trueBytes } = await recountUsage(api.metadata.db, organization.id)
  assert.deepEqual([ledgerBytes, trueBytes], [chargeBytes, chargeBytes], 'the charge is not what a recount gives')
  return chargeBytes
}

/** Names of the current tags of an image, alive or not. */
export async function tagsOf({ api, repository }: CachedRepository, digest: string): Promise<string[]> {
  const holders = await findHolders(api.metadata.db, repository.id, digest)
  return holders.tags.map((tag) => tag.name)
}

async function addMember(api: ApiUnderTest, username: string): Promise<void> {
  const { db } = api.metadata
  const { id: organizationId } = await api.admin.organizations.find('cache')
  const account = await db.selectFrom('account').select('id').where('username', '=', username).executeTakeFirstOrThrow()
  const team = await createTeam(db, { organizationId, name: 'pullers', role: 'member', nowMs: 0 })
  await addTeamMember(db, team.id, account.id)
  api.admin.epoch.advance()
}
