/**
 * Application tokens: registry passwords of users, with the user name `$app`. Found by their SHA-256, stored sealed,
 * and told again to their own user.
 */
import { randomUUID } from 'node:crypto'
import { DAY_MS, SECOND_MS } from '../base/units.ts'
import type { Account } from '../metadata/accounts.ts'
import {
  type AppToken,
  countAppTokens,
  deleteAppToken,
  findAppToken,
  findAppTokenByHash,
  insertAppToken,
  listAppTokens,
  touchAppTokens,
} from '../metadata/app-tokens.ts'
import { addLogEntry, type LogKind } from '../metadata/log-entries.ts'
import type { Db } from '../metadata/open.ts'
import type { AccountDirectory } from './account-directory.ts'
import { invalidRequest, notFound, unauthorized } from './admin-error.ts'
import { type AccountCaller, type Caller, requireAccount } from './caller.ts'
import { CredentialUses } from './credential-uses.ts'
import { type Page, type PageQuery, readPage } from './page.ts'
import { EpochMemory } from './rights-epoch.ts'
import { scopesGive } from './scopes.ts'
import { hashSecretToken, isSecretToken, makeSecretToken } from './secret-token.ts'
import type { AdminContext } from './settings.ts'
import { formatDate } from './tag-view.ts'

export const APP_TOKEN_LIMITS = {
  rememberedMax: 10_000,
  /** Of one user. */
  tokensMax: 1000,
  titleCharactersMax: 255,
} as const

/** Quay's user name for them. */
export const APP_TOKEN_USERNAME = '$app'

const CREDENTIAL = 'app_token:'
/** Quay's: a token expires soon in the last tenth of its life, or of four weeks when tokens have none. */
const soonMs = (lifetimeSeconds: number | undefined) =>
  ((lifetimeSeconds ?? (28 * DAY_MS) / SECOND_MS) * SECOND_MS) / 10

export type AppTokenView = {
  uuid: string
  title: string
  last_accessed: string | null
  created: string
  expiration: string | null
  token_code?: string
}

type KnownToken = { id: number; accountId: number; expiresAtMs: number | undefined }

export class AppTokens {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #known: EpochMemory<KnownToken>
  readonly #uses: CredentialUses

  constructor(context: AdminContext, accounts: AccountDirectory) {
    this.#context = context
    this.#accounts = accounts
    this.#known = new EpochMemory(context.epoch, APP_TOKEN_LIMITS.rememberedMax)
    this.#uses = new CredentialUses(context, touchAppTokens)
  }

  /** The caller's own, without their codes; `expiring`: only those that expire soon. Errors: as `create`. */
  async list(caller: Caller, query: PageQuery & { expiring: boolean }): Promise<Page<AppTokenView>> {
    const { account } = ownerOf(caller)
    const { clock, metadata, settings } = this.#context
    const expiresBeforeMs = query.expiring ? clock() + soonMs(settings.appTokenSeconds) : undefined
    const afterId = query.after === undefined ? undefined : Number(query.after)
    if (afterId !== undefined && !Number.isSafeInteger(afterId)) throw invalidRequest('next_page: is not of this list')
    const page = await readPage(
      query,
      ({ limit }) => listAppTokens(metadata.db, account.id, { afterId, limit, expiresBeforeMs }),
      (token) => String(token.id),
    )
    return { next: page.next, entries: page.entries.map((token) => this.#view(token)) }
  }

  /** Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, INVALID_REQUEST. */
  async create(caller: Caller, title: string, address: string): Promise<AppTokenView> {
    const { account } = ownerOf(caller)
    if (title.trim() === '' || title.length > APP_TOKEN_LIMITS.titleCharactersMax) {
      throw invalidRequest(`title: expected 1 to ${APP_TOKEN_LIMITS.titleCharactersMax} characters`)
    }
    const { clock, metadata, secretBox, settings } = this.#context
    const [code, uuid, nowMs] = [makeSecretToken(), randomUUID(), clock()]
    const token = await metadata.transaction(async (tx) => {
      if ((await countAppTokens(tx, account.id)) >= APP_TOKEN_LIMITS.tokensMax) {
        throw invalidRequest(`there are ${APP_TOKEN_LIMITS.tokensMax} application tokens already: revoke some`)
      }
      const inserted = await insertAppToken(tx, {
        uuid,
        accountId: account.id,
        title,
        tokenSha256: hashSecretToken(code),
        tokenEncrypted: secretBox.seal(code, contextOf(uuid)),
        createdAtMs: nowMs,
        expiresAtMs: settings.appTokenSeconds === undefined ? undefined : nowMs + settings.appTokenSeconds * SECOND_MS,
      })
      await this.#log(tx, 'create_app_specific_token', account, inserted, address)
      return inserted
    })
    return { ...this.#view(token), token_code: code }
  }

  /** With its code (Quay). Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. */
  async get(caller: Caller, uuid: string): Promise<AppTokenView> {
    const { account } = ownerOf(caller)
    const token = isUuid(uuid) ? await findAppToken(this.#context.metadata.db, account.id, uuid) : undefined
    if (token === undefined) throw notFound('application token')
    return { ...this.#view(token), token_code: this.#context.secretBox.open(token.tokenEncrypted, contextOf(uuid)) }
  }

  /** Registry tokens that were made with it end too. Errors: as `get`. */
  async revoke(caller: Caller, uuid: string, address: string): Promise<void> {
    const { account } = ownerOf(caller)
    await this.#context.metadata.transaction(async (tx) => {
      const token = isUuid(uuid) ? await deleteAppToken(tx, account.id, uuid) : undefined
      if (token === undefined) throw notFound('application token')
      await this.#log(tx, 'revoke_app_specific_token', account, token, address)
    })
    this.#context.epoch.advance()
  }

  /** Without waiting; undefined also when it is not known yet. */
  recall(code: string): { account: Account; credential: string } | undefined {
    if (!isSecretToken(code)) return undefined
    const digest = hashSecretToken(code)
    const known = this.#known.find(digest)
    const account = known && this.#accounts.recallById(known.accountId)
    return account && this.#isAlive(known) ? this.#use(known, account, digest) : undefined
  }

  /** Undefined for a token that is unknown or over, or whose user is gone or disabled. */
  async find(code: string): Promise<{ account: Account; credential: string } | undefined> {
    if (!isSecretToken(code)) return undefined
    const digest = hashSecretToken(code)
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

  /** Write the last uses that have gathered. Never rejects. */
  flush(): Promise<void> {
    return this.#uses.flush()
  }

  #use(known: KnownToken, account: Account, digest: string): { account: Account; credential: string } {
    this.#uses.note(known.id)
    return { account, credential: CREDENTIAL + digest }
  }

  #isAlive(known: KnownToken): boolean {
    return known.expiresAtMs === undefined || known.expiresAtMs > this.#context.clock()
  }

  async #load(digest: string): Promise<KnownToken | undefined> {
    const epoch = this.#context.epoch.current
    const row = await findAppTokenByHash(this.#context.metadata.db, digest)
    if (row === undefined) return undefined
    const known: KnownToken = { id: row.id, accountId: row.accountId, expiresAtMs: row.expiresAtMs }
    this.#known.set(digest, known, epoch)
    return known
  }

  #view(token: AppToken): AppTokenView {
    const lastUsedAtMs = this.#uses.lastUsedAtMs(token)
    return {
      uuid: token.uuid,
      title: token.title,
      last_accessed: lastUsedAtMs === undefined ? null : formatDate(lastUsedAtMs),
      created: formatDate(token.createdAtMs),
      expiration: token.expiresAtMs === undefined ? null : formatDate(token.expiresAtMs),
    }
  }

  #log(tx: Db, kind: LogKind, account: Account, token: AppToken, address: string): Promise<void> {
    const metadata = { app_specific_token: token.uuid, app_specific_token_title: token.title }
    const entry = { organizationId: undefined, kind, nowMs: this.#context.clock(), accountId: account.id, address }
    return addLogEntry(tx, { ...entry, metadata })
  }
}

/** A token for the API must give both what it administers and the pulls that it would hand on. */
function ownerOf(caller: Caller): AccountCaller {
  const owner = requireAccount(caller)
  if (!scopesGive(owner.scopes, 'administerUser') || !scopesGive(owner.scopes, 'pull')) throw unauthorized()
  return owner
}

function contextOf(uuid: string): string {
  return `app_token:${uuid}:token_encrypted`
}

function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)
}
