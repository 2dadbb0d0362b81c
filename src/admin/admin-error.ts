/** What a client of `/api/v1` is told when its request is not done: Quay's error types, as a table. */

/**
 * `type` and `status` are what the client sees. The first five types are Quay's (its endpoints/exception.py); it has
 * none for the rest, where HTTP's own words are used.
 */
export const ADMIN_ERRORS = {
  INVALID_REQUEST: { type: 'invalid_request', status: 400, description: 'The request was invalid.' },
  INVALID_TOKEN: { type: 'invalid_token', status: 401, description: 'Valid credentials are needed.' },
  FRESH_LOGIN_REQUIRED: {
    type: 'fresh_login_required',
    status: 401,
    description: 'The password must be given again first: POST /api/v1/signin/verify.',
  },
  INSUFFICIENT_SCOPE: { type: 'insufficient_scope', status: 403, description: 'The user or token may not do this.' },
  NOT_FOUND: { type: 'not_found', status: 404, description: 'There is no such thing.' },
  METHOD_NOT_ALLOWED: { type: 'method_not_allowed', status: 405, description: 'The path knows other methods.' },
  CONFLICT: { type: 'conflict', status: 409, description: 'It contradicts what there is, or is going on.' },
  REQUEST_TOO_LARGE: { type: 'request_too_large', status: 413, description: 'The body is larger than is read.' },
  UNSUPPORTED_MEDIA_TYPE: { type: 'unsupported_media_type', status: 415, description: 'The body must be JSON.' },
  TOO_MANY_REQUESTS: { type: 'too_many_requests', status: 429, description: 'Wait, then try again.' },
  INTERNAL_ERROR: { type: 'internal_error', status: 500, description: 'The server failed; its log has the cause.' },
} as const satisfies Record<string, { type: string; status: number; description: string }>

export type AdminErrorCase = keyof typeof ADMIN_ERRORS

/** A request that is refused. `message` says what to do, names the field, and never holds a secret. */
export class AdminError extends Error {
  override readonly name = 'AdminError'
  readonly case: AdminErrorCase
  /** Whole seconds for the `Retry-After` header. */
  readonly retryAfterSeconds: number | undefined

  constructor(
    errorCase: AdminErrorCase,
    message: string,
    options: { cause?: unknown; retryAfterSeconds?: number } = {},
  ) {
    super(message, { cause: options.cause })
    this.case = errorCase
    this.retryAfterSeconds = options.retryAfterSeconds
  }

  get status(): number {
    return ADMIN_ERRORS[this.case].status
  }

  get type(): string {
    return ADMIN_ERRORS[this.case].type
  }
}

/** The request has a mistake that its sender can mend. */
export function invalidRequest(message: string): AdminError {
  return new AdminError('INVALID_REQUEST', message)
}

/** Nobody is signed in (Quay's message). */
export function signInRequired(): AdminError {
  return new AdminError('INVALID_TOKEN', 'Requires authentication')
}

/** Somebody is signed in, and may not (Quay's message). */
export function unauthorized(): AdminError {
  return new AdminError('INSUFFICIENT_SCOPE', 'Unauthorized')
}

export function notFound(what: string): AdminError {
  return new AdminError('NOT_FOUND', `${what} not found`)
}
