/** Whatever was thrown, as the spec's JSON. Source: distribution-spec, "Error Codes". */
import { type RegistryError, toRegistryError, UpstreamError } from '../../errors.ts'
import { type PlainAnswer, REGISTRY_HEADERS } from './exchange.ts'

/** `challenge` is asked for only when the answer is 401. */
export function toErrorAnswer(error: RegistryError, requestId: string, challenge: () => string): PlainAnswer {
  const { code, message, detail } = error
  const body = JSON.stringify({ errors: [{ code, message, ...(detail !== undefined && { detail }) }] })
  const headers = [
    ...REGISTRY_HEADERS,
    'Content-Type',
    'application/json',
    'Content-Length',
    String(Buffer.byteLength(body)),
    'Cache-Control',
    'no-store',
    'X-Request-Id',
    requestId,
  ]
  if (error.case === 'UNAUTHORIZED') headers.push('WWW-Authenticate', challenge())
  if (error.case === 'METHOD_NOT_ALLOWED') headers.push('Allow', 'GET, HEAD')
  if (error.case === 'OVERLOADED') headers.push('Connection', 'close')
  if (error.retryAfterSeconds !== undefined) headers.push('Retry-After', String(error.retryAfterSeconds))
  return { status: error.status, headers, body }
}

/** What a client may be told of anything thrown: of our own faults only that they happened. */
export function asRegistryError(error: unknown, kind: string, repository: string | undefined): RegistryError {
  if (!(error instanceof UpstreamError)) return toRegistryError(error, 'NAME_UNKNOWN', repository ?? '')
  const unknown = kind.endsWith('Blob')
    ? 'BLOB_UNKNOWN'
    : kind.endsWith('Manifest')
      ? 'MANIFEST_UNKNOWN'
      : 'NAME_UNKNOWN'
  return toRegistryError(error, unknown, repository ?? '')
}
