/**
 * Lines to a file descriptor, gathered and written behind the requests. A pipe whose reader is slow answers EAGAIN:
 * then it is tried again within milliseconds, and nobody but the lines waits.
 */
import { write } from 'node:fs'
import { afterMs, type Timer } from './timers.ts'
import { KiB, MiB, SECOND_MS } from './units.ts'

export const LINE_LIMITS = {
  /** Of one write; a pipe holds as much. */
  blockBytes: 64 * KiB,
  /** When nobody takes the lines, more than this are dropped and counted: they must not eat the memory. */
  waitingBytesMax: 16 * MiB,
  /** Longest that a line waits when few come. */
  gatherMs: SECOND_MS / 2,
  retryMs: 2,
  /** How long the end of the process waits for a reader. */
  drainMsMax: 2 * SECOND_MS,
} as const

/** UTF-8 of one UTF-16 code unit. */
const bytesOfCharacterMax = 3

export class LineWriter {
  readonly #fd: number
  /** Lines are copied into it at once: kept as strings, they would cost the garbage collector more than all else. */
  #filling = Buffer.allocUnsafeSlow(LINE_LIMITS.blockBytes)
  #filledBytes = 0
  /** Full, the first of them being written. */
  #blocks: Buffer[] = []
  #blockBytes = 0
  #isWriting = false
  #timer: Timer | undefined
  #dropped = 0
  #onIdle: (() => void) | undefined

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Lines that were dropped since the start. */
  get dropped(): number {
    return this.#dropped
  }

  /** Append a line, its line break included; never waits. */
  write(line: string): void {
    if (this.#filledBytes + this.#blockBytes > LINE_LIMITS.waitingBytesMax) {
      this.#dropped += 1
      return
    }
    const bytesMax = line.length * bytesOfCharacterMax
    if (bytesMax > LINE_LIMITS.blockBytes - this.#filledBytes) this.#seal()
    if (bytesMax > LINE_LIMITS.blockBytes) this.#push(Buffer.from(line))
    else this.#filledBytes += this.#filling.write(line, this.#filledBytes)
    if (this.#isWriting) return
    if (this.#blocks.length > 0) this.#writeBlock()
    else this.#timer ??= afterMs(LINE_LIMITS.gatherMs, () => this.#writeAll())
  }

  /** Resolves when everything was written, or after `drainMsMax`. */
  async drain(): Promise<void> {
    if (!this.#isWriting) this.#writeAll()
    if (!this.#isWriting) return
    const idle = Promise.withResolvers<void>()
    this.#onIdle = idle.resolve
    const timer = afterMs(LINE_LIMITS.drainMsMax, idle.resolve, { keepsAlive: true })
    await idle.promise
    timer.cancel()
  }

  #writeAll(): void {
    this.#seal()
    if (this.#blocks.length > 0 && !this.#isWriting) this.#writeBlock()
  }

  /** What has gathered becomes a block. */
  #seal(): void {
    if (this.#filledBytes === 0) return
    this.#push(this.#filling.subarray(0, this.#filledBytes))
    this.#filling = Buffer.allocUnsafeSlow(LINE_LIMITS.blockBytes)
    this.#filledBytes = 0
  }

  #push(block: Buffer): void {
    this.#blocks.push(block)
    this.#blockBytes += block.byteLength
  }

  #writeBlock(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const block = this.#blocks[0]
    this.#isWriting = block !== undefined
    if (block === undefined) {
      this.#rest()
      return
    }
    const wanted = Math.min(block.byteLength, LINE_LIMITS.blockBytes)
    write(this.#fd, block, 0, wanted, null, (error, bytes) => {
      if (isAgain(error)) {
        afterMs(LINE_LIMITS.retryMs, () => this.#writeBlock())
        return
      }
      // A reader that has gone (EPIPE) takes nothing any more: what it does not take is lost, and nothing else.
      const takenBytes = error === null ? bytes : block.byteLength
      this.#blockBytes -= takenBytes
      if (takenBytes < block.byteLength) this.#blocks[0] = block.subarray(takenBytes)
      else this.#blocks.shift()
      this.#writeBlock()
    })
  }

  /** All blocks are written. What has gathered meanwhile waits for more, unless somebody waits for it. */
  #rest(): void {
    if (this.#filledBytes === 0) this.#onIdle?.()
    else if (this.#onIdle === undefined) this.#timer = afterMs(LINE_LIMITS.gatherMs, () => this.#writeAll())
    else this.#writeAll()
  }
}

function isAgain(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EBUSY')
}
