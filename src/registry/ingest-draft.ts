/** The file side of an ingest: blocks go out side by side, and after one that failed none goes out any more. */
import type { BlobDraft } from '../blobs/blob-store.ts'
import type { Digest } from '../oci/digest.ts'
import { INGEST_LIMITS } from './ingest-limits.ts'

const { blockBytes, writesMax } = INGEST_LIMITS

export class IngestDraft {
  readonly #draft: BlobDraft
  readonly #onWritten: () => void
  readonly #onBroken: (error: unknown) => void
  /** Blocks that are written although an earlier one is not yet; at most `writesMax`. */
  readonly #ahead = new Set<number>()
  #writtenBlocks = 0
  #writing = 0
  #isBroken = false
  #isClosed = false
  #onSettled: (() => void) | undefined

  constructor(draft: BlobDraft, onWritten: () => void, onBroken: (error: unknown) => void) {
    this.#draft = draft
    this.#onWritten = onWritten
    this.#onBroken = onBroken
  }

  /** Bytes from the beginning that can be read; the last block may end sooner. */
  get readableBytes(): number {
    return this.#isClosed ? 0 : this.#writtenBlocks * blockBytes
  }

  get writtenBlocks(): number {
    return this.#writtenBlocks
  }

  get isFull(): boolean {
    return this.#writing >= writesMax
  }

  get isBroken(): boolean {
    return this.#isBroken
  }

  /** Begin to write a block, unless a write has failed. Failure is reported once, to `onBroken`. */
  write(index: number, block: Uint8Array): void {
    if (this.#isBroken) return
    this.#writing += 1
    this.#draft.write(block, index * blockBytes).then(
      () => this.#wrote(index),
      (error: unknown) => this.#broke(error),
    )
  }

  /** Never write again. */
  abandon(): void {
    this.#isBroken = true
  }

  /** Resolves when no write is under way. */
  async settled(): Promise<void> {
    if (this.#writing > 0) await new Promise<void>((resolve) => (this.#onSettled = resolve))
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return this.#draft.read(buffer, position)
  }

  publish(digest: Digest): Promise<void> {
    return this.#draft.publish(digest)
  }

  discard(): Promise<void> {
    return this.#draft.discard()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.settled() // A write must not meet another file under its descriptor's number.
    await this.#draft.close()
  }

  #wrote(index: number): void {
    this.#ahead.add(index)
    while (this.#ahead.delete(this.#writtenBlocks)) this.#writtenBlocks += 1
    this.#finish()
    this.#onWritten()
  }

  #broke(error: unknown): void {
    const isFirst = !this.#isBroken
    this.#isBroken = true
    this.#finish()
    if (isFirst) this.#onBroken(error)
  }

  #finish(): void {
    this.#writing -= 1
    if (this.#writing > 0) return
    this.#onSettled?.()
    this.#onSettled = undefined
  }
}
