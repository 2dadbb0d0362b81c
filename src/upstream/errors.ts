/** What the network did, as an UpstreamError whose message names the host and says what to do, and holds no secret. */
import { UpstreamError, type UpstreamFailure } from '../errors.ts'

/** An address that the policy refuses. Without a `code`, so that undici gives up instead of trying again. */
export class AddressRefusedError extends Error {
  override readonly name = 'AddressRefusedError'
}

/** Where a request failed. `isRegistry`: the registry itself, not a token service or where it redirected to. */
export type FailurePlace = { host: string; scheme: 'https' | 'http'; isRegistry: boolean }

type Row = readonly [codes: RegExp, failure: UpstreamFailure, message: (host: string) => string]

const TLS_ROWS: readonly Row[] = [
  [
    /^(?:UNABLE_TO_|SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|CERT_UNTRUSTED|CERT_SIGNATURE_FAILURE)/,
    'unreachable',
    (host) =>
      `cannot trust ${host}: its certificate is of an unknown authority; give the organization the CA certificate`,
  ],
  [
    /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    'unreachable',
    (host) =>
      `cannot trust ${host}: its certificate is for other names; contact it by a name that its certificate lists`,
  ],
  [
    /^CERT_(?:HAS_EXPIRED|NOT_YET_VALID)$/,
    'unreachable',
    (host) =>
      `cannot trust ${host}: its certificate has expired or is not valid yet; renew it there, or check the clock here`,
  ],
  [
    /^(?:EPROTO|ERR_SSL_(?:WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|RECORD_LAYER_FAILURE))$/,
    'unreachable',
    (host) =>
      `cannot speak TLS with ${host}: it does not seem to speak TLS; if it is meant to be plain HTTP, set "insecure"`,
  ],
  [/^(?:ERR_SSL_|ERR_TLS_|CERT_)/, 'unreachable', (host) => `cannot speak TLS with ${host}: the handshake failed`],
]

const NETWORK_ROWS: readonly Row[] = [
  [/^ENOTFOUND$/, 'unreachable', (host) => `cannot find ${host}: DNS does not know it; check the name`],
  [/^EAI_/, 'unreachable', (host) => `cannot find ${host}: DNS did not answer; check the resolver`],
  [/^ECONNREFUSED$/, 'unreachable', (host) => `cannot connect to ${host}: connection refused; check host and port`],
  [
    /^E(?:HOST|NET)(?:UNREACH|DOWN)$/,
    'unreachable',
    (host) => `cannot connect to ${host}: no route; check the network`,
  ],
  [
    /^(?:UND_ERR_CONNECT_TIMEOUT|ETIMEDOUT)$/,
    'timeout',
    (host) => `cannot connect to ${host}: no answer in time; check host, port and firewall`,
  ],
  [
    /^UND_ERR_HEADERS_TIMEOUT$/,
    'timeout',
    (host) => `${host} took the request and did not answer in time; try again later`,
  ],
  [/^UND_ERR_BODY_TIMEOUT$/, 'timeout', (host) => `${host} stopped sending in the middle of an answer; try again`],
  [
    /^UND_ERR_PRX_|^UND_ERR_ABORTED$/,
    'unreachable',
    (host) => `cannot connect to ${host}: the egress proxy did not open a connection; check the proxy and its rules`,
  ],
  [
    /^(?:UND_ERR_SOCKET|ECONNRESET|EPIPE|ECONNABORTED)$/,
    'unreachable',
    (host) => `${host} closed the connection before its answer was complete; try again`,
  ],
  [
    /^UND_ERR_RES_CONTENT_LENGTH_MISMATCH$/,
    'unreachable',
    (host) => `${host} sent another length than it announced; try again`,
  ],
  [/^(?:HPE_|UND_ERR_HEADERS_OVERFLOW$)/, 'protocol', (host) => `${host} answered with something that is not HTTP`],
]

/** Turn whatever undici or Node threw into an UpstreamError. `hadHeaders`: the answer had begun, so it is no outage. */
export function toUpstreamError(error: unknown, place: FailurePlace, hadHeaders = false): UpstreamError {
  if (error instanceof UpstreamError) return error
  const refused = findRefusal(error)
  if (refused !== undefined) return new UpstreamError('unreachable', place.host, refused.message)
  const code = findCode(error)
  if (place.scheme === 'http' && isTlsRecord(error)) return speaksTls(place.host)
  const [, failure, message] = [...TLS_ROWS, ...NETWORK_ROWS].find(([codes]) => codes.test(code)) ?? [
    undefined,
    'unreachable' as const,
    (host: string) => `cannot ask ${host}${/^[A-Z0-9_]{1,60}$/.test(code) ? `: ${code}` : ''}`,
  ]
  const outage = place.isRegistry && !hadHeaders && failure !== 'protocol'
  const hint =
    place.scheme === 'http' && !hadHeaders && /^(?:UND_ERR_SOCKET|ECONNRESET)$/.test(code)
      ? ', and if it speaks TLS, unset "insecure"'
      : ''
  // The cause is not kept: undici's errors carry addresses, and a proxy's can carry its URL.
  return new UpstreamError(failure, place.host, message(place.host) + hint, { outage })
}

/** Plain HTTP was spoken to a port that wants TLS. */
export function speaksTls(host: string, status?: number): UpstreamError {
  const message = `${host} speaks TLS, not plain HTTP: unset "insecure"`
  return new UpstreamError('protocol', host, message, status === undefined ? {} : { status })
}

export function protocolError(host: string, problem: string, status?: number): UpstreamError {
  const message = `${host} ${problem}; check that it is a container registry`
  return new UpstreamError('protocol', host, message, status === undefined ? {} : { status })
}

function findCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return ''
  if ('code' in error && typeof error.code === 'string') return error.code
  if ('name' in error && error.name === 'HTTPParserError') return 'HPE_' // undici leaves the code out at times.
  if (error instanceof AggregateError) return findCode(error.errors[0])
  return 'cause' in error ? findCode(error.cause) : ''
}

function findRefusal(error: unknown): AddressRefusedError | undefined {
  if (error instanceof AddressRefusedError) return error
  if (error instanceof AggregateError) return error.errors.map(findRefusal).find((refusal) => refusal !== undefined)
  return error instanceof Error && error.cause !== undefined ? findRefusal(error.cause) : undefined
}

/** undici's parser error holds the bytes that it could not read: a TLS record of type alert or handshake. */
function isTlsRecord(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('data' in error)) return false
  return /^[\x15\x16]\x03/.test(String(error.data))
}
