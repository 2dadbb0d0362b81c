/** An `Authorization` header of `/v2` to an identity: Basic with a password or token, Bearer with a registry token. */
import { BoundedMap } from '../base/bounded-map.ts'
import { RegistryError } from '../errors.ts'
import type { AccountDirectory } from './account-directory.ts'
import { parseAuthorization } from './authorization-header.ts'
import { type Credentials, CredentialsError, type SignedIn } from './credentials.ts'
import type { Authenticator, Identity, Principal } from './identity.ts'
import type { JwtRegistryTokens, VerifiedToken } from './registry-tokens.ts'
import { scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'

const tokensRememberedMax = 10_000
const ANONYMOUS_IDENTITY: Identity = { principal: { kind: 'anonymous' }, grants: undefined }
const NOTHING: ReadonlyMap<string, readonly string[]> = new Map()

export class RegistryAuthenticator implements Authenticator {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #credentials: Credentials
  readonly #tokens: JwtRegistryTokens
  /** By whole header. That the signature was good stays true; whether the account still is, is asked each time. */
  readonly #verified = new BoundedMap<string, VerifiedToken>(tokensRememberedMax)

  constructor(context: AdminContext, accounts: AccountDirectory, credentials: Credentials, tokens: JwtRegistryTokens) {
    this.#context = context
    this.#accounts = accounts
    this.#credentials = credentials
    this.#tokens = tokens
  }

  recall(header: string): Identity | undefined {
    const verified = this.#verified.peek(header)
    if (verified !== undefined) {
      if (verified.expiresAtMs <= this.#context.clock()) return undefined
      const { principal } = verified
      if (principal.kind === 'anonymous') return verified
      const account = this.#accounts.recallById(principal.accountId)
      if (account === undefined || account.username !== principal.username) return undefined
      return this.#credentials.recallLive(account, verified.credential) === true ? verified : undefined
    }
    // Only Basic is worth reading again: a registry token that is not remembered must be verified.
    if (header.charCodeAt(1) !== 0x61 /* a */) return undefined
    const authorization = parseAuthorization(header)
    if (authorization?.scheme !== 'basic') return undefined
    const signedIn = this.#credentials.recall(authorization.username, authorization.secret)
    return signedIn && toIdentity(signedIn)
  }

  async authenticate(header: string | undefined, address: string): Promise<Identity> {
    if (header === undefined) return ANONYMOUS_IDENTITY
    const authorization = parseAuthorization(header)
    if (authorization?.scheme === 'bearer') return this.#authenticateBearer(header, authorization.token)
    return this.authenticateBasic(header, address)
  }

  /**
   * As `authenticate`, without registry tokens: one that could be exchanged for another would grant more than it does,
   * and for ever. Errors: as `authenticate`.
   */
  async authenticateBasic(header: string | undefined, address: string): Promise<Identity> {
    if (header === undefined) return ANONYMOUS_IDENTITY
    const authorization = parseAuthorization(header)
    if (authorization?.scheme !== 'basic') throw new RegistryError('UNAUTHORIZED')
    return this.authenticatePassword(authorization.username, authorization.secret, address)
  }

  /** Errors: as `authenticate`. */
  async authenticatePassword(username: string, secret: string, address: string): Promise<Identity> {
    try {
      return toIdentity(await this.#credentials.verify(username, secret, address))
    } catch (error) {
      if (!(error instanceof CredentialsError)) throw error
      const { message, retryAfterSeconds } = error
      if (error.reason === 'wrong') throw new RegistryError('UNAUTHORIZED', { message })
      const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds }
      throw new RegistryError('TOO_MANY_REQUESTS', { message, ...wait })
    }
  }

  async #authenticateBearer(header: string, token: string): Promise<Identity> {
    const verified = this.#verified.get(header) ?? (await this.#tokens.verify(token))
    if (verified === undefined || verified.expiresAtMs <= this.#context.clock() || !(await this.#isLive(verified))) {
      throw new RegistryError('UNAUTHORIZED', { message: 'the token is not valid, or no longer' })
    }
    this.#verified.set(header, verified)
    return verified
  }

  /** Whether the account is still the token's, and what the token was made with still its credential. */
  async #isLive(verified: VerifiedToken): Promise<boolean> {
    const { principal } = verified
    if (principal.kind === 'anonymous') return true
    const account = await this.#accounts.findById(principal.accountId)
    if (account === undefined || account.username !== principal.username) return false
    return this.#credentials.isLive(account, verified.credential)
  }
}

/** A token that may not pull is somebody, with nothing. */
function toIdentity({ account, scopes, credential }: SignedIn): Identity {
  const principal: Principal = { kind: 'account', accountId: account.id, username: account.username }
  return { principal, grants: scopesGive(scopes, 'pull') ? undefined : NOTHING, credential }
}
