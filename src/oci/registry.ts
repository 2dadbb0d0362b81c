/**
 * The pull side of the OCI distribution-spec as an interface. The upstream client and the cache implement it, and the
 * `/v2` server serves it; policy is a wrapper around it.
 */
import type { Readable } from 'node:stream'
import type { Descriptor } from './descriptor.ts'
import type { Digest } from './digest.ts'
import type { Reference, Tag } from './reference.ts'
import type { RepositoryName } from './repository-name.ts'

/** A manifest exactly as it was sent: `descriptor.digest` is the digest of `bytes`, `descriptor.size` their length. */
export type Manifest = { descriptor: Descriptor; bytes: Buffer }

/** Bytes `start` to `end`, both included and counted from 0; without `end`, to the last byte. RFC 9110, 14.1.2. */
export type ByteRange = { start: number; end?: number }

/** What a client's `Range` header can ask for: also the last `suffixLength` bytes. */
export type RequestedRange = ByteRange | { suffixLength: number }

/** What is known of a blob without its bytes. Blobs have no media type of their own. */
export type BlobDescriptor = { digest: Digest; size: number }

/** Each entry as it stood in the list, with the fields that clients filter and choose by. */
export type Referrer = Descriptor & { artifactType?: string; annotations?: Record<string, string> }

/** What the caller wants of one request. */
export type RequestOptions = {
  /** Ends the request. Shared work must not be handed one caller's signal. */
  signal?: AbortSignal
  /** Clients' requests go before background work. Default `client`. */
  priority?: 'client' | 'background'
  /** Aborted when a client begins to wait for background work: from then on it is a client's request. */
  promoted?: AbortSignal
}

export interface Registry {
  /**
   * Resolve a tag or digest to the descriptor of the manifest it names.
   * Errors: MANIFEST_UNKNOWN, NAME_UNKNOWN, DENIED; of an upstream: UpstreamError.
   * Source: distribution-spec end-3, HEAD.
   */
  resolveManifest(name: RepositoryName, reference: Reference, options?: RequestOptions): Promise<Descriptor>

  /**
   * Get the manifest that a tag or digest names; its bytes match its digest. Source: end-3, GET.
   * Errors: as `resolveManifest`.
   */
  getManifest(name: RepositoryName, reference: Reference, options?: RequestOptions): Promise<Manifest>

  /** Resolve a digest to the size of its blob. Errors: BLOB_UNKNOWN, DENIED; UpstreamError. Source: end-2, HEAD. */
  resolveBlob(name: RepositoryName, digest: Digest, options?: RequestOptions): Promise<BlobDescriptor>

  /** All tags of a repository, sorted by code unit. Errors: NAME_UNKNOWN, DENIED; UpstreamError. Source: end-8a. */
  listTags(name: RepositoryName, options?: RequestOptions): Promise<Tag[]>

  /** All manifests whose subject is `digest`. Errors: NAME_UNKNOWN, DENIED; UpstreamError. Source: end-12a. */
  listReferrers(name: RepositoryName, digest: Digest, options?: RequestOptions): Promise<Referrer[]>
}

/** The bytes of an upstream's blob. The caller consumes `body` or destroys it. */
export type UpstreamBlob = {
  /** Where `body` begins in the blob: the start that was asked for, or 0 when the upstream ignored the range. */
  start: number
  /** Size of the whole blob, when the upstream says so. */
  size: number | undefined
  /** Length of `body`, when the upstream says so. */
  length: number | undefined
  /** Ends early with an UpstreamError when the connection breaks or idles; never verifies a digest. */
  body: Readable
}

export type UpstreamAvailability = 'up' | 'down'

/** What an organization's status shows of its upstream. Instants are milliseconds since the epoch. */
export type UpstreamState = {
  availability: UpstreamAvailability
  sinceMs: number
  /** The last failure in words, without secrets, and when it happened. */
  lastError: { message: string; atMs: number } | undefined
  /** Until when the 429 gate of these credentials is closed. */
  rateLimitedUntilMs: number | undefined
  /** The last `RateLimit-Remaining` (and `-Limit`) that the upstream sent. */
  rateLimit: { limit: number | undefined; remaining: number; atMs: number } | undefined
  /** Since when the upstream refuses the credentials. */
  credentialsRefusedSinceMs: number | undefined
}

/** A registry that we cache, contacted with one organization's credentials. Its errors are UpstreamErrors. */
export interface Upstream extends Registry {
  /** `host[:port]` as contacted, for messages and for comparing upstreams. */
  readonly host: string
  /** Whether content from it came over verified TLS. */
  readonly isVerified: boolean
  /** Open a blob's bytes, from `range.start` if the upstream honours ranges. Source: end-2, GET. */
  openBlob(
    name: RepositoryName,
    digest: Digest,
    options?: RequestOptions & { range?: ByteRange },
  ): Promise<UpstreamBlob>
  state(): UpstreamState
}

/** How an upstream is contacted. Equal values share connections, tokens and state. */
export type UpstreamConfig = {
  scheme: 'https' | 'http'
  /** `host[:port]`, with Docker Hub's aliases already replaced by `registry-1.docker.io`. */
  host: string
  /** PEM certificates to trust instead of the system's. */
  caPem: string | undefined
  credentials: CredentialSource
}

/**
 * Where the username and password come from. File and command are for operators only (configuration), since they name
 * things of this machine; the command's output and the file's text are the password, without its last line break.
 * withheld: there is a password, which must not be sent to this upstream; asking for it fails and says `problem`.
 */
export type CredentialSource =
  | { kind: 'anonymous' }
  | { kind: 'password'; username: string; password: string }
  | { kind: 'file'; username: string; path: string }
  | { kind: 'command'; username: string; command: readonly string[] }
  | { kind: 'withheld'; problem: string }

/** Opens upstreams and owns what they share: connections, tokens, limits, health. */
export interface UpstreamPool {
  open(config: UpstreamConfig): Upstream
  /** End probes and connections. */
  close(): Promise<void>
}
