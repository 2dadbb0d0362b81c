/** What users do with their own account: change password and e-mail, delete it. */
import { updateAccount } from '../metadata/account-changes.ts'
import { addLogEntry, type LogKind } from '../metadata/log-entries.ts'
import type { Db } from '../metadata/open.ts'
import { deleteSessionsOf } from '../metadata/sessions.ts'
import { removeAccount } from './account-removal.ts'
import { unauthorized } from './admin-error.ts'
import { type AccountCaller, type Caller, requireAccount } from './caller.ts'
import { parseEmail } from './organization-changes.ts'
import { hashNewPassword } from './password-hashing.ts'
import type { Passwords } from './passwords.ts'
import type { Rights } from './rights.ts'
import { scopesGive } from './scopes.ts'
import type { OpenedSession, Sessions } from './sessions.ts'
import type { AdminContext } from './settings.ts'

/** Undefined: unchanged. A null e-mail is none. */
export type OwnChanges = { password: string | undefined; email: string | null | undefined }

export class OwnAccount {
  readonly #context: AdminContext
  readonly #passwords: Passwords
  readonly #rights: Rights
  readonly #sessions: Sessions

  constructor(context: AdminContext, passwords: Passwords, rights: Rights, sessions: Sessions) {
    this.#context = context
    this.#passwords = passwords
    this.#rights = rights
    this.#sessions = sessions
  }

  /**
   * A new password ends every session, and registry tokens that were made with the old one; the caller's session is
   * replaced by the one this resolves to. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, INVALID_REQUEST,
   * TOO_MANY_REQUESTS.
   */
  async update(caller: Caller, changes: OwnChanges, address: string): Promise<OpenedSession | undefined> {
    const own = ownerOf(caller)
    const { password } = changes
    const email = changes.email === undefined ? undefined : { email: parseEmail(changes.email) }
    const hash =
      password === undefined ? undefined : { passwordHash: await hashNewPassword(this.#passwords, password, address) }
    if (email === undefined && hash === undefined) return undefined
    await this.#context.metadata.transaction(async (tx) => {
      await updateAccount(tx, own.account.id, { ...email, ...hash })
      if (email !== undefined) await this.#log(tx, 'user_change_email', own, address)
      if (hash === undefined) return
      await deleteSessionsOf(tx, own.account.id)
      await this.#log(tx, 'user_change_password', own, address)
    })
    this.#changed('user_changed', own)
    return hash === undefined || own.session === undefined ? undefined : this.#sessions.open(own.account)
  }

  /** Errors: as `removeAccount`; AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  async delete(caller: Caller, address: string): Promise<void> {
    const own = ownerOf(caller)
    await this.#context.metadata.transaction(async (tx) => {
      await removeAccount(tx, own.account, this.#rights, this.#context.settings)
      await this.#log(tx, 'user_delete', own, address)
    })
    this.#changed('user_deleted', own)
  }

  #log(tx: Db, kind: LogKind, { account }: AccountCaller, address: string): Promise<void> {
    const entry = { organizationId: undefined, kind, nowMs: this.#context.clock(), accountId: account.id, address }
    return addLogEntry(tx, { ...entry, metadata: { username: account.username } })
  }

  #changed(event: string, { account: { username } }: AccountCaller): void {
    this.#context.epoch.advance()
    this.#context.report(event, { username, by: username })
  }
}

function ownerOf(caller: Caller): AccountCaller {
  const own = requireAccount(caller)
  if (!scopesGive(own.scopes, 'administerUser')) throw unauthorized()
  return own
}
