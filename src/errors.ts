/** What goes wrong, as a table: what a client of `/v2` is told, and what an upstream did instead of answering. */

/**
 * Every error answer of `/v2`. The key is the case in our code; `code`, `status` and `message` are what the client
 * sees. Codes are the OCI distribution-spec's ("Error Codes"), and UNAVAILABLE and UNKNOWN, which distribution sends.
 */
export const REGISTRY_ERRORS = {
  BLOB_UNKNOWN: { code: 'BLOB_UNKNOWN', status: 404, message: 'blob unknown to registry' },
  DENIED: { code: 'DENIED', status: 403, message: 'requested access to the resource is denied' },
  DIGEST_INVALID: {
    code: 'DIGEST_INVALID',
    status: 400,
    message: 'invalid digest: expected sha256:<64 hex digits> or sha512:<128 hex digits>',
  },
  MANIFEST_UNKNOWN: { code: 'MANIFEST_UNKNOWN', status: 404, message: 'manifest unknown to registry' },
  METHOD_NOT_ALLOWED: { code: 'UNSUPPORTED', status: 405, message: 'the operation is unsupported' },
  NAME_INVALID: { code: 'NAME_INVALID', status: 400, message: 'invalid repository name' },
  NAME_UNKNOWN: { code: 'NAME_UNKNOWN', status: 404, message: 'repository name not known to registry' },
  PAGE_INVALID: { code: 'UNSUPPORTED', status: 400, message: 'invalid page: n must be a whole number from 0 to 10000' },
  QUOTA_EXCEEDED: { code: 'DENIED', status: 403, message: 'Quota has been exceeded on namespace' },
  RANGE_NOT_SATISFIABLE: { code: 'SIZE_INVALID', status: 416, message: 'requested range not satisfiable' },
  REFERENCE_INVALID: {
    code: 'MANIFEST_UNKNOWN',
    status: 404,
    message: 'invalid reference: expected a tag or a digest',
  },
  REQUEST_INVALID: { code: 'UNSUPPORTED', status: 400, message: 'malformed request' },
  REQUEST_TOO_LARGE: { code: 'SIZE_INVALID', status: 413, message: 'request too large' },
  TOO_MANY_REQUESTS: { code: 'TOOMANYREQUESTS', status: 429, message: 'too many requests' },
  UNAUTHORIZED: { code: 'UNAUTHORIZED', status: 401, message: 'authentication required' },
  UNAVAILABLE: { code: 'UNAVAILABLE', status: 502, message: 'upstream registry is unavailable' },
  UPSTREAM_TIMEOUT: { code: 'UNAVAILABLE', status: 504, message: 'upstream registry did not answer in time' },
  OVERLOADED: { code: 'UNAVAILABLE', status: 503, message: 'the registry is stopping or overloaded; try again' },
  UNKNOWN: { code: 'UNKNOWN', status: 500, message: 'internal error; the log has the cause' },
} as const satisfies Record<string, { code: string; status: number; message: string }>

export type RegistryErrorCase = keyof typeof REGISTRY_ERRORS

/** An answer that the client can act on. Anything else that is thrown is an outage or a bug. */
export class RegistryError extends Error {
  override readonly name = 'RegistryError'
  readonly case: RegistryErrorCase
  readonly detail: unknown
  /** Whole seconds for the `Retry-After` header. */
  readonly retryAfterSeconds: number | undefined

  /** `message` replaces the table's; it must say what to do, and never hold a secret. */
  constructor(
    errorCase: RegistryErrorCase,
    options: { message?: string; detail?: unknown; cause?: unknown; retryAfterSeconds?: number } = {},
  ) {
    super(options.message ?? REGISTRY_ERRORS[errorCase].message, { cause: options.cause })
    this.case = errorCase
    this.detail = options.detail
    this.retryAfterSeconds = options.retryAfterSeconds
  }

  get code(): string {
    return REGISTRY_ERRORS[this.case].code
  }

  get status(): number {
    return REGISTRY_ERRORS[this.case].status
  }
}

/**
 * How an upstream failed us.
 * unreachable: refused, reset, DNS, TLS, address refused by policy. timeout: connect, headers or idle body.
 * denied: 401 or 403, also with a fresh token. not_found: 404. rate_limited: 429, or its gate is closed.
 * server_error: any 5xx. protocol: an answer that is not what it must be (HTML, wrong digest or length, too large,
 * redirect loop, any other status).
 */
export type UpstreamFailure =
  | 'unreachable'
  | 'timeout'
  | 'denied'
  | 'not_found'
  | 'rate_limited'
  | 'server_error'
  | 'protocol'

/** What an upstream did instead of answering. `message` names the host only: paths and queries can hold credentials. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError'
  readonly failure: UpstreamFailure
  readonly host: string
  /** The HTTP status, when there was one. */
  readonly status: number | undefined
  readonly retryAfterMs: number | undefined
  /** Whether it counts towards *down* (DESIGN part 4): no answer at all, or 502, 503, 504 of the registry itself. */
  readonly outage: boolean

  constructor(
    failure: UpstreamFailure,
    host: string,
    message: string,
    options: { status?: number; retryAfterMs?: number; outage?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause })
    this.failure = failure
    this.host = host
    this.status = options.status
    this.retryAfterMs = options.retryAfterMs
    this.outage = options.outage ?? false
  }
}

/** A client never waits longer than this for a 429 to end (DESIGN part 4, By tag). */
const retryAfterSecondsMax = 60

/**
 * The one place where an upstream's failure becomes our answer (DESIGN part 4, the last row of By tag).
 * `unknown` is the case for the upstream's 404; `repository` is the upstream's name, for the message.
 */
export function toRegistryError(
  error: unknown,
  unknown: 'MANIFEST_UNKNOWN' | 'BLOB_UNKNOWN' | 'NAME_UNKNOWN',
  repository: string,
): RegistryError {
  if (error instanceof RegistryError) return error
  if (!(error instanceof UpstreamError)) return new RegistryError('UNKNOWN', { cause: error })
  switch (error.failure) {
    case 'not_found':
      return new RegistryError(unknown, { cause: error, message: `${error.host} does not have it in ${repository}` })
    case 'denied': // Our credentials failed, not the client's: a 401 would send its user to `podman login`.
      return new RegistryError('DENIED', {
        cause: error,
        message: `${error.host} refuses ${repository}: it does not exist there, or this organization's credentials may not read it`,
      })
    case 'rate_limited':
      return new RegistryError('TOO_MANY_REQUESTS', {
        cause: error,
        message: `${error.host} limits the rate of this organization's requests; try again later, or give the organization credentials with a higher limit`,
        retryAfterSeconds: Math.min(retryAfterSecondsMax, Math.max(1, Math.ceil((error.retryAfterMs ?? 0) / 1000))),
      })
    case 'timeout':
      return new RegistryError('UPSTREAM_TIMEOUT', { cause: error, message: error.message })
    case 'unreachable':
    case 'server_error':
    case 'protocol':
      return new RegistryError('UNAVAILABLE', { cause: error, message: error.message })
    default:
      throw new Error(`unhandled upstream failure: ${error.failure satisfies never}`)
  }
}
