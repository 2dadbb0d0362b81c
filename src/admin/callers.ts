/** Who calls the API: Basic with a password, Bearer with an access token, or a browser's session. */
import { AdminError } from './admin-error.ts'
import { parseAuthorization } from './authorization-header.ts'
import { ANONYMOUS, type Caller } from './caller.ts'
import { type Credentials, CredentialsError } from './credentials.ts'
import type { Sessions } from './sessions.ts'

/** What a request shows of who sends it. */
export type CallerEvidence = { authorization: string | undefined; sessionId: string | undefined }

export class Callers {
  readonly #credentials: Credentials
  readonly #sessions: Sessions

  constructor(credentials: Credentials, sessions: Sessions) {
    this.#credentials = credentials
    this.#sessions = sessions
  }

  /**
   * A header that is there must be good, and then a session is not looked at. Nothing, or a session that is over, is
   * anonymous. Errors: AdminError INVALID_TOKEN, TOO_MANY_REQUESTS.
   */
  async identify({ authorization: header, sessionId }: CallerEvidence, address: string): Promise<Caller> {
    if (header === undefined) {
      return (sessionId === undefined ? undefined : await this.#sessions.find(sessionId)) ?? ANONYMOUS
    }
    const authorization = parseAuthorization(header)
    if (authorization === undefined) throw new AdminError('INVALID_TOKEN', 'expected Basic or Bearer credentials')
    try {
      const { account, scopes } =
        authorization.scheme === 'basic'
          ? await this.#credentials.verifyForApi(authorization.username, authorization.secret, address)
          : await this.#credentials.verifyToken(authorization.token, address)
      return { kind: 'account', account, scopes }
    } catch (error) {
      throw toCallerError(error)
    }
  }
}

/** Whatever is no CredentialsError is thrown as it is. */
export function toCallerError(error: unknown): unknown {
  if (!(error instanceof CredentialsError)) return error
  const { message, retryAfterSeconds } = error
  if (error.reason === 'wrong') return new AdminError('INVALID_TOKEN', message)
  return new AdminError('TOO_MANY_REQUESTS', message, retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
}
