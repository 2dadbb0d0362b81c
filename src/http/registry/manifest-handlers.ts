/** end-3: manifests by tag and by digest, when they need a query or an upstream; else see `hot-manifests.ts`. */
import { RegistryError } from '../../errors.ts'
import type { Descriptor } from '../../oci/descriptor.ts'
import { formatReference } from '../../oci/reference.ts'
import type { RegistryRequest } from '../../oci/request.ts'
import type { Provenance } from '../../registry/served.ts'
import { type OpenRepository, openRepository } from './authorize.ts'
import { chooseCacheControl, formatAge, formatCacheStatus } from './cache-status.ts'
import { type Answer, type Exchange, REGISTRY_HEADERS } from './exchange.ts'
import { acceptsMediaType, formatEtag, matchesEtag } from './preconditions.ts'
import type { RegistryDeps } from './registry-deps.ts'

type ManifestRequest = RegistryRequest & { kind: 'getManifest' | 'headManifest' }

export async function getManifest(deps: RegistryDeps, exchange: Exchange, request: ManifestRequest): Promise<Answer> {
  exchange.record.reference = formatReference(request.reference)
  const repository = await openRepository(deps, exchange, request)
  const { descriptor, bytes, provenance } = await repository.found.registry.getManifest(
    repository.name,
    request.reference,
  )
  const answer = answerManifest(deps, exchange, request, { repository, descriptor, provenance })
  return answer.status === 304 ? answer : { ...answer, body: bytes }
}

export async function headManifest(deps: RegistryDeps, exchange: Exchange, request: ManifestRequest): Promise<Answer> {
  exchange.record.reference = formatReference(request.reference)
  const repository = await openRepository(deps, exchange, request)
  const { descriptor, provenance } = await repository.found.registry.resolveManifest(repository.name, request.reference)
  return answerManifest(deps, exchange, request, { repository, descriptor, provenance })
}

function answerManifest(
  deps: RegistryDeps,
  exchange: Exchange,
  request: ManifestRequest,
  served: { repository: OpenRepository; descriptor: Descriptor; provenance: Provenance },
): { status: number; headers: string[] } {
  const { repository, descriptor, provenance } = served
  noteProvenance(exchange, provenance)
  const isByDigest = request.reference.kind === 'digest'
  const { accept } = exchange.request.headers
  if (!isByDigest && !acceptsMediaType(accept, descriptor.mediaType)) {
    throw new RegistryError('MANIFEST_UNKNOWN', {
      message: `the tag names a manifest of type ${descriptor.mediaType}, which the request's Accept does not list`,
    })
  }
  const headers = [
    ...REGISTRY_HEADERS,
    'Docker-Content-Digest',
    descriptor.digest,
    'ETag',
    formatEtag(descriptor.digest),
    ...freshnessHeaders(deps, repository, provenance, isByDigest),
  ]
  if (matchesEtag(exchange.request.headers['if-none-match'], descriptor.digest)) return { status: 304, headers }
  headers.push('Content-Type', descriptor.mediaType, 'Content-Length', String(descriptor.size))
  return { status: 200, headers }
}

/** How the answer came about, and who may keep it. */
export function freshnessHeaders(
  deps: RegistryDeps,
  repository: OpenRepository,
  provenance: Provenance,
  isByDigest: boolean,
): string[] {
  return [
    'Cache-Status',
    formatCacheStatus(provenance),
    'Age',
    formatAge(provenance, deps.clock()),
    'Cache-Control',
    chooseCacheControl(repository.isAnonymous, isByDigest),
    ...namespaceHeader(repository),
  ]
}

/** The spec's "Registry Proxying". */
export function namespaceHeader(repository: OpenRepository): string[] {
  return repository.namespace === undefined ? [] : ['OCI-Namespace', repository.namespace]
}

export function noteProvenance(exchange: Exchange, provenance: Provenance): void {
  exchange.record.outcome = provenance.outcome
  exchange.record.upstreamMs = provenance.upstreamMs
}
