/** A blob's bytes from the upstream, in order and without gaps, however often the connection breaks. */
import type { Readable } from 'node:stream'
import { UpstreamError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Upstream, UpstreamBlob } from '../oci/registry.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { EarlyBytes } from './ingest-early-bytes.ts'
import { type BlobEvents, type Delay, INGEST_LIMITS } from './ingest-limits.ts'

export interface Intake {
  /** The upstream has answered. `sizeBytes` is the blob's, when the descriptor or the upstream says it. */
  opened(sizeBytes: number | undefined): Promise<void>
  /** Take bytes, copying them; false when no more are wanted until `resume`. */
  take(chunk: Uint8Array): boolean
}

export type IngestSourceOptions = {
  upstream: Upstream
  name: RepositoryName
  digest: Digest
  /** As a manifest's descriptor says. */
  sizeBytes: number | undefined
  priority: 'client' | 'background'
  intake: Intake
  delayMs: Delay
  onEvent: BlobEvents
}

export class IngestSource {
  readonly #options: IngestSourceOptions
  readonly #stop = new AbortController()
  readonly #promotion = new AbortController()
  #receivedBytes = 0
  #fruitlessTries = 0
  #sizeBytes: number | undefined
  #body: Readable | undefined
  #early: EarlyBytes | undefined
  /** A body that is destroyed may take its time to close; who stops does not wait for it. */
  #endDrain: ((reason: Error) => void) | undefined

  constructor(options: IngestSourceOptions) {
    this.#options = options
    this.#sizeBytes = options.sizeBytes
  }

  /**
   * Hand all bytes to the intake; resolves when the last was taken.
   * Errors: the first question's is the upstream's own, and there is no second try; after that, what ended it.
   */
  async run(): Promise<void> {
    let blob = await this.#openFirst()
    for (;;) {
      const before = this.#receivedBytes
      const problem = await this.#drain(blob)
      this.#stop.signal.throwIfAborted()
      if (this.#isWhole(problem)) return
      if (this.#receivedBytes > before) this.#fruitlessTries = 0
      blob = await this.#reopen(problem ?? new Error('the body ended early'))
    }
  }

  /** A client waits for it: what is asked of the upstream, also what waits for its turn, is a client's from now on. */
  promote(): void {
    this.#promotion.abort()
  }

  /** Let the body flow again. */
  resume(): void {
    this.#body?.resume()
  }

  /** End it: `run` rejects with `reason`. */
  stop(reason: Error): void {
    this.#stop.abort(reason)
    this.#body?.destroy()
    this.#endDrain?.(reason)
  }

  async #open(start: number | undefined): Promise<UpstreamBlob> {
    const { upstream, name, digest, priority } = this.#options
    const { signal } = this.#stop
    const range = start === undefined ? {} : { range: { start } }
    try {
      const promoted = this.#promotion.signal
      const blob = await upstream.openBlob(name, digest, { priority, promoted, signal, ...range })
      // Until it is listened to, an error must not end the process; `#drain` looks at `errored`.
      blob.body.on('error', () => {})
      if (signal.aborted) blob.body.destroy()
      return blob
    } finally {
      signal.throwIfAborted() // Whatever came of it: the reason is ours.
    }
  }

  async #openFirst(): Promise<UpstreamBlob> {
    const blob = await this.#open(undefined)
    try {
      this.#checkFirst(blob)
      this.#early = new EarlyBytes(blob.body)
      await this.#options.intake.opened(this.#sizeBytes)
      return blob
    } catch (error) {
      blob.body.destroy()
      throw error
    }
  }

  /** The rest of the blob. Throws when it cannot be had after all tries, or can never be had. */
  async #reopen(problem: Error): Promise<UpstreamBlob> {
    let broken = problem
    while (this.#fruitlessTries < INGEST_LIMITS.fruitlessTriesMax) {
      await this.#options.delayMs(resumeDelayMs(broken, this.#fruitlessTries), { signal: this.#stop.signal })
      this.#fruitlessTries += 1
      const opened = await this.#tryOpen()
      if (!(opened instanceof Error)) return opened
      broken = opened
    }
    throw this.#exhausted(broken)
  }

  async #tryOpen(): Promise<UpstreamBlob | Error> {
    const start = this.#receivedBytes
    this.#options.onEvent('ingest_resumed', { digest: this.#options.digest, start })
    let blob: UpstreamBlob
    try {
      blob = await this.#open(start === 0 ? undefined : start)
    } catch (error) {
      if (this.#stop.signal.aborted) throw error
      if (error instanceof UpstreamError && ['not_found', 'denied'].includes(error.failure)) throw error
      return error instanceof Error ? error : new Error('the upstream failed', { cause: error })
    }
    const isUsable = blob.start === start || blob.start === 0
    if (isUsable && (blob.size === undefined || blob.size === (this.#sizeBytes ?? blob.size))) return blob
    blob.body.destroy()
    return this.#protocolError('continues the blob at another place or with another size')
  }

  /** A wrong length is known before the first byte. */
  #checkFirst(blob: UpstreamBlob): void {
    if (blob.start !== 0) throw this.#protocolError('began a blob in its middle')
    const said = blob.size ?? blob.length
    if (said !== undefined && said !== (this.#sizeBytes ?? said)) {
      throw this.#protocolError(`says that the blob has ${said} bytes, and the manifest ${this.#sizeBytes}`)
    }
    this.#sizeBytes ??= said
  }

  /** Take a body to its end. Resolves to what broke it; rejects when it can only be wrong. */
  #drain(blob: UpstreamBlob): Promise<Error | undefined> {
    const { body } = blob
    if (this.#stop.signal.aborted) body.destroy()
    const { promise, resolve, reject } = Promise.withResolvers<Error | undefined>()
    let skipBytes = this.#receivedBytes - blob.start
    let isWrong = false
    const onData = (chunk: Uint8Array) => {
      if (isWrong) return
      const fresh = skipBytes === 0 ? chunk : chunk.subarray(skipBytes)
      skipBytes -= chunk.byteLength - fresh.byteLength
      if (fresh.byteLength === 0) return
      try {
        if (!this.#take(fresh)) body.pause()
      } catch (error) {
        isWrong = true
        reject(error)
        body.destroy()
      }
    }
    this.#body = body
    this.#endDrain = resolve
    this.#early?.handTo(onData)
    this.#early = undefined
    if (body.readableEnded) resolve(undefined)
    else if (body.errored !== null || body.destroyed) resolve(body.errored ?? new Error('the body was lost'))
    body.on('data', onData)
    body.once('end', () => resolve(undefined))
    body.once('error', (error: Error) => resolve(error))
    body.once('close', () => resolve(new Error('the body was closed early')))
    return promise.finally(() => {
      body.off('data', onData)
      this.#body = undefined
      this.#endDrain = undefined
    })
  }

  #take(chunk: Uint8Array): boolean {
    const excess = this.#sizeBytes === undefined ? 0 : this.#receivedBytes + chunk.byteLength - this.#sizeBytes
    const wanted = excess > 0 ? chunk.subarray(0, chunk.byteLength - excess) : chunk
    this.#receivedBytes += wanted.byteLength
    const wantsMore = this.#options.intake.take(wanted)
    if (excess > 0) throw this.#protocolError(`sends more than the blob's ${this.#sizeBytes} bytes`)
    return wantsMore
  }

  #isWhole(problem: Error | undefined): boolean {
    return this.#sizeBytes === undefined ? problem === undefined : this.#receivedBytes === this.#sizeBytes
  }

  #protocolError(what: string): UpstreamError {
    const { host } = this.#options.upstream
    return new UpstreamError('protocol', host, `${host} ${what}`)
  }

  #exhausted(cause: Error): Error {
    if (cause instanceof UpstreamError) return cause
    const { host } = this.#options.upstream
    return new UpstreamError('unreachable', host, `${host} broke the blob off again and again`, { cause })
  }
}

/** Back-off, or what a 429 asked for within bounds. */
function resumeDelayMs(broken: Error, fruitlessTries: number): number {
  const backOffMs = INGEST_LIMITS.resumeDelayMs * 2 ** fruitlessTries
  if (!(broken instanceof UpstreamError) || broken.failure !== 'rate_limited') return backOffMs
  return Math.max(backOffMs, Math.min(broken.retryAfterMs ?? 0, INGEST_LIMITS.retryAfterMsMax))
}
