/** A range far ahead of what has arrived, asked of the upstream and passed on unverified while the ingest fills. */
import { UpstreamError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Upstream, UpstreamBlob } from '../oci/registry.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import type { SatisfiedRange } from './blob-range.ts'
import { type BlobEvents, INGEST_LIMITS } from './ingest-limits.ts'
import type { BlobSink } from './served.ts'

export type DirectRangeRequest = {
  organizationId: number
  generation: number
  upstream: Upstream
  name: RepositoryName
  digest: Digest
  sizeBytes: number
  range: SatisfiedRange
}

export class DirectRanges {
  /** How many are open, per organization, generation and digest; holds only what is under way. */
  readonly #open = new Map<string, number>()
  readonly #onEvent: BlobEvents

  constructor(onEvent: BlobEvents) {
    this.#onEvent = onEvent
  }

  /** Undefined when there are enough of this blob, or the upstream does not give it: then the ingest is waited for. */
  async open(request: DirectRangeRequest): Promise<DirectRange | undefined> {
    const key = `${request.organizationId}.${request.generation} ${request.digest}`
    const open = this.#open.get(key) ?? 0
    if (open >= INGEST_LIMITS.directRangesMax) return undefined
    this.#open.set(key, open + 1)
    const release = () => this.#release(key)
    try {
      return new DirectRange(await openRange(request), request, release)
    } catch (error) {
      release()
      const { organizationId, digest } = request
      this.#onEvent('direct_range_failed', { organizationId, digest, error })
      return undefined
    }
  }

  #release(key: string): void {
    const open = (this.#open.get(key) ?? 1) - 1
    if (open === 0) this.#open.delete(key)
    else this.#open.set(key, open)
  }
}

async function openRange(request: DirectRangeRequest): Promise<UpstreamBlob> {
  const { upstream, name, digest, range, sizeBytes } = request
  const blob = await upstream.openBlob(name, digest, { range, priority: 'client' })
  blob.body.on('error', () => {}) // `pipe` meets it, if there is one.
  const length = range.end - range.start + 1
  const isRight = blob.start === range.start && (blob.size ?? sizeBytes) === sizeBytes
  if (isRight && (blob.length ?? length) === length) return blob
  blob.body.destroy()
  throw new UpstreamError('protocol', upstream.host, `${upstream.host} does not give the range that was asked for`)
}

export class DirectRange {
  readonly #blob: UpstreamBlob
  readonly #request: DirectRangeRequest
  readonly #onClosed: () => void
  #isClosed = false

  constructor(blob: UpstreamBlob, request: DirectRangeRequest, onClosed: () => void) {
    this.#blob = blob
    this.#request = request
    this.#onClosed = onClosed
  }

  /** As `ServedBlob.pipe`. */
  async pipe(sink: BlobSink): Promise<void> {
    const { range, upstream } = this.#request
    let left = range.end - range.start + 1
    try {
      for await (const chunk of this.#blob.body as AsyncIterable<Uint8Array>) {
        const wanted = chunk.byteLength > left ? chunk.subarray(0, left) : chunk
        left -= wanted.byteLength
        if (wanted.byteLength === 0 || !(await sink.write(wanted))) return
      }
    } finally {
      this.close()
    }
    if (left > 0) throw new UpstreamError('protocol', upstream.host, `${upstream.host} sent less than the range`)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#blob.body.destroy()
    this.#onClosed()
  }
}
