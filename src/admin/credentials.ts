/** A username and a secret to the account they belong to: passwords, and the special names whose secret is a token. */
import type { Account } from '../metadata/accounts.ts'
import type { AccessTokens } from './access-tokens.ts'
import type { AccountDirectory } from './account-directory.ts'
import { type Passwords, PasswordsBusyError } from './passwords.ts'
import { credentialOfRobot, type RobotTokens } from './robot-tokens.ts'
import type { Scope } from './scopes.ts'
import type { AdminContext } from './settings.ts'
import { networkOf, SignInLimit } from './sign-in-limit.ts'

/** Quay's user name for an OAuth access token as a password. */
const OAUTH_TOKEN_USERNAME = '$oauthtoken'
const busyWaitMs = 1000

/** Whose credentials they are, and what they are limited to (undefined: a password, not limited). */
export type SignedIn = {
  account: Account
  scopes: ReadonlySet<Scope> | undefined
  /** Which credential it was, when registry tokens made with it must end with it: `kind:id`. */
  credential?: string
}

/** Why nobody is signed in. `wrong` is the same for a name that does not exist. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError'
  readonly reason: 'wrong' | 'too_many'
  readonly retryAfterSeconds: number | undefined

  constructor(reason: 'wrong' | 'too_many', retryAfterMs?: number) {
    super(
      reason === 'wrong'
        ? 'wrong user name, password or token'
        : 'too many attempts to sign in; wait before trying again',
    )
    this.reason = reason
    this.retryAfterSeconds = retryAfterMs === undefined ? undefined : Math.max(1, Math.ceil(retryAfterMs / 1000))
  }
}

export class Credentials {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #tokens: AccessTokens
  readonly #passwords: Passwords
  readonly #robots: RobotTokens
  readonly #limit: SignInLimit

  constructor(
    context: AdminContext,
    accounts: AccountDirectory,
    tokens: AccessTokens,
    passwords: Passwords,
    robots: RobotTokens,
  ) {
    this.#context = context
    this.#accounts = accounts
    this.#tokens = tokens
    this.#passwords = passwords
    this.#robots = robots
    this.#limit = new SignInLimit(context.clock)
  }

  /** Without waiting, for what was verified a short while ago and is still good. */
  recall(username: string, secret: string): SignedIn | undefined {
    if (username === OAUTH_TOKEN_USERNAME) return this.#tokens.recall(secret)
    if (username.includes('+')) return toSignedInRobot(this.#robots.recall(username, secret))
    const account = this.#accounts.recall(username)
    if (account === undefined || !this.#passwords.recall(account.passwordHash, secret)) return undefined
    return { account, scopes: undefined }
  }

  /** Errors: CredentialsError. */
  async verify(username: string, secret: string, address: string): Promise<SignedIn> {
    if (username === OAUTH_TOKEN_USERNAME) return this.verifyToken(secret, address)
    if (username.includes('+')) return this.#verifyRobot(username, secret, address)
    const account = await this.#accounts.find(username)
    if (account !== undefined && this.#passwords.recall(account.passwordHash, secret)) {
      return { account, scopes: undefined }
    }
    const wait = this.#limit.begin(username, address)
    if (wait !== undefined) throw this.#refuse('too_many', address, username, wait.waitMs)
    if (!(await this.#isPassword(account, username, secret, address)) || account === undefined) {
      throw this.#refuse('wrong', address, username)
    }
    this.#limit.succeed(username, address)
    return { account, scopes: undefined }
  }

  /** Errors: CredentialsError. A token of 256 bits cannot be guessed, so attempts are not counted. */
  async verifyToken(token: string, address: string): Promise<SignedIn> {
    const bearer = await this.#tokens.find(token)
    if (bearer === undefined) throw this.#refuse('wrong', address, OAUTH_TOKEN_USERNAME)
    return bearer
  }

  /** Whether registry tokens that were made with this credential of the account are still good. */
  isLive(account: Account, credential: string | undefined): boolean {
    return account.kind === 'robot' ? credential === credentialOfRobot(account) : credential === undefined
  }

  /** Errors: CredentialsError. As `verifyToken`. */
  async #verifyRobot(username: string, secret: string, address: string): Promise<SignedIn> {
    const signedIn = toSignedInRobot(await this.#robots.find(username, secret))
    if (signedIn === undefined) throw this.#refuse('wrong', address, username)
    return signedIn
  }

  async #isPassword(account: Account | undefined, username: string, secret: string, address: string): Promise<boolean> {
    try {
      return await this.#passwords.verify(account?.passwordHash, secret, networkOf(address))
    } catch (error) {
      this.#limit.withdraw(username, address)
      if (error instanceof PasswordsBusyError) throw new CredentialsError('too_many', busyWaitMs)
      throw error
    }
  }

  /** The name is what a client sent: it may be a password typed in the wrong field, so only known ones are told. */
  #refuse(reason: 'wrong' | 'too_many', address: string, username: string, waitMs?: number): CredentialsError {
    const known = this.#accounts.recall(username)?.username
    this.#context.report('sign_in_failed', { reason, address, username: known })
    return new CredentialsError(reason, waitMs)
  }
}

function toSignedInRobot(account: Account | undefined): SignedIn | undefined {
  return account && { account, scopes: undefined, credential: credentialOfRobot(account) }
}
