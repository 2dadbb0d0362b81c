/** Repositories as the API names them, for those who may look at them or change them. */
import { lockUsage } from '../metadata/ledger.ts'
import type { Db } from '../metadata/open.ts'
import type { Organization } from '../metadata/organizations.ts'
import { findProxyCache } from '../metadata/proxy-caches.ts'
import { findRepository, type Repository } from '../metadata/repositories.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { isNotAnUpstreamName, parseUpstreamName } from '../oci/upstream-name.ts'
import { notFound } from './admin-error.ts'
import type { AccountCaller, Caller } from './caller.ts'
import type { Organizations } from './organizations.ts'

/** As a path says it; the repository without the organization. */
export type RepositoryKey = { organization: string; repository: RepositoryName }

export type FoundRepository = { organization: Organization; repository: Repository }
export type ChangedRepository = FoundRepository & { administrator: AccountCaller }

/** Errors: AdminError NOT_FOUND. */
export async function findSeenRepository(
  db: Db,
  organizations: Organizations,
  key: RepositoryKey,
): Promise<FoundRepository> {
  const organization = await organizations.find(key.organization)
  return { organization, repository: await find(db, organization, key.repository) }
}

/** A repository, and who changes it: the permission table has let them. Errors: AdminError NOT_FOUND. */
export async function findChangedRepository(
  db: Db,
  organizations: Organizations,
  caller: Caller,
  key: RepositoryKey,
): Promise<ChangedRepository> {
  const { organization, administrator } = await organizations.administered(caller, key.organization)
  return { organization, administrator, repository: await find(db, organization, key.repository) }
}

/**
 * Lock the organization's charge, and with it its images, until the transaction ends; resolves to the charge.
 * Errors: AdminError NOT_FOUND when the organization, or its upstream, has changed since the repository was found.
 */
export async function lockFound(tx: Db, { organization, repository }: FoundRepository): Promise<number> {
  const usage = await lockUsage(tx, organization.id)
  if (usage === undefined) throw notFound('organization')
  if (usage.generation !== repository.generation) throw notFound('repository')
  return usage.chargeBytes
}

async function find(db: Db, organization: Organization, name: RepositoryName): Promise<Repository> {
  const repository = await findStoredRepository(db, organization, name)
  if (repository === undefined) throw notFound('repository')
  return repository
}

/** Whichever way it is named; undefined when nothing of it is kept. */
export async function findStoredRepository(
  db: Db,
  organization: Organization,
  name: RepositoryName,
): Promise<Repository | undefined> {
  for (const stored of await storedNames(db, organization, name)) {
    const repository = await findRepository(db, organization.id, organization.generation, stored)
    if (repository !== undefined) return repository
  }
  return undefined
}

/** Docker Hub's official images are stored as `library/…`, whichever way they are named. */
async function storedNames(db: Db, organization: Organization, name: RepositoryName): Promise<string[]> {
  if (name.includes('/')) return [name]
  const proxyCache = await findProxyCache(db, organization.id)
  const upstream = proxyCache && parseUpstreamName(proxyCache.upstreamRegistry)
  if (upstream === undefined || isNotAnUpstreamName(upstream)) return [name, `library/${name}`]
  return upstream.isDockerHub && upstream.namespace === undefined ? [`library/${name}`] : [name]
}
