/** What the cache answers to the `/v2` server: content, and how it came about. */
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import type { Reference, Tag } from '../oci/reference.ts'
import type { Referrer, RequestedRange } from '../oci/registry.ts'

export type Outcome = 'hit' | 'revalidated' | 'stale' | 'miss'

/** Why a stale copy was served. */
export type StaleReason =
  | 'unreachable'
  | 'timeout'
  | 'rate_limited'
  | 'server_error'
  | 'protocol'
  | 'gone'
  | 'denied'
  | 'down'

/** How an answer came about, for headers (RFC 9211), the access line and metrics. */
export type Provenance = {
  outcome: Outcome
  /** When the upstream last said so: `Age` counts from it. */
  confirmedAtMs: number
  staleReason: StaleReason | undefined
  /** Milliseconds that this request waited for the upstream; 0 on a hit. */
  upstreamMs: number
}

export type ServedDescriptor = { descriptor: Descriptor; provenance: Provenance }
export type ServedManifest = ServedDescriptor & { bytes: Buffer }

export type ServedBlobDescriptor = { digest: Digest; size: number; provenance: Provenance }

/** Where the bytes of a served blob go. */
export interface BlobSink {
  /**
   * Take a block. Resolves when the next may come (back-pressure), to false when the client has gone.
   * The block is not changed until then; the sink must not keep it longer.
   */
  write(block: Uint8Array): Promise<boolean>
}

/** A blob, or a part of it, ready to be sent: everything that can fail early has been tried. */
export type ServedBlob = {
  digest: Digest
  /** Of the whole blob; undefined only when no manifest names it and the upstream does not say. */
  size: number | undefined
  /** The part that follows, when the request's range was honoured (206). */
  range: { start: number; end: number } | undefined
  provenance: Provenance
  /**
   * Send the bytes. Resolves when all were taken or the client has gone; rejects when they cannot be completed or turn
   * out not to match the digest: then the connection must be destroyed, never ended.
   */
  pipe(sink: BlobSink): Promise<void>
  /** Give up without piping (HEAD, or the client has gone). Idempotent. */
  close(): void
}

/** A range that cannot be met: answered 416 with the size. */
export type UnsatisfiableRange = { kind: 'unsatisfiable'; size: number }

/** One organization as a registry. Names have lost their organization: `library/alpine`. Errors are RegistryErrors. */
export interface OrganizationRegistry {
  resolveManifest(name: string, reference: Reference): Promise<ServedDescriptor>
  getManifest(name: string, reference: Reference): Promise<ServedManifest>
  resolveBlob(name: string, digest: Digest): Promise<ServedBlobDescriptor>
  /** `range` may be unsatisfiable only once the size is known; a range that is not understood must not be handed in. */
  openBlob(name: string, digest: Digest, range: RequestedRange | undefined): Promise<ServedBlob | UnsatisfiableRange>
  /** Every tag, sorted; `isTruncated` when the upstream's list was longer than we read. */
  listTags(name: string): Promise<{ tags: Tag[]; isTruncated: boolean }>
  listReferrers(name: string, digest: Digest): Promise<Referrer[]>
}
