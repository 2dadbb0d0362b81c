/** end-8, end-12 and distribution's catalog: lists, paged and filtered by us. */
import { CATALOG_GRANT } from '../../admin/registry-tokens.ts'
import { RegistryError } from '../../errors.ts'
import { OCI_INDEX } from '../../oci/media-type.ts'
import { formatRequest, REQUEST_LIMITS, type RegistryRequest } from '../../oci/request.ts'
import { authenticate, openRepository } from './authorize.ts'
import type { Answer, Exchange } from './exchange.ts'
import { namespaceHeader } from './manifest-handlers.ts'
import { jsonAnswer } from './nameless-handlers.ts'
import type { RegistryDeps } from './registry-deps.ts'

/** Repositories of one page of the catalog when the client names no number. */
const catalogEntriesDefault = 1000

/** The list is made of what the caller may see at this moment. */
const PRIVATE = ['Cache-Control', 'private, no-cache'] as const

export async function listTags(
  deps: RegistryDeps,
  exchange: Exchange,
  request: RegistryRequest & { kind: 'listTags' },
): Promise<Answer> {
  const repository = await openRepository(deps, exchange, request)
  const { tags, isTruncated } = await repository.found.registry.listTags(repository.name)
  const { n = tags.length, last } = request
  const start = last === undefined ? 0 : tags.findIndex((tag) => tag > last)
  const rest = start === -1 ? [] : tags.slice(start)
  const page = rest.slice(0, n)
  const headers = [...PRIVATE, ...namespaceHeader(repository)]
  const end = page.at(-1)
  if (end !== undefined && page.length < rest.length) headers.push('Link', formatLink({ ...request, last: end }))
  if (isTruncated) headers.push('X-Entrepot-Truncated', 'true')
  return jsonAnswer(JSON.stringify({ name: request.name, tags: page }), headers)
}

export async function listReferrers(
  deps: RegistryDeps,
  exchange: Exchange,
  request: RegistryRequest & { kind: 'listReferrers' },
): Promise<Answer> {
  exchange.record.reference = request.digest
  const repository = await openRepository(deps, exchange, request)
  const referrers = await repository.found.registry.listReferrers(repository.name, request.digest)
  const { artifactType } = request
  const manifests =
    artifactType === undefined ? referrers : referrers.filter((entry) => entry.artifactType === artifactType)
  const headers = [...PRIVATE, ...namespaceHeader(repository)]
  if (artifactType !== undefined) headers.push('OCI-Filters-Applied', 'artifactType')
  const body = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests })
  return jsonAnswer(body, headers, OCI_INDEX)
}

/** What the caller may see, for whoever says who they are. */
export async function listCatalog(
  deps: RegistryDeps,
  exchange: Exchange,
  request: RegistryRequest & { kind: 'catalog' },
): Promise<Answer> {
  exchange.challenge.scope = 'registry:catalog:*'
  if (exchange.request.headers.authorization === undefined) throw new RegistryError('UNAUTHORIZED')
  const { principal, grants } = await authenticate(deps, exchange)
  if (grants !== undefined && grants.get(CATALOG_GRANT)?.includes('*') !== true) {
    exchange.challenge.error = 'insufficient_scope'
    throw new RegistryError('UNAUTHORIZED', { message: 'the token is not for the catalog' })
  }
  const limit = Math.min(request.n ?? catalogEntriesDefault, REQUEST_LIMITS.pageEntriesMax)
  if (limit === 0) return jsonAnswer(JSON.stringify({ repositories: [] }), PRIVATE)
  const { names, isComplete } = await deps.directory.listRepositories(
    (organization) => deps.permission.canPull(principal, organization),
    { limit, ...(request.last !== undefined && { after: request.last }) },
  )
  const headers: string[] = [...PRIVATE]
  const end = names.at(-1)
  if (!isComplete && end !== undefined) headers.push('Link', formatLink({ ...request, n: limit, last: end }))
  return jsonAnswer(JSON.stringify({ repositories: names }), headers)
}

/** RFC 8288, as the spec's "Listing Tags" has it. */
function formatLink(next: RegistryRequest): string {
  return `<${formatRequest(next).url}>; rel="next"`
}
