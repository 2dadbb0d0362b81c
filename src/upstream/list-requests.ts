/** Lists of an upstream, page after page: tags, and the referrers of a digest. */
import { UpstreamError } from '../errors.ts'
import { type Digest, digestAlgorithm, digestHex, parseDigest } from '../oci/digest.ts'
import { bareMediaType, OCI_INDEX } from '../oci/media-type.ts'
import { parseTag, type Tag } from '../oci/reference.ts'
import type { Referrer, RequestOptions } from '../oci/registry.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { oneHeader, readDocument } from './bounded-body.ts'
import { protocolError } from './errors.ts'
import { tagsMax } from './limits.ts'
import type { ManifestRequests } from './manifest-requests.ts'
import type { Session } from './session.ts'
import { parseJson } from './token-issuer.ts'
import type { Answer } from './transport.ts'

type JsonObject = Record<string, unknown>
type ListRequest = { name: RepositoryName; path: string; kind: 'tags' | 'referrers'; accept: string; bytesMax: number }

/** How registries without the referrers API answer it. */
const NO_REFERRERS_API: readonly number[] = [400, 404, 405, 406, 501]
/** Which of these are about the repository, not about one digest. */
const NO_REFERRERS_API_AT_ALL: readonly number[] = [404, 405, 501]
/** What registries that have it say of a repository or subject that they do not know, although the spec forbids it. */
const UNKNOWN_CODES: ReadonlySet<unknown> = new Set(['NAME_UNKNOWN', 'MANIFEST_UNKNOWN'])

export class ListRequests {
  readonly #session: Session
  readonly #manifests: ManifestRequests

  constructor(session: Session, manifests: ManifestRequests) {
    this.#session = session
    this.#manifests = manifests
  }

  /** Sorted by code unit, without what is no tag; cut short at `tagsMax`. Source: distribution-spec end-8. */
  async tags(name: RepositoryName, options?: RequestOptions): Promise<Tag[]> {
    const { limits } = this.#session
    const path = `/v2/${name}/tags/list?n=${limits.tagsPerPage}`
    const request = { name, path, kind: 'tags', accept: 'application/json', bytesMax: limits.tagsPageBytesMax } as const
    const tags = new Set<Tag>()
    for await (const page of this.#pages(request, [200], options)) {
      const bytes = await readDocument(page, { bytesMax: request.bytesMax, ms: limits.documentMs })
      const document = parseList(bytes, page, request)
      const list = document['tags'] ?? [] // An empty repository has `null`.
      if (!Array.isArray(list)) throw protocolError(page.host, 'answered a question for tags with something else')
      for (const entry of list) {
        const tag = typeof entry === 'string' ? parseTag(entry) : undefined
        if (tag !== undefined) tags.add(tag)
        if (tags.size >= tagsMax) return [...tags].sort()
      }
    }
    return [...tags].sort()
  }

  /**
   * The manifests whose subject is `digest`: from the referrers API, or else from the referrers tag. That there is no
   * API is remembered for a while.
   * Errors: also `protocol` when there are more than `referrersMax`, or more bytes than `referrersBytesMax`: signatures
   * must not vanish silently.
   * Source: distribution-spec end-12 and "Referrers Tag Schema".
   */
  async referrers(name: RepositoryName, digest: Digest, options?: RequestOptions): Promise<Referrer[]> {
    const { limits, account, clock } = this.#session
    if (account.noReferrersApi.find(name, clock())) return this.#referrersOfTag(name, digest, options)
    const path = `/v2/${name}/referrers/${digest}`
    const request = { name, path, kind: 'referrers', accept: OCI_INDEX, bytesMax: limits.manifestBytesMax } as const
    const referrers: Referrer[] = []
    let bytesLeft: number = limits.referrersBytesMax
    for await (const page of this.#pages(request, [200, ...NO_REFERRERS_API], options)) {
      if (page.status !== 200 || isHtml(page)) {
        if (await this.#saysNoReferrersApi(page)) {
          account.noReferrersApi.set(name, true, clock() + limits.noReferrersApiMs)
        }
        if (referrers.length > 0) throw protocolError(page.host, 'broke off a list of referrers')
        return this.#referrersOfTag(name, digest, options)
      }
      const bytes = await readDocument(page, { bytesMax: request.bytesMax, ms: limits.documentMs })
      bytesLeft -= bytes.byteLength
      if (bytesLeft < 0)
        throw protocolError(page.host, `lists referrers in more than ${limits.referrersBytesMax} bytes`)
      this.#addReferrers(referrers, parseList(bytes, page, request))
    }
    return referrers
  }

  /** Whether an answer means that this repository has no referrers API at all. Ends its body. */
  async #saysNoReferrersApi(page: Answer): Promise<boolean> {
    if (!NO_REFERRERS_API_AT_ALL.includes(page.status) || !page.isHome) {
      this.#session.transport.discard(page)
      return false
    }
    const { unwantedBytesMax: bytesMax, documentMs: ms } = this.#session.limits
    try {
      const errors = parseJson(await readDocument(page, { bytesMax, ms }))?.['errors']
      return !(Array.isArray(errors) && errors.some((error) => UNKNOWN_CODES.has(error?.code)))
    } catch {
      return false // What it says could not be read: the next question asks again.
    }
  }

  async #referrersOfTag(name: RepositoryName, digest: Digest, options?: RequestOptions): Promise<Referrer[]> {
    const tag = parseTag(`${digestAlgorithm(digest).slice(0, 32)}-${digestHex(digest).slice(0, 64)}`)
    if (tag === undefined) throw new TypeError('a digest has no referrers tag')
    try {
      const { bytes } = await this.#manifests.get(name, { kind: 'tag', tag }, options)
      const referrers: Referrer[] = []
      this.#addReferrers(referrers, parseJson(bytes) ?? {})
      return referrers
    } catch (error) {
      if (error instanceof UpstreamError && error.failure === 'not_found') return []
      throw error
    }
  }

  #addReferrers(referrers: Referrer[], document: JsonObject): void {
    const { manifests } = document
    if (!Array.isArray(manifests)) return
    for (const entry of manifests) {
      const referrer = parseReferrer(entry)
      if (referrer !== undefined) referrers.push(referrer)
    }
    const { host, limits } = this.#session
    if (referrers.length > limits.referrersMax) throw protocolError(host, 'lists too many referrers')
  }

  /** Each page, to be read before the next is asked for. */
  async *#pages(request: ListRequest, expected: readonly number[], options?: RequestOptions): AsyncGenerator<Answer> {
    const { limits } = this.#session
    let path: string | undefined = request.path
    for (let page = 0; page < limits.pagesMax && path !== undefined; page += 1) {
      const answer: Answer = await this.#session.ask(
        {
          method: 'GET',
          path,
          kind: request.kind,
          headers: { accept: request.accept },
          scope: `repository:${request.name}:pull`,
          headersMs: limits.headersMs,
          limiter: 'manifest',
          expected,
        },
        options,
      )
      yield answer
      path = this.#nextPath(answer)
    }
    if (path !== undefined && request.kind === 'referrers') {
      throw protocolError(this.#session.host, 'lists referrers on too many pages')
    }
  }

  /** `Link: <…>; rel="next"`, on the upstream's own origin: the token goes with it. RFC 8288. */
  #nextPath(answer: Answer): string | undefined {
    const link = oneHeader(answer.headers['link']) ?? ''
    const target = /<([^<>]*)>[^<]*;\s*rel\s*=\s*"?next\b/i.exec(link)?.[1]
    if (target === undefined) return undefined
    const home = this.#session.account.endpoint.url
    const url = URL.canParse(target, answer.url) ? new URL(target, answer.url) : undefined
    if (url === undefined || url.origin !== home.origin || answer.url.origin !== home.origin) {
      throw protocolError(answer.host, 'continues its list on another host, which is refused')
    }
    return `${url.pathname}${url.search}`
  }
}

function parseList(bytes: Buffer, { host }: Answer, { kind }: ListRequest): JsonObject {
  const document = parseJson(bytes)
  if (document === undefined) throw protocolError(host, `answered a question for ${kind} without JSON`)
  return document
}

function isHtml({ headers }: Answer): boolean {
  return bareMediaType(oneHeader(headers['content-type']) ?? '') === 'text/html'
}

function parseReferrer(entry: unknown): Referrer | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined
  const { mediaType, digest, size, artifactType, annotations } = entry as JsonObject
  const parsed = typeof digest === 'string' ? parseDigest(digest) : undefined
  if (parsed === undefined || typeof mediaType !== 'string') return undefined
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined
  const texts = parseAnnotations(annotations)
  return {
    mediaType,
    digest: parsed,
    size,
    ...(typeof artifactType === 'string' ? { artifactType } : {}),
    ...(texts === undefined ? {} : { annotations: texts }),
  }
}

function parseAnnotations(value: unknown): Record<string, string> | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}
