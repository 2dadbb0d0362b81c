/** end-2: blobs, whole or in part. */
import { RegistryError } from '../../errors.ts'
import type { RegistryRequest } from '../../oci/request.ts'
import type { Provenance, ServedBlob } from '../../registry/served.ts'
import { type OpenRepository, openRepository } from './authorize.ts'
import { type Answer, type Exchange, REGISTRY_HEADERS } from './exchange.ts'
import { freshnessHeaders, noteProvenance } from './manifest-handlers.ts'
import { formatEtag, matchesEtag, parseRange } from './preconditions.ts'
import type { RegistryDeps } from './registry-deps.ts'

type BlobRequest = RegistryRequest & { kind: 'getBlob' | 'headBlob' }

export async function headBlob(deps: RegistryDeps, exchange: Exchange, request: BlobRequest): Promise<Answer> {
  exchange.record.reference = request.digest
  const repository = await openRepository(deps, exchange, request)
  const { size, provenance } = await repository.found.registry.resolveBlob(repository.name, request.digest)
  const headers = blobHeaders(deps, exchange, request, { repository, provenance })
  if (matchesEtag(exchange.request.headers['if-none-match'], request.digest)) return { status: 304, headers }
  headers.push('Content-Type', 'application/octet-stream', 'Content-Length', String(size))
  return { status: 200, headers }
}

export async function sendBlob(deps: RegistryDeps, exchange: Exchange, request: BlobRequest): Promise<Answer> {
  const { headers: sent } = exchange.request
  // Whoever has it already is told so without an ingest.
  if (matchesEtag(sent['if-none-match'], request.digest)) return headBlob(deps, exchange, request)
  exchange.record.reference = request.digest
  const repository = await openRepository(deps, exchange, request)
  const range = parseRange(sent.range, firstOf(sent['if-range']), request.digest)
  const opened = await repository.found.registry.openBlob(repository.name, request.digest, range)
  if ('kind' in opened) return refuseRange(opened.size)
  return answerBlob(opened, blobHeaders(deps, exchange, request, { repository, provenance: opened.provenance }))
}

function answerBlob(blob: ServedBlob, headers: string[]): Answer {
  const { size, range } = blob
  headers.push('Content-Type', 'application/octet-stream')
  if (range !== undefined) headers.push('Content-Range', `bytes ${range.start}-${range.end}/${size ?? '*'}`)
  const lengthBytes = range === undefined ? size : range.end - range.start + 1
  if (lengthBytes !== undefined) headers.push('Content-Length', String(lengthBytes))
  return { status: range === undefined ? 200 : 206, headers, blob, lengthBytes }
}

/** RFC 9110, 15.5.17 wants the size with it. */
function refuseRange(size: number): Answer {
  const { code, message, status } = new RegistryError('RANGE_NOT_SATISFIABLE')
  const body = JSON.stringify({ errors: [{ code, message, detail: { size } }] })
  const length = String(Buffer.byteLength(body))
  const headers = ['Content-Range', `bytes */${size}`, 'Content-Type', 'application/json', 'Content-Length', length]
  return { status, headers: [...REGISTRY_HEADERS, ...headers], body }
}

function blobHeaders(
  deps: RegistryDeps,
  exchange: Exchange,
  request: BlobRequest,
  served: { repository: OpenRepository; provenance: Provenance },
): string[] {
  noteProvenance(exchange, served.provenance)
  return [
    ...REGISTRY_HEADERS,
    'Docker-Content-Digest',
    request.digest,
    'ETag',
    formatEtag(request.digest),
    'Accept-Ranges',
    'bytes',
    ...freshnessHeaders(deps, served.repository, served.provenance, true),
  ]
}

function firstOf(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}
