/** An upstream inside the process whose blobs arrive as a test scripts them; it remembers what it was asked. */
import { Readable } from 'node:stream'
import { UpstreamError } from '../../src/errors.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import type { BlobDescriptor, ByteRange, RequestOptions, Upstream, UpstreamBlob } from '../../src/oci/registry.ts'

/** How one request for a blob is answered; without it, honestly. */
export type BlobAnswer = {
  error?: Error
  /** Nothing is answered before. */
  before?: Promise<void>
  /** Sent instead of the blob. */
  bytes?: Buffer
  /** The connection breaks before the byte at this position of the blob. */
  cutAt?: number
  /** The body ends, as if it were whole, before the byte at this position. */
  endAt?: number
  ignoreRange?: boolean
  /** Where the answer says that it begins. */
  start?: number
  /** What it says of size and length; undefined: nothing. */
  says?: number | undefined
  /** Bytes after this position come when the promise resolves. */
  hold?: { at: number; until: Promise<void> }
  chunkBytes?: number
}

export class BlobUpstream implements Upstream {
  readonly host: string
  isVerified = true
  /** `name@digest` to bytes. */
  readonly blobs = new Map<string, Buffer>()
  /** `GET name digest-prefix from-to`. */
  readonly transcript: string[] = []
  readonly priorities: string[] = []
  /** GETs that became a client's after they were asked. */
  promotions = 0
  /** Used up one by one, by GETs. */
  readonly answers: BlobAnswer[] = []
  /** For every GET that no answer is left for. */
  always: BlobAnswer = {}
  headError: Error | undefined
  headSize: number | undefined
  /** Bytes that bodies have given. */
  sentBytes = 0

  constructor(host = 'upstream.example') {
    this.host = host
  }

  put(name: string, bytes: Buffer, algorithm: 'sha256' | 'sha512' = 'sha256'): Digest {
    const digest = digestOf(bytes, algorithm)
    this.blobs.set(`${name}@${digest}`, bytes)
    return digest
  }

  failure(failure: UpstreamError['failure'], retryAfterMs?: number): UpstreamError {
    return new UpstreamError(failure, this.host, failure, retryAfterMs === undefined ? {} : { retryAfterMs })
  }

  async resolveBlob(name: string, digest: Digest): Promise<BlobDescriptor> {
    this.transcript.push(`HEAD ${name} ${digest.slice(0, 12)}`)
    if (this.headError !== undefined) throw this.headError
    return { digest, size: this.headSize ?? this.#find(name, digest).byteLength }
  }

  async openBlob(
    name: string,
    digest: Digest,
    options: RequestOptions & { range?: ByteRange } = {},
  ): Promise<UpstreamBlob> {
    const { range } = options
    const asked = range === undefined ? '' : ` ${range.start}-${range.end ?? ''}`
    this.transcript.push(`GET ${name} ${digest.slice(0, 12)}${asked}`)
    this.priorities.push(options.promoted?.aborted === true ? 'client' : (options.priority ?? 'client'))
    options.promoted?.addEventListener('abort', () => {
      this.promotions += 1
    })
    const answer = this.answers.shift() ?? this.always
    await answer.before
    if (answer.error !== undefined) throw answer.error
    const bytes = answer.bytes ?? this.#find(name, digest)
    const start = answer.ignoreRange === true ? 0 : (range?.start ?? 0)
    const end =
      answer.ignoreRange === true ? bytes.byteLength : Math.min(bytes.byteLength, (range?.end ?? Infinity) + 1)
    const size = 'says' in answer ? answer.says : bytes.byteLength
    return {
      start: answer.start ?? start,
      size,
      length: size === undefined ? undefined : size - start - (bytes.byteLength - end),
      body: Readable.from(this.#send(bytes.subarray(0, end), start, answer), { objectMode: false }),
    }
  }

  async *#send(bytes: Buffer, start: number, answer: BlobAnswer): AsyncGenerator<Buffer> {
    const stops = [answer.hold?.at, answer.cutAt, answer.endAt].filter((stop) => stop !== undefined)
    for (let position = start; ; ) {
      if (position === answer.hold?.at) await answer.hold.until
      if (answer.cutAt !== undefined && position >= answer.cutAt) throw this.failure('unreachable')
      if (position >= Math.min(bytes.byteLength, answer.endAt ?? Infinity)) return
      const next = Math.min(position + (answer.chunkBytes ?? 65_536), ...stops.filter((stop) => stop > position))
      const chunk = bytes.subarray(position, next)
      this.sentBytes += chunk.byteLength
      yield chunk
      position += chunk.byteLength
    }
  }

  #find(name: string, digest: Digest): Buffer {
    const bytes = this.blobs.get(`${name}@${digest}`)
    if (bytes === undefined) throw this.failure('not_found')
    return bytes
  }

  resolveManifest(): never {
    throw this.failure('not_found')
  }

  getManifest(): never {
    throw this.failure('not_found')
  }

  listTags(): never {
    throw this.failure('not_found')
  }

  listReferrers(): never {
    throw this.failure('not_found')
  }

  state(): never {
    throw new Error('not scripted')
  }
}
