/** Manifests of an upstream: HEAD and GET, and never bytes that do not match their digest. */
import type { Descriptor } from '../oci/descriptor.ts'
import { type Digest, digestAlgorithm, digestOf, parseDigest } from '../oci/digest.ts'
import { isNotAManifest, parseManifest } from '../oci/manifest.ts'
import { bareMediaType, UPSTREAM_ACCEPT } from '../oci/media-type.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import type { Manifest, RequestOptions } from '../oci/registry.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { type AnswerHeaders, isIdentity, oneHeader, parseLength, readDocument } from './bounded-body.ts'
import { protocolError } from './errors.ts'
import type { Session, SessionRequest } from './session.ts'

export class ManifestRequests {
  readonly #session: Session

  constructor(session: Session) {
    this.#session = session
  }

  /**
   * HEAD; a GET where that does not tell digest and size (some registries leave them out, or refuse HEAD). The GET's
   * manifest is kept for a short time, so that asking for it next costs nothing.
   */
  async resolve(name: RepositoryName, reference: Reference, options?: RequestOptions): Promise<Descriptor> {
    const answer = await this.#session.ask(this.#request('HEAD', name, reference, [200, 400, 405]), options)
    this.#session.transport.discard(answer)
    const described = answer.status === 200 ? this.#describe(answer.headers, reference) : undefined
    if (described !== undefined) return described
    const manifest = await this.#fetch(name, reference, options)
    const { keptManifests } = this.#session.account
    const untilMs = this.#session.clock() + this.#session.limits.keptManifestMs
    for (const key of keys(name, reference, manifest.descriptor.digest)) keptManifests.set(key, manifest, untilMs)
    return manifest.descriptor
  }

  async get(name: RepositoryName, reference: Reference, options?: RequestOptions): Promise<Manifest> {
    const { keptManifests } = this.#session.account
    const kept = keptManifests.find(keyOf(name, reference), this.#session.clock())
    if (kept === undefined) return this.#fetch(name, reference, options)
    for (const key of keys(name, reference, kept.descriptor.digest)) keptManifests.delete(key)
    return kept
  }

  async #fetch(name: RepositoryName, reference: Reference, options?: RequestOptions): Promise<Manifest> {
    const { limits } = this.#session
    const answer = await this.#session.ask(this.#request('GET', name, reference, [200]), options)
    const bytes = await readDocument(answer, { bytesMax: limits.manifestBytesMax, ms: limits.documentMs })
    const digest = this.#verify(bytes, answer.headers, reference)
    const mediaType = bareMediaType(oneHeader(answer.headers['content-type']) ?? '')
    const parsed = parseManifest(bytes, mediaType)
    // Docker's schema 1 is one, although we do not keep it: the caller says so.
    if (isNotAManifest(parsed) && parsed.problem === 'invalid') {
      throw protocolError(this.#session.host, `sent something that is no manifest (${parsed.message})`)
    }
    return { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes }
  }

  /** The digest of the bytes, which must be the one that was asked for, or else the one that the header names. */
  #verify(bytes: Buffer, headers: AnswerHeaders, reference: Reference): Digest {
    const wanted = reference.kind === 'digest' ? reference.digest : parseDigestHeader(headers)
    if (wanted === undefined) return digestOf(bytes)
    const digest = digestOf(bytes, digestAlgorithm(wanted))
    if (digest !== wanted) {
      throw protocolError(this.#session.host, 'sent a manifest whose bytes do not match its digest')
    }
    return digest
  }

  /** What a HEAD tells; undefined when something is missing. */
  #describe(headers: AnswerHeaders, reference: Reference): Descriptor | undefined {
    const { host, limits } = this.#session
    const named = parseDigestHeader(headers)
    const digest = reference.kind === 'digest' ? reference.digest : named
    const size = isIdentity(headers) ? parseLength(headers['content-length']) : undefined
    if (digest === undefined || size === undefined || size === 0) return undefined
    const isOther = named !== undefined && named !== digest && digestAlgorithm(named) === digestAlgorithm(digest)
    if (isOther) throw protocolError(host, 'named another digest than it was asked for')
    if (size > limits.manifestBytesMax) {
      throw protocolError(host, `has a manifest of more than ${limits.manifestBytesMax} bytes`)
    }
    return { mediaType: bareMediaType(oneHeader(headers['content-type']) ?? ''), digest, size }
  }

  #request(
    method: 'GET' | 'HEAD',
    name: RepositoryName,
    reference: Reference,
    expected: readonly number[],
  ): SessionRequest {
    return {
      method,
      path: `/v2/${name}/manifests/${formatReference(reference)}`,
      kind: 'manifest',
      headers: { accept: UPSTREAM_ACCEPT },
      scope: `repository:${name}:pull`,
      headersMs: this.#session.limits.headersMs,
      limiter: 'manifest',
      expected,
    }
  }
}

/** `Docker-Content-Digest`; one that is malformed or not alone is as good as none. */
function parseDigestHeader(headers: AnswerHeaders): Digest | undefined {
  const header = headers['docker-content-digest']
  return typeof header === 'string' ? parseDigest(header.trim()) : undefined
}

function keyOf(name: RepositoryName, reference: Reference): string {
  return `${name} ${formatReference(reference)}`
}

function keys(name: RepositoryName, reference: Reference, digest: Digest): string[] {
  return [keyOf(name, reference), keyOf(name, { kind: 'digest', digest })]
}
