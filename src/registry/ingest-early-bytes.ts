/** What an upstream sends before anybody can take it. */
import type { Readable } from 'node:stream'
import { INGEST_LIMITS } from './ingest-limits.ts'

/**
 * Kept up to a bound, then the body is paused: if the connection breaks meanwhile, what had arrived is not asked for
 * again.
 */
export class EarlyBytes {
  readonly #body: Readable
  readonly #chunks: Uint8Array[] = []
  #bytes = 0
  readonly #onData = (chunk: Uint8Array) => {
    this.#chunks.push(chunk)
    this.#bytes += chunk.byteLength
    if (this.#bytes >= INGEST_LIMITS.earlyBytesMax) this.#body.pause()
  }

  constructor(body: Readable) {
    this.#body = body
    body.on('data', this.#onData)
  }

  /** Hand over what has come, and listen no longer: the caller does, in the same turn. It may pause the body again. */
  handTo(take: (chunk: Uint8Array) => void): void {
    this.#body.off('data', this.#onData)
    if (this.#body.isPaused()) this.#body.resume()
    for (const chunk of this.#chunks.splice(0)) take(chunk)
  }
}
