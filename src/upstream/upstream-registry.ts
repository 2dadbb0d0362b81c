/** A registry that we cache, spoken to over HTTP. */
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { Reference, Tag } from '../oci/reference.ts'
import type {
  BlobDescriptor,
  ByteRange,
  Manifest,
  Referrer,
  RequestOptions,
  Upstream,
  UpstreamBlob,
  UpstreamState,
} from '../oci/registry.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { BlobRequests } from './blob-requests.ts'
import { ListRequests } from './list-requests.ts'
import { ManifestRequests } from './manifest-requests.ts'
import type { Session } from './session.ts'

export class UpstreamRegistry implements Upstream {
  readonly host: string
  readonly isVerified: boolean
  readonly #session: Session
  readonly #manifests: ManifestRequests
  readonly #blobs: BlobRequests
  readonly #lists: ListRequests

  constructor(session: Session) {
    this.host = session.host
    this.isVerified = session.account.endpoint.url.protocol === 'https:'
    this.#session = session
    this.#manifests = new ManifestRequests(session)
    this.#blobs = new BlobRequests(session)
    this.#lists = new ListRequests(session, this.#manifests)
  }

  resolveManifest(name: RepositoryName, reference: Reference, options?: RequestOptions): Promise<Descriptor> {
    return this.#manifests.resolve(name, reference, options)
  }

  getManifest(name: RepositoryName, reference: Reference, options?: RequestOptions): Promise<Manifest> {
    return this.#manifests.get(name, reference, options)
  }

  resolveBlob(name: RepositoryName, digest: Digest, options?: RequestOptions): Promise<BlobDescriptor> {
    return this.#blobs.resolve(name, digest, options)
  }

  openBlob(
    name: RepositoryName,
    digest: Digest,
    options?: RequestOptions & { range?: ByteRange },
  ): Promise<UpstreamBlob> {
    return this.#blobs.open(name, digest, options)
  }

  listTags(name: RepositoryName, options?: RequestOptions): Promise<Tag[]> {
    return this.#lists.tags(name, options)
  }

  listReferrers(name: RepositoryName, digest: Digest, options?: RequestOptions): Promise<Referrer[]> {
    return this.#lists.referrers(name, digest, options)
  }

  state(): UpstreamState {
    return this.#session.account.state()
  }
}
