/** A client's connection as a place for a blob's bytes. */
import type { ServerResponse } from 'node:http'
import type { BlobSink } from '../../registry/served.ts'

export class ResponseSink implements BlobSink {
  readonly #response: ServerResponse
  readonly #begin: () => void
  #waiting: ((taken: boolean) => void) | undefined
  #hasBegun = false
  #isGone: boolean
  #bytes = 0

  /**
   * `begin` writes the head of the answer; it is called before the first byte, so that a failure before it has a
   * status.
   */
  constructor(response: ServerResponse, begin: () => void) {
    this.#response = response
    this.#begin = begin
    this.#isGone = response.destroyed
    response.once('close', () => {
      this.#isGone = true
      this.#settle(false)
    })
  }

  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** Whether the client left before everything was sent. */
  get isGone(): boolean {
    return this.#isGone
  }

  /** How many bytes the client's connection has taken. */
  get bytes(): number {
    return this.#bytes
  }

  /** Write the head of an answer without a byte. Idempotent. */
  begin(): void {
    if (this.#hasBegun) return
    this.#hasBegun = true
    this.#begin()
  }

  /** The write's callback comes when the system has taken the block: only then may its memory be used again. */
  write(block: Uint8Array): Promise<boolean> {
    if (this.#isGone) return Promise.resolve(false)
    if (block.byteLength === 0) return Promise.resolve(true)
    this.begin()
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#waiting = resolve
    this.#response.write(block, (error) => {
      const isTaken = error === undefined || error === null
      if (isTaken) this.#bytes += block.byteLength
      else this.#isGone = true // Told here before `close`.
      this.#settle(isTaken)
    })
    return promise
  }

  #settle(taken: boolean): void {
    const resolve = this.#waiting
    this.#waiting = undefined
    resolve?.(taken)
  }
}
