/** What the network did, as an UpstreamError whose message names the host and says what to do, and holds no secret. */
import { UpstreamError, type UpstreamFailure } from '../errors.ts'

/** An address that the policy refuses. Without a `code`, so that undici gives up instead of trying again. */
export class AddressRefusedError extends Error {
  override readonly name = 'AddressRefusedError'
}

/**
 * The egress proxy opened no tunnel: it could not be reached (`code`), or answered CONNECT with `status`. Message
 * and cause are empty, since undici's can carry the proxy's address and password; and it has no `code`, as above.
 */
export class EgressProxyError extends Error {
  override readonly name = 'EgressProxyError'
  readonly reason: { code: string } | { status: number }

  constructor(reason: { code: string } | { status: number }) {
    super()
    this.reason = reason
  }
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
  const refused = findInstance(error, AddressRefusedError)
  if (refused !== undefined) return new UpstreamError('unreachable', place.host, refused.message)
  const proxyError = findInstance(error, EgressProxyError)
  if (proxyError !== undefined) return egressProxyFailure(proxyError.reason, place)
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

/** By the code of what went wrong between us and the egress proxy. */
const PROXY_ROWS: readonly (readonly [codes: RegExp, problem: string])[] = [
  [/^ECONNREFUSED$/, 'connection refused'],
  [/^(?:ENOTFOUND|EAI_)/, 'DNS does not know its name'],
  [/^(?:UND_ERR_CONNECT_TIMEOUT|UND_ERR_HEADERS_TIMEOUT|ETIMEDOUT)$/, 'no answer in time'],
  [/^E(?:HOST|NET)(?:UNREACH|DOWN)$/, 'no route'],
  [/^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|ERR_TLS_CERT_)/, 'its certificate is not trusted'],
  [/^(?:EPROTO$|ERR_SSL_|ERR_TLS_)/, 'it does not speak TLS'],
  [/^(?:UND_ERR_SOCKET|ECONNRESET|EPIPE|ECONNABORTED)$/, 'it closed the connection'],
  [/^HPE_/, 'it answered with something that is not HTTP'],
]

/**
 * Nobody knows how the upstream is: the proxy is to blame, and only the operator can help. Its address is not told to
 * clients; the setting is named instead.
 */
function egressProxyFailure(reason: EgressProxyError['reason'], { host, isRegistry }: FailurePlace): UpstreamError {
  if ('status' in reason) {
    const { status } = reason
    const message = `cannot ask ${host}: the egress proxy answered ${status}${proxyFix(status, host)}`
    return new UpstreamError(status === 504 ? 'timeout' : 'unreachable', host, message, { outage: isRegistry })
  }
  const problem = PROXY_ROWS.find(([codes]) => codes.test(reason.code))?.[1] ?? 'it opened no connection'
  const message = `cannot ask ${host}: the egress proxy cannot be reached (${problem}); check EGRESS_PROXY (or HTTPS_PROXY) and that the proxy runs`
  const failure = problem === 'no answer in time' ? 'timeout' : 'unreachable'
  return new UpstreamError(failure, host, message, { outage: isRegistry })
}

function proxyFix(status: number, host: string): string {
  if (status === 407) return ' (it wants other credentials); correct them in EGRESS_PROXY (or HTTPS_PROXY)'
  if (status === 429) return ' (too many requests); try again later'
  if (status >= 500) return `; check the proxy, and that it can reach ${host}`
  return ` (it refuses); allow ${host} in the proxy's rules, or list it in no_proxy of EGRESS_PROXY`
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

/** The code of an error or of what it was caused by; empty when there is none. */
export function findCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return ''
  if ('code' in error && typeof error.code === 'string') return error.code
  if ('name' in error && error.name === 'HTTPParserError') return 'HPE_' // undici leaves the code out at times.
  if (error instanceof AggregateError) return findCode(error.errors[0])
  return 'cause' in error ? findCode(error.cause) : ''
}

/** An error of this class, in an error or in what it was caused by. */
function findInstance<Kind extends Error>(error: unknown, kind: new (...args: never[]) => Kind): Kind | undefined {
  if (error instanceof kind) return error
  if (error instanceof AggregateError) {
    return error.errors.map((one) => findInstance(one, kind)).find((found) => found !== undefined)
  }
  return error instanceof Error && error.cause !== undefined ? findInstance(error.cause, kind) : undefined
}

/** undici's parser error holds the bytes that it could not read: a TLS record of type alert or handshake. */
function isTlsRecord(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('data' in error)) return false
  return /^[\x15\x16]\x03/.test(String(error.data))
}
