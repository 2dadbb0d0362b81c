/**
 * An upstream inside the process, for tests of decisions: it answers what it is told and remembers what it was asked.
 */
import { Readable } from 'node:stream'
import { UpstreamError, type UpstreamFailure } from '../../src/errors.ts'
import type { Descriptor } from '../../src/oci/descriptor.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { formatReference, parseTag, type Reference, type Tag } from '../../src/oci/reference.ts'
import type {
  BlobDescriptor,
  Manifest,
  Referrer,
  Upstream,
  UpstreamAvailability,
  UpstreamBlob,
} from '../../src/oci/registry.ts'

export function makeManifest(text: string, mediaType = 'application/vnd.oci.image.manifest.v1+json'): Manifest {
  const bytes = Buffer.from(text)
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.byteLength }, bytes }
}

/** An image without layers, told from others by `name`. */
export function emptyImage(name: string): Manifest {
  return makeManifest(JSON.stringify({ schemaVersion: 2, layers: [], annotations: { name } }))
}

export function indexOf(...children: Manifest[]): Manifest {
  const manifests = children.map((child) => child.descriptor)
  return makeManifest(JSON.stringify({ schemaVersion: 2, manifests }), 'application/vnd.oci.image.index.v1+json')
}

export class ScriptedUpstream implements Upstream {
  readonly host = 'upstream.example'
  isVerified = true
  availability: UpstreamAvailability = 'up'
  /** `name:tag` or `name@digest` to what it names. */
  readonly manifests = new Map<string, Manifest>()
  readonly referrers = new Map<string, Referrer[]>()
  readonly transcript: string[] = []
  /** When set, every request of this method fails so; `all` is any. */
  readonly failures = new Map<'HEAD' | 'GET' | 'all', UpstreamFailure>()
  /** When set, every request waits for it. */
  gate: Promise<void> | undefined

  put(name: string, tag: string, manifest: Manifest): void {
    this.manifests.set(`${name}:${tag}`, manifest)
    this.manifests.set(`${name}@${manifest.descriptor.digest}`, manifest)
  }

  async resolveManifest(name: string, reference: Reference): Promise<Descriptor> {
    return (await this.#answer('HEAD', name, reference)).descriptor
  }

  getManifest(name: string, reference: Reference): Promise<Manifest> {
    return this.#answer('GET', name, reference)
  }

  async resolveBlob(_name: string, digest: Digest): Promise<BlobDescriptor> {
    throw new UpstreamError('not_found', this.host, `no blob ${digest}`)
  }

  async openBlob(): Promise<UpstreamBlob> {
    return { start: 0, size: 0, length: 0, body: Readable.from([]) }
  }

  async listTags(name: string): Promise<Tag[]> {
    await this.#begin('GET', `${name}/tags/list`)
    const prefix = `${name}:`
    const found = [...this.manifests.keys()].filter((key) => key.startsWith(prefix))
    if (found.length === 0) throw new UpstreamError('not_found', this.host, `no repository ${name}`)
    return found.map((key) => parseTag(key.slice(prefix.length))).filter((tag) => tag !== undefined)
  }

  async listReferrers(name: string, digest: Digest): Promise<Referrer[]> {
    await this.#begin('GET', `${name}/referrers/${digest}`)
    return this.referrers.get(digest) ?? []
  }

  state() {
    return {
      availability: this.availability,
      sinceMs: 0,
      lastError: undefined,
      rateLimitedUntilMs: undefined,
      rateLimit: undefined,
      credentialsRefusedSinceMs: undefined,
    }
  }

  async #answer(method: 'HEAD' | 'GET', name: string, reference: Reference): Promise<Manifest> {
    await this.#begin(method, `${name} ${formatReference(reference)}`)
    const key = `${name}${reference.kind === 'tag' ? ':' : '@'}${formatReference(reference)}`
    const manifest = this.manifests.get(key)
    if (manifest === undefined) throw new UpstreamError('not_found', this.host, `no ${key}`)
    return manifest
  }

  async #begin(method: 'HEAD' | 'GET', what: string): Promise<void> {
    this.transcript.push(`${method} ${what}`)
    await this.gate
    const failure = this.failures.get(method) ?? this.failures.get('all')
    if (failure !== undefined) throw new UpstreamError(failure, this.host, `told to fail: ${failure}`)
  }
}
