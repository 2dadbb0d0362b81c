/** Bytes by digest. What the store holds is complete and was verified before it was published. */
import type { Digest } from '../oci/digest.ts'

export type StoredBlob = { digest: Digest; sizeBytes: number }

/** `modifiedAtMs`: since when the store has it, by the store's own real time. */
export type ListedBlob = StoredBlob & { modifiedAtMs: number }

/** A published blob opened for reading. It stays whole for its reader even when the blob is deleted meanwhile. */
export interface BlobReader {
  readonly sizeBytes: number
  /** Changes whenever the stored bytes may have changed: what was verified under one fingerprint stays verified. */
  readonly fingerprint: string
  /** Read up to `buffer.byteLength` bytes from `position` into `buffer`; resolves to their number, 0 at the end. */
  read(buffer: Uint8Array, position: number): Promise<number>
  close(): Promise<void>
}

/** A blob being received. Nobody but its owner sees it before `publish`. */
export interface BlobDraft {
  /** Write all of `block` at `position`, or throw; after it has thrown once, a draft must not be written again. */
  write(block: Uint8Array, position: number): Promise<void>
  /** As `BlobReader.read`; works until `close`, after `publish` too. */
  read(buffer: Uint8Array, position: number): Promise<number>
  /** Make the bytes durable, then visible under `digest`, atomically and idempotently. The caller has verified them. */
  publish(digest: Digest): Promise<void>
  /** Remove what was written, unless it was published. Reading goes on until `close`. Idempotent. */
  discard(): Promise<void>
  close(): Promise<void>
}

export interface BlobStore {
  /** Undefined when the store does not hold it. */
  find(digest: Digest): Promise<StoredBlob | undefined>
  /** Undefined when the store does not hold it. The caller closes the reader. */
  open(digest: Digest): Promise<BlobReader | undefined>
  /** Begin to receive a blob. Throws when the store cannot be written. */
  create(): Promise<BlobDraft>
  /** Remove a blob; false when there was none. */
  delete(digest: Digest): Promise<boolean>
  /** Every published blob behind `after` (default: all), in the order of their digests. Reading may stop anywhere. */
  list(after?: string): AsyncIterable<ListedBlob>
  /** Bytes that can still be written, and the size of the whole; undefined when the store knows no such bound. */
  capacity(): Promise<{ freeBytes: number; totalBytes: number } | undefined>
  /** Remove drafts whose owner's lease has ended; resolves to their number. */
  sweep(isEnded: (leaseId: string) => boolean): Promise<number>
}
