/** A blob store that fails where a test says so. */
import type { BlobDraft, BlobReader, BlobStore } from '../../src/blobs/blob-store.ts'
import type { Digest } from '../../src/oci/digest.ts'

export class FaultyBlobStore implements BlobStore {
  readonly #inner: BlobStore
  /** Drafts cannot be made. */
  failCreate = false
  /** Drafts are made only after it. */
  slowCreate: Promise<void> | undefined
  /** Writes at this position and after it fail, as on a full disk. */
  fullFrom = Number.POSITIVE_INFINITY
  failPublish = false
  /** Published blobs cannot be read. */
  failRead = false
  /** Nothing can be removed. */
  failDelete = false
  /** Writes wait for it. */
  slow: Promise<void> | undefined
  /** Positions of the writes that were tried. */
  readonly writes: number[] = []
  openFiles = 0

  constructor(inner: BlobStore) {
    this.#inner = inner
  }

  find(digest: Digest) {
    return this.#inner.find(digest)
  }

  async open(digest: Digest): Promise<BlobReader | undefined> {
    const reader = await this.#inner.open(digest)
    if (reader === undefined) return undefined
    this.openFiles += 1
    return {
      sizeBytes: reader.sizeBytes,
      fingerprint: reader.fingerprint,
      read: async (buffer, position) => {
        if (this.failRead) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
        return reader.read(buffer, position)
      },
      close: () => {
        this.openFiles -= 1
        return reader.close()
      },
    }
  }

  async create(): Promise<BlobDraft> {
    if (this.failCreate) throw Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' })
    await this.slowCreate
    const draft = await this.#inner.create()
    this.openFiles += 1
    return {
      write: async (block, position) => {
        this.writes.push(position)
        await this.slow
        if (position < this.fullFrom) return draft.write(block, position)
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
      },
      read: (buffer, position) => draft.read(buffer, position),
      publish: async (digest) => {
        if (this.failPublish) throw Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO' })
        return draft.publish(digest)
      },
      discard: () => draft.discard(),
      close: () => {
        this.openFiles -= 1
        return draft.close()
      },
    }
  }

  async delete(digest: Digest) {
    if (this.failDelete) throw Object.assign(new Error('EROFS: read-only file system, unlink'), { code: 'EROFS' })
    return this.#inner.delete(digest)
  }

  list(after?: string) {
    return this.#inner.list(after)
  }

  capacity() {
    return this.#inner.capacity()
  }

  sweep(isEnded: (leaseId: string) => boolean) {
    return this.#inner.sweep(isEnded)
  }
}
