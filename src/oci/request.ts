/**
 * A request of `/v2` as a value: `(method, url)` to `RegistryRequest` and back. Source: distribution-spec, "Endpoints".
 */
import { KiB } from '../base/units.ts'
import { RegistryError } from '../errors.ts'
import { type Digest, parseDigest } from './digest.ts'
import { formatReference, parseReference, type Reference } from './reference.ts'
import { parseRepositoryName, repositoryNameCharactersMax } from './repository-name.ts'

export const REQUEST_LIMITS = {
  /** Two names of 255, a sha512 digest and a query fit several times over. */
  urlCharactersMax: 8 * KiB,
  /** Entries of one page of tags or repositories. */
  pageEntriesMax: 10_000,
  /** As `parseManifest` keeps it. */
  artifactTypeCharactersMax: 255,
} as const

/** What every request about a repository has. */
type AboutRepository = {
  /** In the spec's grammar; an organization may stand in front of the 255 characters, so it can be longer. */
  name: string
  /** The host in `?ns=` (the spec's "Registry Proxying"), unchecked. */
  ns: string | undefined
}
type Page = {
  n: number | undefined
  /** The last entry of the page before; unchecked, only compared. */
  last: string | undefined
}

export type RegistryRequest =
  /** end-1 */
  | { kind: 'ping'; ns: string | undefined }
  /** end-2 */
  | (AboutRepository & { kind: 'getBlob' | 'headBlob'; digest: Digest })
  /** end-3 */
  | (AboutRepository & { kind: 'getManifest' | 'headManifest'; reference: Reference })
  /** end-4 to end-7, end-9 to end-11 */
  | { kind: 'push'; name: string; method: PushMethod; target: string }
  /** end-8 */
  | (AboutRepository & Page & { kind: 'listTags' })
  /** end-12 */
  | (AboutRepository & { kind: 'listReferrers'; digest: Digest; artifactType: string | undefined })
  /** distribution's `/v2/_catalog` */
  | (Page & { kind: 'catalog' })

export type PushMethod = 'POST' | 'PUT' | 'PATCH' | 'DELETE'
type Method = 'GET' | 'HEAD' | PushMethod

const METHODS: Readonly<Record<Method, 'read' | 'write'>> = {
  GET: 'read',
  HEAD: 'read',
  POST: 'write',
  PUT: 'write',
  PATCH: 'write',
  DELETE: 'write',
}

/** `/v2/<rest>`, or `/<org>/v2/<rest>` which equals `/v2/<org>/<rest>`. */
const PATH = /^\/(?:v2|([^/]+)\/v2)(?:\/(.*))?$/s

/**
 * Method and URL (`/path?query`, as on the request line) to request. HEAD of a list is read as GET.
 * Errors: NAME_INVALID, DIGEST_INVALID, REFERENCE_INVALID, PAGE_INVALID, REQUEST_INVALID, REQUEST_TOO_LARGE,
 * METHOD_NOT_ALLOWED; NAME_UNKNOWN for a path that is none of the spec's.
 */
export function parseRequest(method: string, url: string): RegistryRequest {
  if (url.length > REQUEST_LIMITS.urlCharactersMax) {
    throw new RegistryError('REQUEST_TOO_LARGE', { message: `more than ${REQUEST_LIMITS.urlCharactersMax} characters` })
  }
  const mark = url.indexOf('?')
  const path = decodePath(mark === -1 ? url : url.slice(0, mark))
  const query = new URLSearchParams(mark === -1 ? '' : url.slice(mark + 1))
  const match = PATH.exec(path)
  if (match === null) throw unknownPath()
  const [, organization, rest = ''] = match
  if (!isMethod(method)) throw new RegistryError('METHOD_NOT_ALLOWED')
  if (rest === '' || (organization === undefined && rest === '_catalog')) {
    return parseNameless(method, rest, query)
  }
  return parseAboutRepository(method, organization === undefined ? rest : `${organization}/${rest}`, query)
}

/** Inverse of `parseRequest`. */
export function formatRequest(request: RegistryRequest): { method: string; url: string } {
  switch (request.kind) {
    case 'ping':
      return { method: 'GET', url: `/v2/${formatQuery({ ns: request.ns })}` }
    case 'catalog':
      return { method: 'GET', url: `/v2/_catalog${formatQuery({ n: request.n, last: request.last })}` }
    case 'push':
      return { method: request.method, url: `/v2/${request.name}/${request.target}` }
    case 'getBlob':
    case 'headBlob':
      return formatAbout(request, `blobs/${request.digest}`, {})
    case 'getManifest':
    case 'headManifest':
      return formatAbout(request, `manifests/${formatReference(request.reference)}`, {})
    case 'listTags':
      return formatAbout(request, 'tags/list', { n: request.n, last: request.last })
    case 'listReferrers':
      return formatAbout(request, `referrers/${request.digest}`, { artifactType: request.artifactType })
    default:
      throw new Error(`unhandled request: ${request satisfies never}`)
  }
}

function decodePath(path: string): string {
  if (!path.includes('%')) return path
  // A slash that was hidden from whoever stands in front of us must not become one here.
  if (/%2f/i.test(path))
    throw new RegistryError('NAME_INVALID', { message: 'encoded slashes are not allowed in names' })
  try {
    return decodeURIComponent(path)
  } catch (error) {
    throw new RegistryError('REQUEST_INVALID', { message: 'malformed percent-encoding in the path', cause: error })
  }
}

function isMethod(method: string): method is Method {
  return Object.hasOwn(METHODS, method)
}

function parseNameless(method: Method, rest: string, query: URLSearchParams): RegistryRequest {
  if (METHODS[method] === 'write') throw new RegistryError('METHOD_NOT_ALLOWED')
  return rest === '' ? { kind: 'ping', ns: query.get('ns') ?? undefined } : { kind: 'catalog', ...parsePage(query) }
}

/** From the right-hand end, since names contain slashes. */
function parseAboutRepository(method: Method, path: string, query: URLSearchParams): RegistryRequest {
  const slash = path.lastIndexOf('/')
  const before = path.slice(0, Math.max(0, slash))
  const last = path.slice(slash + 1)
  const upload = /^(.*)\/blobs\/uploads(\/[^/]*)?$/s.exec(path)
  if (upload !== null) return parseUpload(method, parseName(upload[1] ?? ''), path)
  const ns = query.get('ns') ?? undefined
  const noun = before.slice(before.lastIndexOf('/') + 1)
  const name = () => parseName(before.slice(0, Math.max(0, before.length - noun.length - 1)))
  if (noun === 'tags' && last === 'list') return parseTagsRequest(method, name(), ns, query)
  if (noun === 'manifests') return parseManifestRequest(method, name(), last, ns)
  if (noun === 'blobs') return parseBlobRequest(method, name(), last, ns)
  if (noun === 'referrers') return parseReferrersRequest(method, name(), last, ns, query)
  throw unknownPath()
}

function parseManifestRequest(method: Method, name: string, last: string, ns: string | undefined): RegistryRequest {
  const reference = parseReference(last)
  if (reference === undefined) throw new RegistryError(last.includes(':') ? 'DIGEST_INVALID' : 'REFERENCE_INVALID')
  if (method === 'GET') return { kind: 'getManifest', name, reference, ns }
  if (method === 'HEAD') return { kind: 'headManifest', name, reference, ns }
  return { kind: 'push', name, method, target: `manifests/${last}` }
}

function parseBlobRequest(method: Method, name: string, last: string, ns: string | undefined): RegistryRequest {
  const digest = parseDigest(last)
  if (digest === undefined) throw new RegistryError('DIGEST_INVALID')
  if (method === 'GET') return { kind: 'getBlob', name, digest, ns }
  if (method === 'HEAD') return { kind: 'headBlob', name, digest, ns }
  return { kind: 'push', name, method, target: `blobs/${last}` }
}

function parseTagsRequest(
  method: Method,
  name: string,
  ns: string | undefined,
  query: URLSearchParams,
): RegistryRequest {
  if (METHODS[method] === 'write') throw new RegistryError('METHOD_NOT_ALLOWED')
  return { kind: 'listTags', name, ns, ...parsePage(query) }
}

function parseReferrersRequest(
  method: Method,
  name: string,
  last: string,
  ns: string | undefined,
  query: URLSearchParams,
): RegistryRequest {
  if (METHODS[method] === 'write') throw new RegistryError('METHOD_NOT_ALLOWED')
  const digest = parseDigest(last)
  if (digest === undefined) throw new RegistryError('DIGEST_INVALID')
  const artifactType = query.get('artifactType') ?? undefined
  if (artifactType !== undefined && artifactType.length > REQUEST_LIMITS.artifactTypeCharactersMax) {
    throw new RegistryError('REQUEST_INVALID', { message: 'the artifactType is too long' })
  }
  return { kind: 'listReferrers', name, digest, artifactType, ns }
}

function parseUpload(method: Method, name: string, path: string): RegistryRequest {
  if (method === 'GET' || method === 'HEAD') throw new RegistryError('METHOD_NOT_ALLOWED')
  return { kind: 'push', name, method, target: path.slice(name.length + 1) }
}

/** A name with or without an organization in front: either way no part of it is longer than it can be. */
function parseName(text: string): string {
  const slash = text.indexOf('/')
  const isName =
    parseRepositoryName(text) !== undefined ||
    (slash > 0 &&
      slash <= repositoryNameCharactersMax &&
      parseRepositoryName(text.slice(0, slash)) !== undefined &&
      parseRepositoryName(text.slice(slash + 1)) !== undefined)
  if (!isName) throw new RegistryError('NAME_INVALID')
  return text
}

function parsePage(query: URLSearchParams): Page {
  const n = query.get('n')
  const last = query.get('last') ?? undefined
  if (n === null) return { n: undefined, last }
  if (!/^\d{1,5}$/.test(n) || Number(n) > REQUEST_LIMITS.pageEntriesMax) throw new RegistryError('PAGE_INVALID')
  return { n: Number(n), last }
}

function unknownPath(): RegistryError {
  return new RegistryError('NAME_UNKNOWN', { message: 'no endpoint of the registry has this path' })
}

function formatAbout(
  request: AboutRepository & { kind: string },
  tail: string,
  query: Readonly<Record<string, string | number | undefined>>,
): { method: string; url: string } {
  const method = request.kind.startsWith('head') ? 'HEAD' : 'GET'
  return { method, url: `/v2/${request.name}/${tail}${formatQuery({ ...query, ns: request.ns })}` }
}

function formatQuery(fields: Readonly<Record<string, string | number | undefined>>): string {
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(fields)) if (value !== undefined) query.set(key, String(value))
  return query.size === 0 ? '' : `?${query}`
}
