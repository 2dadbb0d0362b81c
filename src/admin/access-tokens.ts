/** Access tokens: 256 random bits with scopes, Quay's OAuth tokens. Found by their SHA-256, stored sealed. */
import { type AccessToken, findAccessToken, insertAccessToken, touchAccessTokens } from '../metadata/access-tokens.ts'
import type { Account } from '../metadata/accounts.ts'
import type { Db } from '../metadata/open.ts'
import type { AccountDirectory } from './account-directory.ts'
import { CredentialUses } from './credential-uses.ts'
import { EpochMemory } from './rights-epoch.ts'
import { formatScopes, parseScopes, type Scope } from './scopes.ts'
import { hashSecretToken, isSecretToken, makeSecretToken } from './secret-token.ts'
import type { AdminContext } from './settings.ts'

export const ACCESS_TOKEN_LIMITS = { rememberedMax: 10_000 } as const

/** `credential` names the token (`kind:hash`) without telling it. */
export type TokenBearer = { account: Account; scopes: ReadonlySet<Scope>; credential: string }
export type NewAccessToken = {
  accountId: number
  title: string
  scopes: readonly Scope[]
  expiresAtMs?: number | undefined
  applicationId?: number
}
type KnownToken = { id: number; accountId: number; scopes: ReadonlySet<Scope>; expiresAtMs: number | undefined }

const CREDENTIAL = 'access_token:'

export class AccessTokens {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #known: EpochMemory<KnownToken>
  readonly #uses: CredentialUses

  constructor(context: AdminContext, accounts: AccountDirectory) {
    this.#context = context
    this.#accounts = accounts
    this.#known = new EpochMemory(context.epoch, ACCESS_TOKEN_LIMITS.rememberedMax)
    this.#uses = new CredentialUses(context, touchAccessTokens)
  }

  /**
   * Make a token for an account; it is told once. `db` may be a transaction: the token is good once that is committed.
   */
  async create(db: Db, options: NewAccessToken): Promise<string> {
    return (await this.insert(db, options)).token
  }

  /** As `create`, with what is kept of it. */
  async insert(db: Db, options: NewAccessToken): Promise<{ token: string; row: AccessToken }> {
    const token = makeSecretToken()
    const tokenSha256 = hashSecretToken(token)
    const row = await insertAccessToken(db, {
      accountId: options.accountId,
      title: options.title,
      tokenSha256,
      tokenEncrypted: this.#context.secretBox.seal(token, `access_token:${tokenSha256}`),
      scope: formatScopes(options.scopes),
      createdAtMs: this.#context.clock(),
      expiresAtMs: options.expiresAtMs,
      applicationId: options.applicationId,
    })
    return { token, row }
  }

  /** Without waiting; undefined also when it is not known yet. */
  recall(token: string): TokenBearer | undefined {
    if (!isSecretToken(token)) return undefined
    const digest = hashSecretToken(token)
    const known = this.#known.find(digest)
    const account = known && this.#accounts.recallById(known.accountId)
    return account && this.#isAlive(known) ? this.#use(known, account, digest) : undefined
  }

  /** Undefined for a token that is unknown or over, or whose account is gone or disabled. */
  async find(token: string): Promise<TokenBearer | undefined> {
    if (!isSecretToken(token)) return undefined
    const digest = hashSecretToken(token)
    const known = this.#known.find(digest) ?? (await this.#load(digest))
    if (known === undefined || !this.#isAlive(known)) return undefined
    const account = await this.#accounts.findById(known.accountId)
    return account && this.#use(known, account, digest)
  }

  /** Whether the token that a credential names is the account's and good; undefined when that is not known yet. */
  recallLive(account: Account, credential: string): boolean | undefined {
    if (!credential.startsWith(CREDENTIAL)) return undefined
    const known = this.#known.find(credential.slice(CREDENTIAL.length))
    return known && known.accountId === account.id && this.#isAlive(known)
  }

  /** As `recallLive`, and asks the database when it must. */
  async isLive(account: Account, credential: string): Promise<boolean> {
    if (!credential.startsWith(CREDENTIAL)) return false
    const digest = credential.slice(CREDENTIAL.length)
    const known = this.#known.find(digest) ?? (await this.#load(digest))
    return known !== undefined && known.accountId === account.id && this.#isAlive(known)
  }

  lastUsedAtMs(token: AccessToken): number | undefined {
    return this.#uses.lastUsedAtMs(token)
  }

  /** Write the last uses that have gathered. Never rejects. */
  flush(): Promise<void> {
    return this.#uses.flush()
  }

  #use(known: KnownToken, account: Account, digest: string): TokenBearer {
    this.#uses.note(known.id)
    return { account, scopes: known.scopes, credential: CREDENTIAL + digest }
  }

  #isAlive(known: KnownToken): boolean {
    return known.expiresAtMs === undefined || known.expiresAtMs > this.#context.clock()
  }

  async #load(digest: string): Promise<KnownToken | undefined> {
    const epoch = this.#context.epoch.current
    const row = await findAccessToken(this.#context.metadata.db, digest)
    if (row === undefined) return undefined
    const { id, accountId, expiresAtMs } = row
    const known: KnownToken = { id, accountId, expiresAtMs, scopes: parseScopes(row.scope) }
    this.#known.set(digest, known, epoch)
    return known
  }
}
