/** Quay's quotas of users. Users hold no storage here, only organizations do: so they have none. */
import { findAccount } from '../metadata/accounts.ts'
import { invalidRequest, notFound, unauthorized } from './admin-error.ts'
import { type Caller, requireAccount } from './caller.ts'
import { requireSuperuserEyes } from './quotas.ts'
import type { Rights } from './rights.ts'
import { scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'
import { isUsername } from './username.ts'

export class UserQuotas {
  readonly #context: AdminContext
  readonly #rights: Rights

  constructor(context: AdminContext, rights: Rights) {
    this.#context = context
    this.#rights = rights
  }

  /** One's own: none. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  listOwn(caller: Caller): readonly never[] {
    if (!scopesGive(requireAccount(caller).scopes, 'readUser')) throw unauthorized()
    return []
  }

  /** A user's: none. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. */
  async list(caller: Caller, username: string): Promise<readonly never[]> {
    requireSuperuserEyes(this.#rights, caller)
    await this.#requireUser(username)
    return []
  }

  /** Errors: AdminError INVALID_REQUEST, since it cannot be; and as `list`. */
  async create(caller: Caller, username: string): Promise<never> {
    const by = requireAccount(caller)
    if (!this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    this.#rights.refuseReader(by)
    await this.#requireUser(username)
    throw invalidRequest(
      `only organizations hold storage: set the quota of one, by POST /superuser/organization/<name>/quota`,
    )
  }

  async #requireUser(username: string): Promise<void> {
    const account = isUsername(username) ? await findAccount(this.#context.metadata.db, username) : undefined
    if (account === undefined) throw notFound('user')
  }
}
