/** Sessions: browsers that are signed in. The cookie is 256 random bits; only its hash is stored. */
import { DAY_MS, MINUTE_MS } from '../base/units.ts'
import type { Account } from '../metadata/accounts.ts'
import { addLogEntry, type LogKind } from '../metadata/log-entries.ts'
import {
  deleteSession,
  deleteSessionsOf,
  findSession,
  insertSession,
  renewSession,
  sweepSessions,
  touchSession,
} from '../metadata/sessions.ts'
import type { AccountDirectory } from './account-directory.ts'
import { type AccountCaller, type Caller, requireAccount } from './caller.ts'
import type { Credentials } from './credentials.ts'
import { csrfTokenOf } from './csrf.ts'
import { hashSecretToken, isSecretToken, makeSecretToken } from './secret-token.ts'
import type { AdminContext } from './settings.ts'

export const SESSION_LIMITS = {
  /** Without a request. */
  idleMs: 7 * DAY_MS,
  /** Whatever is done with it. */
  lifetimeMs: 30 * DAY_MS,
  /** Of one account; the one that was not seen for longest ends. */
  perAccountMax: 50,
  /** When it was last seen is written at most this often. */
  touchMs: MINUTE_MS,
  /** Rows that one sweep removes in one transaction. */
  sweptRowsMax: 100,
} as const

/** What goes to the browser. */
export type OpenedSession = { id: string; csrfToken: string }

export class Sessions {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #credentials: Credentials

  constructor(context: AdminContext, accounts: AccountDirectory, credentials: Credentials) {
    this.#context = context
    this.#accounts = accounts
    this.#credentials = credentials
  }

  /**
   * Sign in with a password. Always a new session: one that somebody else may know is never signed in. The one that the
   * browser had (`formerId`) ends. Errors: CredentialsError.
   */
  async signIn(username: string, password: string, address: string, formerId?: string): Promise<OpenedSession> {
    const account = await this.#credentials.verifyPassword(username, password, address)
    if (formerId !== undefined) await this.end(formerId)
    const opened = await this.open(account)
    await this.#log('login_success', account, address)
    return opened
  }

  /** A session of an account that has just shown who it is. */
  async open(account: Account): Promise<OpenedSession> {
    const id = makeSecretToken()
    const { metadata, clock } = this.#context
    const session = { idSha256: hashSecretToken(id), accountId: account.id, nowMs: clock() }
    await metadata.transaction((tx) => insertSession(tx, session, SESSION_LIMITS.perAccountMax))
    return { id, csrfToken: csrfTokenOf(id) }
  }

  /** Undefined for a session that is unknown or over, or whose account is gone or disabled. */
  async find(id: string): Promise<AccountCaller | undefined> {
    if (!isSecretToken(id)) return undefined
    const { metadata, clock } = this.#context
    const session = await findSession(metadata.db, hashSecretToken(id))
    const nowMs = clock()
    if (session === undefined) return undefined
    if (session.lastSeenAtMs + SESSION_LIMITS.idleMs <= nowMs) return undefined
    if (session.createdAtMs + SESSION_LIMITS.lifetimeMs <= nowMs) return undefined
    const account = await this.#accounts.findById(session.accountId)
    if (account === undefined || account.kind !== 'user') return undefined
    if (session.lastSeenAtMs + SESSION_LIMITS.touchMs <= nowMs) await this.#touch(session.idSha256, nowMs)
    const { idSha256, signedInAtMs } = session
    return { kind: 'account', account, scopes: undefined, session: { idSha256, signedInAtMs } }
  }

  /**
   * Give the password again, for a fresh login; without a session there is nothing to renew.
   * Errors: CredentialsError; AdminError INVALID_TOKEN.
   */
  async verify(caller: Caller, password: string, address: string): Promise<void> {
    const { account, session } = requireAccount(caller)
    await this.#credentials.verifyPassword(account.username, password, address)
    if (session !== undefined) await renewSession(this.#context.metadata.db, session.idSha256, this.#context.clock())
  }

  async end(id: string): Promise<void> {
    if (isSecretToken(id)) await deleteSession(this.#context.metadata.db, hashSecretToken(id))
  }

  /** The caller's own. */
  async signOut(caller: Caller, address: string): Promise<void> {
    if (caller.kind === 'anonymous' || caller.session === undefined) return
    await deleteSession(this.#context.metadata.db, caller.session.idSha256)
    await this.#log('logout_success', caller.account, address)
  }

  /** All of the account end; the caller's own, if it came with one, is replaced. */
  async replaceAll(caller: AccountCaller): Promise<OpenedSession | undefined> {
    await deleteSessionsOf(this.#context.metadata.db, caller.account.id)
    return caller.session === undefined ? undefined : this.open(caller.account)
  }

  /** Remove sessions that are over, in steps. Resolves to how many. */
  async sweep(): Promise<number> {
    const { metadata, clock } = this.#context
    const { idleMs, lifetimeMs, sweptRowsMax: rowsMax } = SESSION_LIMITS
    const over = { seenBeforeMs: clock() - idleMs, createdBeforeMs: clock() - lifetimeMs, rowsMax }
    let total = 0
    for (;;) {
      const swept = await sweepSessions(metadata.db, over)
      total += swept
      if (swept < rowsMax) return total
    }
  }

  /** A side job: that it cannot be written does not change whether the session is good. */
  async #touch(idSha256: string, nowMs: number): Promise<void> {
    try {
      await touchSession(this.#context.metadata.db, idSha256, nowMs)
    } catch (error) {
      this.#context.report('session_touch_failed', { error })
    }
  }

  #log(kind: LogKind, account: Account, address: string): Promise<void> {
    const { metadata, clock } = this.#context
    const about = { type: 'quayauth', username: account.username }
    const who = { organizationId: undefined, accountId: account.id, address }
    return addLogEntry(metadata.db, { ...who, kind, nowMs: clock(), metadata: about })
  }
}
