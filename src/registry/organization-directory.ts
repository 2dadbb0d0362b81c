/** The organizations by name, as registries; loaded when first asked for and dropped when they change. */

import { BoundedMap } from '../base/bounded-map.ts'
import { SingleFlight } from '../base/single-flight.ts'
import { listBlobHolders } from '../metadata/blobs.ts'
import { findMirror, findOrganization, findOrganizationById, type Organization } from '../metadata/organizations.ts'
import { findProxyCache, type ProxyCache } from '../metadata/proxy-caches.ts'
import { findRepositoryById } from '../metadata/repositories.ts'
import type { Digest } from '../oci/digest.ts'
import type { Reference } from '../oci/reference.ts'
import type { Upstream } from '../oci/registry.ts'
import { parseUpstreamName } from '../oci/upstream-name.ts'
import { CachedOrganization } from './cached-organization.ts'
import type { CompletedOrganization } from './completion.ts'
import type { HotManifest, RegistryDirectory } from './directory.ts'
import { OrganizationBlobs, type OrganizationBlobsDeps } from './organization-blobs.ts'
import type { ManifestsDeps, Recalled } from './organization-manifests.ts'
import { askableUpstream, makeTagPolicy, type OrganizationView } from './organization-view.ts'
import { renewalOf } from './tag-decision.ts'
import { mapRepositoryName } from './upstream-repository.ts'
import { listVisibleRepositories } from './visible-repositories.ts'

export const DIRECTORY_LIMITS = {
  /** Organizations in memory; each is some kilobytes until it is pulled through. */
  organizationsMax: 10_000,
  /** Holders of the same bytes that are looked at before they are simply downloaded again. */
  blobHoldersMax: 20,
} as const

export type DirectoryDeps = ManifestsDeps & {
  /** Opens an organization's upstream with its credentials in clear. */
  openUpstream: (organization: Organization, proxyCache: ProxyCache) => Upstream
  blobs: Omit<OrganizationBlobsDeps, 'organizationId' | 'generation' | 'upstream' | 'mayReuse'>
}

export class OrganizationDirectory implements RegistryDirectory {
  readonly #deps: DirectoryDeps
  readonly #organizations = new BoundedMap<string, CachedOrganization>(DIRECTORY_LIMITS.organizationsMax)
  readonly #loads = new SingleFlight<CachedOrganization | undefined>()
  #epoch = 0

  constructor(deps: DirectoryDeps) {
    this.#deps = deps
  }

  recallManifest(organization: string, name: string, reference: Reference): HotManifest | undefined {
    const cached = this.#organizations.peek(organization)
    if (cached === undefined) return undefined
    const recalled = cached.manifests.recall(name, reference)
    return recalled && this.#toHot(cached.view, recalled)
  }

  async find(name: string) {
    const cached = await this.findCached(name)
    return cached && { name, registry: cached, isProxy: true }
  }

  /** The organization as the cache has it; undefined when there is none of that name. */
  findCached(name: string): Promise<CachedOrganization | undefined> {
    const cached = this.#organizations.get(name)
    if (cached !== undefined) return Promise.resolve(cached)
    return this.#loads.run(name, async () => {
      const organization = await findOrganization(this.#deps.metadata.db, name)
      return organization && this.#load(organization)
    })
  }

  async findCachedById(id: number): Promise<CachedOrganization | undefined> {
    const organization = await findOrganizationById(this.#deps.metadata.db, id)
    return organization && this.findCached(organization.name)
  }

  /** The organization's blobs and its repositories' names upstream, for work that goes on behind the requests. */
  async findCompleted(id: number): Promise<CompletedOrganization | undefined> {
    const cached = await this.findCachedById(id)
    if (cached === undefined) return undefined
    return {
      blobs: cached.blobs,
      repositoryName: async (repositoryId) => {
        const row = await findRepositoryById(this.#deps.metadata.db, repositoryId)
        const isOurs = row !== undefined && row.organizationId === id && row.generation === cached.view.generation
        return isOurs && cached.view.upstream ? mapRepositoryName(cached.view.upstream, row.name).upstream : undefined
      },
    }
  }

  async findMirror(host: string): Promise<string | undefined> {
    // Stored as it is contacted: every alias of Docker Hub finds the one mirror.
    const parsed = parseUpstreamName(host)
    if (!('host' in parsed) || parsed.namespace !== undefined) return undefined
    const organization = await findMirror(this.#deps.metadata.db, parsed.host)
    return organization?.name
  }

  async isUpstreamOf(organization: string, host: string): Promise<boolean> {
    const cached = await this.findCached(organization)
    const parsed = parseUpstreamName(host)
    if (cached?.view.upstream === undefined || !('host' in parsed)) return false
    return cached.view.upstream.client.host === parsed.host || cached.view.mirrorHost === parsed.host
  }

  async listRepositories(
    maySee: (organization: string) => Promise<boolean>,
    options: { after?: string; limit: number },
  ): Promise<{ names: string[]; isComplete: boolean }> {
    return listVisibleRepositories(this.#deps.metadata.db, maySee, options)
  }

  /** An organization has changed: what was built from its row is built anew at the next question. */
  forget(name: string): void {
    this.#epoch += 1
    this.#organizations.delete(name)
  }

  async #load(organization: Organization): Promise<CachedOrganization> {
    const epoch = this.#epoch
    const proxyCache = await findProxyCache(this.#deps.metadata.db, organization.id)
    const view = this.#makeView(organization, proxyCache)
    const blobs = new OrganizationBlobs({
      ...this.#deps.blobs,
      organizationId: organization.id,
      generation: organization.generation,
      upstream: () => askableUpstream(view),
      mayReuse: (digest) => this.#mayReuse(view, digest),
    })
    const cached = new CachedOrganization(view, this.#deps, blobs)
    // A change while it was loading may not be in it: then it serves this one request only.
    if (epoch === this.#epoch) this.#organizations.set(organization.name, cached)
    return cached
  }

  #makeView(organization: Organization, proxyCache: ProxyCache | undefined): OrganizationView {
    return {
      id: organization.id,
      name: organization.name,
      generation: organization.generation,
      policy: makeTagPolicy(organization, proxyCache?.expirationSeconds),
      rules: { allowed: organization.allowedRepositories, denied: organization.deniedRepositories },
      frozen: organization.frozen,
      passesTooLarge: organization.passesTooLarge,
      mirrorHost: organization.mirrorHost,
      upstream: proxyCache && this.#openUpstream(organization, proxyCache),
    }
  }

  #openUpstream(organization: Organization, proxyCache: ProxyCache): OrganizationView['upstream'] {
    const parsed = parseUpstreamName(proxyCache.upstreamRegistry)
    if (!('host' in parsed)) throw new Error(`the upstream of organization ${organization.name} is malformed`)
    const { namespace, isDockerHub } = parsed
    return { client: this.#deps.openUpstream(organization, proxyCache), namespace, isDockerHub }
  }

  /** DESIGN part 4, *Nothing crosses organizations by itself*: only from the same host over verified TLS. */
  async #mayReuse(view: OrganizationView, digest: Digest): Promise<boolean> {
    const own = askableUpstream(view)
    if (own === undefined || !own.isVerified) return false
    const holders = await listBlobHolders(this.#deps.metadata.db, digest)
    for (const { organizationId } of holders.slice(0, DIRECTORY_LIMITS.blobHoldersMax)) {
      const theirs = (await this.findCachedById(organizationId))?.view.upstream?.client
      if (theirs?.isVerified === true && theirs.host === own.host) return true
    }
    return false
  }

  #toHot(view: OrganizationView, recalled: Recalled): HotManifest {
    const { manifest, tag, repositoryId, confirmedAtMs } = recalled
    const { clock, uses } = this.#deps
    const latin1 = manifest.latin1 ?? manifest.bytes.toString('latin1')
    manifest.latin1 = latin1
    return {
      sizeBytes: manifest.bytes.byteLength,
      latin1,
      headers: manifest.headers,
      provenance: { outcome: 'hit', confirmedAtMs, staleReason: undefined, upstreamMs: 0 },
      touch: () => {
        const nowMs = clock()
        const expiresAtMs = renewalOf(view.policy, nowMs)
        const use = { lastUsedAtMs: nowMs, expiresAtMs }
        if (tag !== undefined) {
          if (tag.expiresAtMs !== undefined && expiresAtMs !== undefined) tag.expiresAtMs = expiresAtMs ?? undefined
          uses.touchTag({ id: tag.id, ...use })
        } else if (manifest.id !== undefined) {
          uses.touchManifest({ id: manifest.id, repositoryId, digest: manifest.descriptor.digest, ...use })
        }
      },
    }
  }
}
