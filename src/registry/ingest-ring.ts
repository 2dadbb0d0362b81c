/** The newest blocks of a blob that is arriving. */
import { INGEST_LIMITS } from './ingest-limits.ts'

const { blockBytes } = INGEST_LIMITS

/**
 * Bytes that are in a block never change, and a block's memory is never used again: parts of it may be handed out
 * without copying, also of the last one while it fills.
 */
export class IngestRing {
  readonly #blocks: Buffer[] = []
  #firstIndex = 0
  #arrivedBytes = 0

  get arrivedBytes(): number {
    return this.#arrivedBytes
  }

  get blocks(): number {
    return this.#blocks.length
  }

  /** The index of the oldest block that is still here; the next one's when there is none. */
  get firstIndex(): number {
    return this.#firstIndex
  }

  /** Copy `chunk` in, and report each block that it fills. `sizeBytes`, when known, is never exceeded. */
  append(chunk: Uint8Array, sizeBytes: number | undefined, onFull: (index: number, block: Buffer) => void): void {
    for (let taken = 0; taken < chunk.byteLength; ) {
      const within = this.#arrivedBytes % blockBytes
      const index = (this.#arrivedBytes - within) / blockBytes
      const block = within === 0 ? this.#begin(index, sizeBytes) : this.#blockOf(index)
      const part = chunk.subarray(taken, taken + blockBytes - within)
      block.set(part, within)
      taken += part.byteLength
      this.#arrivedBytes += part.byteLength
      if (within + part.byteLength === blockBytes) onFull(index, block)
    }
  }

  /** What has arrived of the block that is not full; undefined when there is none. */
  tail(): { index: number; block: Buffer } | undefined {
    const within = this.#arrivedBytes % blockBytes
    if (within === 0) return undefined
    const index = (this.#arrivedBytes - within) / blockBytes
    return { index, block: this.#blockOf(index).subarray(0, within) }
  }

  /** The bytes from `position` to `end` at most, as far as they lie in one block; undefined when they are gone. */
  slice(position: number, end: number): Uint8Array | undefined {
    const index = Math.floor(position / blockBytes)
    if (index < this.#firstIndex) return undefined
    const block = this.#blocks[index - this.#firstIndex]
    const start = index * blockBytes
    return block?.subarray(position - start, Math.min(end - start, blockBytes))
  }

  /** Drop the oldest blocks while there are more than `blocksMax`, up to the first that `isNeeded`. */
  trim(blocksMax: number, isNeeded: (index: number) => boolean): void {
    while (this.#blocks.length > blocksMax && !isNeeded(this.#firstIndex)) {
      this.#blocks.shift()
      this.#firstIndex += 1
    }
  }

  #begin(index: number, sizeBytes: number | undefined): Buffer {
    const bytes = sizeBytes === undefined ? blockBytes : Math.min(blockBytes, sizeBytes - index * blockBytes)
    const block = Buffer.allocUnsafeSlow(bytes)
    this.#blocks.push(block)
    return block
  }

  #blockOf(index: number): Buffer {
    const block = this.#blocks[index - this.#firstIndex]
    if (block === undefined) throw new Error('the newest block has been dropped')
    return block
  }
}
