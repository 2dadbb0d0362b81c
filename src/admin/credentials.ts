/** A username and a secret to the account they belong to: passwords, and the special names whose secret is a token. */
import { createHash } from 'node:crypto'
import type { Account } from '../metadata/accounts.ts'
import type { AccessTokens } from './access-tokens.ts'
import type { AccountDirectory } from './account-directory.ts'
import { APP_TOKEN_USERNAME, type AppTokens } from './app-tokens.ts'
import { type Passwords, PasswordsBusyError } from './passwords.ts'
import { credentialOfRobot, type RobotTokens } from './robot-tokens.ts'
import type { Scope } from './scopes.ts'
import type { AdminContext } from './settings.ts'
import type { SignInFailures } from './sign-in-failures.ts'
import { networkOf, SignInLimit } from './sign-in-limit.ts'

/** Quay's user name for an OAuth access token as a password. */
const OAUTH_TOKEN_USERNAME = '$oauthtoken'
const busyWaitMs = 1000

/** Whose credentials they are, and what they are limited to (undefined: a password, not limited). */
export type SignedIn = {
  account: Account
  scopes: ReadonlySet<Scope> | undefined
  /** Which credential it was, `kind:id`: registry tokens made with it end with it. */
  credential: string
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

export type CredentialParts = {
  tokens: AccessTokens
  passwords: Passwords
  robots: RobotTokens
  appTokens: AppTokens
  failures: SignInFailures
}

export class Credentials {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #tokens: AccessTokens
  readonly #passwords: Passwords
  readonly #robots: RobotTokens
  readonly #appTokens: AppTokens
  readonly #failures: SignInFailures
  readonly #limit: SignInLimit

  constructor(context: AdminContext, accounts: AccountDirectory, parts: CredentialParts) {
    this.#context = context
    this.#accounts = accounts
    this.#tokens = parts.tokens
    this.#passwords = parts.passwords
    this.#robots = parts.robots
    this.#appTokens = parts.appTokens
    this.#failures = parts.failures
    this.#limit = new SignInLimit(context.clock)
  }

  /** Without waiting, for what was verified a short while ago and is still good. */
  recall(username: string, secret: string): SignedIn | undefined {
    if (username === OAUTH_TOKEN_USERNAME) return this.#tokens.recall(secret)
    if (username === APP_TOKEN_USERNAME) return toSignedIn(this.#appTokens.recall(secret))
    if (username.includes('+')) return toSignedInRobot(this.#robots.recall(username, secret))
    const account = this.#accounts.recall(username)
    if (account === undefined || !this.#passwords.recall(account.passwordHash, secret)) return undefined
    return toSignedIn({ account, credential: credentialOfPassword(account) })
  }

  /** For the registry: a password, or the token of a robot or an application. Errors: CredentialsError. */
  async verify(username: string, secret: string, address: string): Promise<SignedIn> {
    if (username === APP_TOKEN_USERNAME) return this.#verifyAppToken(secret, address)
    if (username.includes('+')) return this.#verifyRobot(username, secret, address)
    return this.verifyForApi(username, secret, address)
  }

  /** For the API: tokens of robots and applications are passwords of the registry only. Errors: CredentialsError. */
  async verifyForApi(username: string, secret: string, address: string): Promise<SignedIn> {
    if (username === OAUTH_TOKEN_USERNAME) return this.verifyToken(secret, address)
    // A robot has no password that could be guessed.
    if (username.includes('+')) throw this.#refuse('wrong', address, username)
    const account = await this.verifyPassword(username, secret, address)
    return { account, scopes: undefined, credential: credentialOfPassword(account) }
  }

  /** The account that has this password. Errors: CredentialsError. */
  async verifyPassword(username: string, password: string, address: string): Promise<Account> {
    const account = await this.#accounts.find(username)
    if (account !== undefined && this.#passwords.recall(account.passwordHash, password)) return account
    const wait = this.#limit.begin(username, address)
    if (wait !== undefined) throw this.#refuse('too_many', address, username, wait.waitMs)
    if (!(await this.#isPassword(account, username, password, address)) || account === undefined) {
      throw this.#refuse('wrong', address, username)
    }
    this.#limit.succeed(username, address)
    return account
  }

  /** Errors: CredentialsError. A token of 256 bits cannot be guessed, so attempts are not counted. */
  async verifyToken(token: string, address: string): Promise<SignedIn> {
    const bearer = await this.#tokens.find(token)
    if (bearer === undefined) throw this.#refuse('wrong', address, OAUTH_TOKEN_USERNAME)
    return bearer
  }

  /**
   * Whether registry tokens that were made with this credential of the account are still good; undefined when that is
   * not known yet.
   */
  recallLive(account: Account, credential: string | undefined): boolean | undefined {
    if (credential === undefined) return false
    if (account.kind === 'robot') return credential === credentialOfRobot(account)
    if (credential.startsWith(PASSWORD)) return credential === credentialOfPassword(account)
    return this.#tokens.recallLive(account, credential) ?? this.#appTokens.recallLive(account, credential)
  }

  /** As `recallLive`, and asks the database when it must. */
  async isLive(account: Account, credential: string | undefined): Promise<boolean> {
    const known = this.recallLive(account, credential)
    if (known !== undefined || credential === undefined) return known === true
    return (await this.#tokens.isLive(account, credential)) || (await this.#appTokens.isLive(account, credential))
  }

  /** Errors: CredentialsError. As `verifyToken`. */
  async #verifyAppToken(code: string, address: string): Promise<SignedIn> {
    const signedIn = toSignedIn(await this.#appTokens.find(code))
    if (signedIn === undefined) throw this.#refuse('wrong', address, APP_TOKEN_USERNAME)
    return signedIn
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
    this.#failures.note(known, address)
    this.#context.report('sign_in_failed', { reason, address, username: known })
    return new CredentialsError(reason, waitMs)
  }
}

function toSignedInRobot(account: Account | undefined): SignedIn | undefined {
  return account && { account, scopes: undefined, credential: credentialOfRobot(account) }
}

function toSignedIn(found: { account: Account; credential: string } | undefined): SignedIn | undefined {
  return found && { ...found, scopes: undefined }
}

const PASSWORD = 'password:'
const fingerprintCharacters = 32
const fingerprints = new WeakMap<Account, string>()

/** Another one when the password is changed. The stored hash is salted, so its digest tells nothing of the password. */
function credentialOfPassword(account: Account): string {
  const known = fingerprints.get(account)
  if (known !== undefined) return known
  const digest = createHash('sha256')
    .update(account.passwordHash ?? '')
    .digest('hex')
  const credential = PASSWORD + digest.slice(0, fingerprintCharacters)
  fingerprints.set(account, credential)
  return credential
}
