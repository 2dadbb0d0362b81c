/**
 * Lines to a file descriptor, gathered and written behind the requests. A pipe whose reader is slow answers EAGAIN:
 * then it is tried again within milliseconds, and nobody but the lines waits.
 */
import { write } from 'node:fs'
import { afterMs, type Timer } from './timers.ts'
import { KiB, MiB, SECOND_MS } from './units.ts'

export const LINE_LIMITS = {
  /** Gathered before one write: a line is some 400 bytes. */
  gatheredBytes: 32 * KiB,
  /** Of one write; a pipe holds 64 KiB. */
  writtenBytesMax: 64 * KiB,
  /** When nobody takes the lines, more than this are dropped and counted: they must not eat the memory. */
  waitingBytesMax: 16 * MiB,
  /** Longest that a line waits when few come. */
  gatherMs: SECOND_MS / 2,
  retryMs: 2,
  /** How long the end of the process waits for a reader. */
  drainMsMax: 2 * SECOND_MS,
} as const

export class LineWriter {
  readonly #fd: number
  #lines: string[] = []
  #lineBytes = 0
  /** What is being written. */
  #block = Buffer.alloc(0)
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
    if (this.#lineBytes + this.#block.byteLength > LINE_LIMITS.waitingBytesMax) {
      this.#dropped += 1
      return
    }
    this.#lines.push(line)
    this.#lineBytes += line.length
    if (this.#lineBytes >= LINE_LIMITS.gatheredBytes) this.#begin()
    else this.#timer ??= afterMs(LINE_LIMITS.gatherMs, () => this.#begin())
  }

  /** Resolves when everything was written, or after `drainMsMax`. */
  async drain(): Promise<void> {
    this.#begin()
    if (!this.#isWriting) return
    const idle = Promise.withResolvers<void>()
    this.#onIdle = idle.resolve
    const timer = afterMs(LINE_LIMITS.drainMsMax, idle.resolve, { keepsAlive: true })
    await idle.promise
    timer.cancel()
  }

  #begin(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#isWriting || !this.#take()) return
    this.#isWriting = true
    this.#writeBlock()
  }

  /** Move lines into the block, if it is empty; false when there are none. */
  #take(): boolean {
    if (this.#block.byteLength > 0) return true
    if (this.#lines.length === 0) return false
    this.#block = Buffer.from(this.#lines.join(''))
    this.#lines = []
    this.#lineBytes = 0
    return true
  }

  #writeBlock(): void {
    const block = this.#block
    write(this.#fd, block, 0, Math.min(block.byteLength, LINE_LIMITS.writtenBytesMax), null, (error, bytes) => {
      if (isAgain(error)) {
        afterMs(LINE_LIMITS.retryMs, () => this.#writeBlock())
        return
      }
      // A reader that has gone (EPIPE) takes nothing any more: what it does not take is lost, and nothing else.
      this.#block = error === null ? block.subarray(bytes) : Buffer.alloc(0)
      if (this.#take()) return this.#writeBlock()
      this.#isWriting = false
      this.#onIdle?.()
    })
  }
}

function isAgain(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EAGAIN' || error.code === 'EBUSY')
}
