/** Access tokens: 256 random bits with scopes, Quay's OAuth tokens. Found by their SHA-256, stored sealed. */
import { createHash, randomBytes } from 'node:crypto'
import { PassingMap } from '../base/bounded-map.ts'
import { MINUTE_MS } from '../base/units.ts'
import { findAccessToken, insertAccessToken, touchAccessToken } from '../metadata/access-tokens.ts'
import type { Account } from '../metadata/accounts.ts'
import type { Db } from '../metadata/open.ts'
import type { AccountDirectory } from './account-directory.ts'
import { EpochMemory } from './rights-epoch.ts'
import { formatScopes, parseScopes, type Scope } from './scopes.ts'
import type { AdminContext } from './settings.ts'

export const ACCESS_TOKEN_LIMITS = {
  rememberedMax: 10_000,
  /** Last use is written at most this often. */
  touchMs: MINUTE_MS,
} as const

const tokenBytes = 32
const TOKEN = /^[A-Za-z0-9_-]{43}$/

export type TokenBearer = { account: Account; scopes: ReadonlySet<Scope> }
type KnownToken = { id: number; accountId: number; scopes: ReadonlySet<Scope>; expiresAtMs: number | undefined }

export class AccessTokens {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #known: EpochMemory<KnownToken>
  readonly #touched = new PassingMap<true>(ACCESS_TOKEN_LIMITS.rememberedMax)

  constructor(context: AdminContext, accounts: AccountDirectory) {
    this.#context = context
    this.#accounts = accounts
    this.#known = new EpochMemory(context.epoch, ACCESS_TOKEN_LIMITS.rememberedMax)
  }

  /**
   * Make a token for an account; it is told once. `db` may be a transaction: the token is good once that is committed.
   */
  async create(
    db: Db,
    options: { accountId: number; title: string; scopes: readonly Scope[]; expiresAtMs?: number },
  ): Promise<string> {
    const token = randomBytes(tokenBytes).toString('base64url')
    const tokenSha256 = sha256(token)
    await insertAccessToken(db, {
      accountId: options.accountId,
      title: options.title,
      tokenSha256,
      tokenEncrypted: this.#context.secretBox.seal(token, `access_token:${tokenSha256}`),
      scope: formatScopes(options.scopes),
      createdAtMs: this.#context.clock(),
      expiresAtMs: options.expiresAtMs,
    })
    return token
  }

  /** Without waiting; undefined also when it is not known yet. */
  recall(token: string): TokenBearer | undefined {
    if (!TOKEN.test(token)) return undefined
    const known = this.#known.find(sha256(token))
    const account = known && this.#accounts.recallById(known.accountId)
    return account && this.#isAlive(known) ? { account, scopes: known.scopes } : undefined
  }

  /** Undefined for a token that is unknown or over, or whose account is gone or disabled. */
  async find(token: string): Promise<TokenBearer | undefined> {
    if (!TOKEN.test(token)) return undefined
    const digest = sha256(token)
    const known = this.#known.find(digest) ?? (await this.#load(digest))
    if (known === undefined || !this.#isAlive(known)) return undefined
    const account = await this.#accounts.findById(known.accountId)
    if (account === undefined) return undefined
    await this.#touch(known)
    return { account, scopes: known.scopes }
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

  /** A side job: that it cannot be written does not change whether the token is good. */
  async #touch(known: KnownToken): Promise<void> {
    const nowMs = this.#context.clock()
    const key = String(known.id)
    if (this.#touched.find(key, nowMs) === true) return
    this.#touched.set(key, true, nowMs + ACCESS_TOKEN_LIMITS.touchMs)
    try {
      await touchAccessToken(this.#context.metadata.db, known.id, nowMs)
    } catch (error) {
      this.#context.report('access_token_touch_failed', { error })
    }
  }
}

function sha256(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
