/** Blobs of an upstream, as streams: nothing is kept, and nothing verified here. */
import type { Digest } from '../oci/digest.ts'
import type { BlobDescriptor, ByteRange, RequestOptions, UpstreamBlob } from '../oci/registry.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { type AnswerHeaders, isIdentity, oneHeader, parseLength } from './bounded-body.ts'
import { protocolError } from './errors.ts'
import type { Session } from './session.ts'
import type { Answer } from './transport.ts'

type ContentRange = { start: number; end: number; size: number | undefined }

export class BlobRequests {
  readonly #session: Session

  constructor(session: Session) {
    this.#session = session
  }

  /** HEAD; a GET whose body is not read where that does not tell the size. */
  async resolve(name: RepositoryName, digest: Digest, options?: RequestOptions): Promise<BlobDescriptor> {
    const head = await this.#ask('HEAD', name, digest, { expected: [200, 400, 405] }, options)
    this.#session.transport.discard(head)
    const size =
      head.status === 200 && isIdentity(head.headers) ? parseLength(head.headers['content-length']) : undefined
    if (size !== undefined) return { digest, size }
    const { body, size: sizeOfGet } = await this.open(name, digest, options)
    body.destroy()
    if (sizeOfGet === undefined) throw protocolError(this.#session.host, 'does not say how long a blob is')
    return { digest, size: sizeOfGet }
  }

  async open(
    name: RepositoryName,
    digest: Digest,
    options: RequestOptions & { range?: ByteRange } = {},
  ): Promise<UpstreamBlob> {
    const { range } = options
    const bytes = range && `bytes=${range.start}-${range.end ?? ''}`
    const headers: Record<string, string> = bytes === undefined ? {} : { range: bytes }
    const answer = await this.#ask('GET', name, digest, { expected: [200, 206], headers }, options)
    try {
      if (!isIdentity(answer.headers)) throw protocolError(answer.host, 'sent a blob in an encoding of its own')
      return answer.status === 206 ? partOf(answer, range) : wholeOf(answer)
    } catch (error) {
      answer.body.destroy()
      throw error
    }
  }

  #ask(
    method: 'GET' | 'HEAD',
    name: RepositoryName,
    digest: Digest,
    { expected, headers = {} }: { expected: readonly number[]; headers?: Record<string, string> },
    options?: RequestOptions,
  ): Promise<Answer> {
    const { limits } = this.#session
    const request = {
      method,
      path: `/v2/${name}/blobs/${digest}`,
      kind: 'blob',
      headers,
      scope: `repository:${name}:pull`,
      headersMs: limits.blobHeadersMs,
      // A HEAD is over at once: it must not wait behind long downloads.
      limiter: method === 'GET' ? 'blob' : 'manifest',
      expected,
    } as const
    return this.#session.ask(request, options)
  }
}

function wholeOf({ headers, body }: Answer): UpstreamBlob {
  const size = parseLength(headers['content-length'])
  return { start: 0, size, length: size, body }
}

/** A 206 must continue exactly where it was asked to, or bytes would land in the wrong place. RFC 9110, 15.3.7. */
function partOf({ headers, body, host }: Answer, range: ByteRange | undefined): UpstreamBlob {
  const content = parseContentRange(headers)
  if (range === undefined || content === undefined || content.start !== range.start) {
    throw protocolError(host, 'sent another part of a blob than it was asked for')
  }
  const length = content.end - content.start + 1
  const announced = parseLength(headers['content-length'])
  const isTooLong = range.end !== undefined && content.end > range.end
  if (isTooLong || (announced !== undefined && announced !== length)) {
    throw protocolError(host, 'sent another part of a blob than it was asked for')
  }
  return { start: content.start, size: content.size, length, body }
}

function parseContentRange(headers: AnswerHeaders): ContentRange | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(?:(\d{1,15})|\*)$/i.exec(
    oneHeader(headers['content-range'])?.trim() ?? '',
  )
  if (match === null) return undefined
  const [start, end] = [Number(match[1]), Number(match[2])]
  const size = match[3] === undefined ? undefined : Number(match[3])
  if (end < start || (size !== undefined && end >= size)) return undefined
  return { start, end, size }
}
