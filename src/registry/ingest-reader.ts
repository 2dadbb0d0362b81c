/** One client that reads a blob while it arrives, at its own pace. */
import { INGEST_LIMITS } from './ingest-limits.ts'
import type { BlobSink } from './served.ts'

/** What a reader sees of its ingest. */
export interface ReadableIngest {
  /** Up to where readers may read now: the last bytes are held back until the digest is verified. */
  readonly readableEnd: number
  readonly isVerified: boolean
  /** Whether others wait for the slowest reader. */
  readonly isStraightThrough: boolean
  /** Bytes in memory from `position`, `end` excluded; undefined when they must be read from the draft. */
  sliceAt(position: number, end: number): Uint8Array | undefined
  /** Read from the draft; resolves to the bytes that were read, up to `end`. */
  readDraft(buffer: Uint8Array, position: number, end: number): Promise<Uint8Array>
  /** Resolves when `readableEnd` or `isVerified` may have changed. */
  changed(): Promise<void>
  advanced(): void
  leave(reader: IngestReader): void
}

export class IngestReader {
  readonly #ingest: ReadableIngest
  readonly #cut = Promise.withResolvers<never>()
  /** The byte after the last one that is wanted; undefined for all. */
  readonly stop: number | undefined
  #position: number
  #isClosed = false
  #buffer: Buffer | undefined
  /** For the watch over readers that stall. */
  hasTaken = false

  constructor(ingest: ReadableIngest, start: number, stop: number | undefined) {
    this.#ingest = ingest
    this.#position = start
    this.stop = stop
    this.#cut.promise.catch(() => {}) // Nobody may be piping when it is cut; `pipe` rejects if somebody is.
  }

  get position(): number {
    return this.#position
  }

  /** Whether it has yet to read any of the bytes from `start`, `end` excluded. */
  needs(start: number, end: number): boolean {
    return this.#position < end && (this.stop === undefined || this.stop > start)
  }

  /** As `ServedBlob.pipe`. */
  async pipe(sink: BlobSink): Promise<void> {
    try {
      await Promise.race([this.#cut.promise, this.#pump(sink)])
    } finally {
      this.close()
    }
  }

  /** End it with an error: what it was sent must not look complete. */
  cut(error: Error): void {
    this.#cut.reject(error)
    this.close()
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#buffer = undefined
    this.#ingest.leave(this)
  }

  async #pump(sink: BlobSink): Promise<void> {
    const ingest = this.#ingest
    while (!this.#isClosed) {
      const end = Math.min(ingest.readableEnd, this.stop ?? Number.POSITIVE_INFINITY)
      if (this.#position < end) {
        const next = this.#next(end)
        const block = next instanceof Promise ? await next : next
        if (this.#isClosed || !(await sink.write(block))) return
      } else if (this.#isAtEnd()) {
        return
      } else {
        await ingest.changed()
      }
    }
  }

  /** The next bytes; they count as read, which their memory allows: it is never used for others. */
  #next(end: number): Uint8Array | Promise<Uint8Array> {
    const ingest = this.#ingest
    const sliceBytes = ingest.isStraightThrough ? INGEST_LIMITS.straightSliceBytes : INGEST_LIMITS.blockBytes
    const sliceEnd = Math.min(end, this.#position + sliceBytes)
    const slice = ingest.sliceAt(this.#position, sliceEnd)
    if (slice === undefined) return this.#readDraft(sliceEnd)
    this.#buffer = undefined // It has caught up.
    this.#advance(slice.byteLength)
    return slice
  }

  async #readDraft(end: number): Promise<Uint8Array> {
    this.#buffer ??= Buffer.allocUnsafeSlow(INGEST_LIMITS.blockBytes)
    const block = await this.#ingest.readDraft(this.#buffer, this.#position, end)
    this.#advance(block.byteLength)
    return block
  }

  #advance(bytes: number): void {
    this.#position += bytes
    this.hasTaken = true
    this.#ingest.advanced()
  }

  #isAtEnd(): boolean {
    if (this.stop !== undefined) return this.#position >= this.stop
    return this.#ingest.isVerified && this.#position === this.#ingest.readableEnd
  }
}
