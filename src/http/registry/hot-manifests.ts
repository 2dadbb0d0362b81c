/**
 * The hot path: a manifest that is in memory, for a caller whose credentials and permission are too. No await, no
 * query,
 * and nothing that only some requests need: those take the other road (`registry-handler.ts`), which answers the same.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { BoundedMap } from '../../base/bounded-map.ts'
import { monotonicMs } from '../../base/clock.ts'
import { formatReference, type Reference } from '../../oci/reference.ts'
import { parseRequest } from '../../oci/request.ts'
import type { HotManifest } from '../../registry/directory.ts'
import { ANONYMOUS } from './authorize.ts'
import { chooseCacheControl } from './cache-status.ts'
import { describePrincipal } from './exchange.ts'
import { acceptsMediaType } from './preconditions.ts'
import { type PreparedHead, writeHead } from './prepared-head.ts'
import type { RegistryDeps } from './registry-deps.ts'
import { splitName } from './resolve-name.ts'

/** What a URL means; parsed once for all the pulls of it. */
type Target = {
  path: string
  organization: string
  /** Without the organization. */
  name: string
  repository: string
  reference: Reference
  referenceText: string
  /** Of its last answer. */
  head: PreparedHead | undefined
}

const TARGET_LIMITS = {
  /** Some hundred bytes each. */
  entriesMax: 20_000,
  /** Longer URLs are parsed each time: they are not in common use. */
  urlCharactersMax: 1024,
} as const

/** Returns whether it has answered. */
export type AnswerHot = (request: IncomingMessage, response: ServerResponse, nextId: () => string) => boolean

export function makeAnswerHot(deps: RegistryDeps): AnswerHot {
  const targets = new BoundedMap<string, Target>(TARGET_LIMITS.entriesMax)
  const { authenticator, permission, directory, clock, origin, observe } = deps

  return (request, response, nextId) => {
    const { url = '', method = '', headers } = request
    if ((method !== 'GET' && method !== 'HEAD') || headers['if-none-match'] !== undefined) return false
    const known = targets.peek(url)
    const target = known ?? parseTarget(url)
    if (target === undefined) return false
    const startMs = monotonicMs()
    const { authorization } = headers
    const identity = authorization === undefined ? ANONYMOUS : authenticator.recall(authorization)
    if (identity === undefined) return false
    const { principal, grants } = identity
    if (permission.recall(principal, target.organization, target.name) !== true) return false
    if (grants !== undefined && grants.get(target.repository)?.includes('pull') !== true) return false
    const hot = directory.recallManifest(target.organization, target.name, target.reference)
    if (hot === undefined || !isAccepted(hot, target, headers.accept)) return false

    const cacheControl = chooseCacheControl(principal.kind === 'anonymous', target.reference.kind === 'digest')
    target.head = writeHead(response, hot, cacheControl, clock(), target.head)
    const isHead = method === 'HEAD'
    if (isHead) response.end()
    else response.end(hot.latin1, 'latin1')
    hot.touch()
    if (known === undefined) targets.set(url, target)
    observe({
      id: nextId(),
      method,
      path: target.path,
      kind: isHead ? 'headManifest' : 'getManifest',
      organization: target.organization,
      repository: target.repository,
      reference: target.referenceText,
      status: 200,
      outcome: hot.provenance.outcome,
      bytes: isHead ? 0 : hot.sizeBytes,
      ms: monotonicMs() - startMs,
      upstreamMs: 0,
      principal: describePrincipal(principal),
      address: origin.address(request),
      isAborted: false,
      error: undefined,
    })
    return true
  }
}

/** Undefined for whatever is not the plain form of a manifest's URL, `ns` included. */
function parseTarget(url: string): Target | undefined {
  if (url.length > TARGET_LIMITS.urlCharactersMax || !url.includes('/manifests/') || url.includes('?')) return undefined
  try {
    const parsed = parseRequest('GET', url)
    if (parsed.kind !== 'getManifest') return undefined
    const { organization, rest } = splitName(parsed.name)
    if (rest === undefined) return undefined
    const { reference, name: repository } = parsed
    const referenceText = formatReference(reference)
    return { path: url, organization, name: rest, repository, reference, referenceText, head: undefined }
  } catch {
    return undefined // The other road says what is wrong with it.
  }
}

function isAccepted(hot: HotManifest, target: Target, accept: string | undefined): boolean {
  if (target.reference.kind === 'digest' || accept === undefined) return true
  const mediaType = hot.headers[hot.headers.indexOf('Content-Type') + 1] ?? ''
  return accept.includes(mediaType) || acceptsMediaType(accept, mediaType)
}
