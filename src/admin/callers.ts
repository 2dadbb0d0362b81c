/** An `Authorization` header to the caller of the API: Basic with a password, or Bearer with an access token. */
import { AdminError } from './admin-error.ts'
import { parseAuthorization } from './authorization-header.ts'
import { ANONYMOUS, type Caller } from './caller.ts'
import { type Credentials, CredentialsError } from './credentials.ts'

export class Callers {
  readonly #credentials: Credentials

  constructor(credentials: Credentials) {
    this.#credentials = credentials
  }

  /** Errors: AdminError INVALID_TOKEN, TOO_MANY_REQUESTS. An absent header is anonymous. */
  async identify(header: string | undefined, address: string): Promise<Caller> {
    if (header === undefined) return ANONYMOUS
    const authorization = parseAuthorization(header)
    if (authorization === undefined) throw new AdminError('INVALID_TOKEN', 'expected Basic or Bearer credentials')
    try {
      const signedIn =
        authorization.scheme === 'basic'
          ? await this.#credentials.verify(authorization.username, authorization.secret, address)
          : await this.#credentials.verifyToken(authorization.token, address)
      // A robot's token is a password of the registry only.
      if (signedIn.account.kind === 'robot') throw new CredentialsError('wrong')
      return { kind: 'account', account: signedIn.account, scopes: signedIn.scopes }
    } catch (error) {
      if (!(error instanceof CredentialsError)) throw error
      const { message, retryAfterSeconds } = error
      if (error.reason === 'wrong') throw new AdminError('INVALID_TOKEN', message)
      throw new AdminError('TOO_MANY_REQUESTS', message, retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
    }
  }
}
