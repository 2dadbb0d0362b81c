/** One organization as a registry: its manifests, blobs and lists under one roof. */
import type { Digest } from '../oci/digest.ts'
import type { Reference, Tag } from '../oci/reference.ts'
import type { Referrer, RequestedRange } from '../oci/registry.ts'
import type { OrganizationBlobs } from './organization-blobs.ts'
import { OrganizationLists } from './organization-lists.ts'
import { type ManifestsDeps, OrganizationManifests } from './organization-manifests.ts'
import type { OrganizationView } from './organization-view.ts'
import type {
  OrganizationRegistry,
  ServedBlob,
  ServedBlobDescriptor,
  ServedDescriptor,
  ServedManifest,
  UnsatisfiableRange,
} from './served.ts'

export class CachedOrganization implements OrganizationRegistry {
  readonly view: OrganizationView
  readonly blobs: OrganizationBlobs
  readonly manifests: OrganizationManifests
  readonly #lists: OrganizationLists

  constructor(view: OrganizationView, deps: ManifestsDeps, blobs: OrganizationBlobs) {
    this.view = view
    this.blobs = blobs
    this.manifests = new OrganizationManifests(view, deps)
    this.#lists = new OrganizationLists(view, deps, this.manifests)
  }

  resolveManifest(name: string, reference: Reference): Promise<ServedDescriptor> {
    return this.manifests.resolveManifest(name, reference)
  }

  getManifest(name: string, reference: Reference): Promise<ServedManifest> {
    return this.manifests.getManifest(name, reference)
  }

  async resolveBlob(name: string, digest: Digest): Promise<ServedBlobDescriptor> {
    return this.blobs.resolveBlob(await this.#enter(name), digest)
  }

  async openBlob(
    name: string,
    digest: Digest,
    range: RequestedRange | undefined,
  ): Promise<ServedBlob | UnsatisfiableRange> {
    return this.blobs.openBlob(await this.#enter(name), digest, range)
  }

  listTags(name: string): Promise<{ tags: Tag[]; isTruncated: boolean }> {
    return this.#lists.listTags(name)
  }

  listReferrers(name: string, digest: Digest): Promise<Referrer[]> {
    return this.#lists.listReferrers(name, digest)
  }

  async #enter(name: string) {
    const repository = await this.manifests.enter(name)
    this.manifests.refuseWhenDenied(repository)
    return { id: repository.held?.id, name: repository.names.upstream }
  }
}
