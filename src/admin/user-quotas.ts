/** Quay's quotas of users. Users hold no storage here, only organizations do: so they have none. */
import { findAccount } from '../metadata/accounts.ts'
import { invalidRequest, notFound } from './admin-error.ts'
import type { AdminContext } from './settings.ts'
import { isUsername } from './username.ts'

export class UserQuotas {
  readonly #context: AdminContext

  constructor(context: AdminContext) {
    this.#context = context
  }

  /** A user's: none. Errors: AdminError NOT_FOUND. */
  async list(username: string): Promise<readonly never[]> {
    await this.#requireUser(username)
    return []
  }

  /** Errors: AdminError INVALID_REQUEST, since it cannot be; and as `list`. */
  async create(username: string): Promise<never> {
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
