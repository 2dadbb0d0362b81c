/** A registry inside the process: several namespaces with the same content, whose tags each move on their own. */
import { Readable } from 'node:stream'
import { UpstreamError } from '../../../src/errors.ts'
import type { Descriptor } from '../../../src/oci/descriptor.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import { formatReference, type Reference, type Tag } from '../../../src/oci/reference.ts'
import type { BlobDescriptor, ByteRange, Manifest, Upstream, UpstreamBlob } from '../../../src/oci/registry.ts'
import type { Content, ModelImage } from './content.ts'
import type { Turns } from './turns.ts'

export type UpstreamMode = 'up' | 'failing' | 'down'

export class ModelUpstream implements Upstream {
  readonly host = 'registry.example'
  readonly isVerified = true
  mode: UpstreamMode = 'up'
  /** `repository:tag`, the repository with its namespace. */
  readonly tags = new Map<string, ModelImage>()
  /** While set, bodies of blobs end half-way and wait. */
  held: Promise<void> | undefined
  readonly #content: Content
  readonly #turns: Turns

  constructor(content: Content, turns: Turns) {
    this.#content = content
    this.#turns = turns
  }

  async resolveManifest(name: string, reference: Reference): Promise<Descriptor> {
    return (await this.getManifest(name, reference)).descriptor
  }

  async getManifest(name: string, reference: Reference): Promise<Manifest> {
    await this.#answer()
    const image =
      reference.kind === 'tag'
        ? this.tags.get(`${name}:${reference.tag}`)
        : this.#content.byDigest.get(reference.digest)
    if (image === undefined) throw this.#error('not_found', formatReference(reference))
    return image.manifest
  }

  async resolveBlob(_name: string, digest: Digest): Promise<BlobDescriptor> {
    await this.#answer()
    return { digest, size: this.#bytes(digest).byteLength }
  }

  async openBlob(_name: string, digest: Digest, options: { range?: ByteRange } = {}): Promise<UpstreamBlob> {
    await this.#answer()
    const bytes = this.#bytes(digest)
    const start = options.range?.start ?? 0
    const body = Readable.from(this.#send(bytes.subarray(start)), { objectMode: false })
    return { start, size: bytes.byteLength, length: bytes.byteLength - start, body }
  }

  listTags(): Promise<Tag[]> {
    return Promise.reject(this.#error('not_found', 'no list'))
  }

  listReferrers(): Promise<never> {
    return Promise.reject(this.#error('not_found', 'no list'))
  }

  state() {
    return {
      availability: this.mode === 'down' ? ('down' as const) : ('up' as const),
      sinceMs: 0,
      lastError: undefined,
      rateLimitedUntilMs: undefined,
      rateLimit: undefined,
      credentialsRefusedSinceMs: undefined,
    }
  }

  async *#send(bytes: Buffer): AsyncGenerator<Buffer> {
    const half = Math.floor(bytes.byteLength / 2)
    yield bytes.subarray(0, half)
    await this.held
    await this.#turns.pass()
    if (this.mode !== 'up') throw this.#error('unreachable', 'broke off')
    yield bytes.subarray(half)
  }

  async #answer(): Promise<void> {
    await this.#turns.pass()
    if (this.mode !== 'up') throw this.#error('unreachable', 'does not answer')
  }

  #bytes(digest: Digest): Buffer {
    const bytes = this.#content.blobs.get(digest)
    if (bytes === undefined) throw this.#error('not_found', digest)
    return bytes
  }

  #error(failure: UpstreamError['failure'], message: string): UpstreamError {
    return new UpstreamError(failure, this.host, `${this.host}: ${message}`)
  }
}
