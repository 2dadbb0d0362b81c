/** Accounts that may be used, remembered until a right changes. */
import { type Account, findAccount, findAccountById } from '../metadata/accounts.ts'
import { isOwnerLive } from '../metadata/robots.ts'
import { EpochMemory } from './rights-epoch.ts'
import type { AdminContext } from './settings.ts'
import { isUsername } from './username.ts'

const accountsRememberedMax = 10_000

export class AccountDirectory {
  readonly #context: AdminContext
  readonly #byId: EpochMemory<Account>
  readonly #byUsername: EpochMemory<Account>

  constructor(context: AdminContext) {
    this.#context = context
    this.#byId = new EpochMemory(context.epoch, accountsRememberedMax)
    this.#byUsername = new EpochMemory(context.epoch, accountsRememberedMax)
  }

  /** Without waiting; undefined also when it is not known yet. */
  recallById(id: number): Account | undefined {
    return this.#byId.find(String(id))
  }

  /** Without waiting; undefined also when it is not known yet. */
  recall(username: string): Account | undefined {
    return this.#byUsername.find(username)
  }

  /** Undefined when there is none, or it is disabled; or for a robot, whose owner is. */
  async findById(id: number): Promise<Account | undefined> {
    return this.recallById(id) ?? (await this.#load((db) => findAccountById(db, id)))
  }

  /** A user. Undefined when there is none, or it is disabled. */
  async find(username: string): Promise<Account | undefined> {
    if (!isUsername(username)) return undefined // Nor may it reach the database: PostgreSQL has no NUL.
    return this.recall(username) ?? (await this.#load((db) => findAccount(db, username)))
  }

  async #load(
    find: (db: AdminContext['metadata']['db']) => Promise<Account | undefined>,
  ): Promise<Account | undefined> {
    const epoch = this.#context.epoch.current
    const account = await find(this.#context.metadata.db)
    if (account === undefined || !account.isEnabled) return undefined
    if (account.kind === 'robot' && !(await isOwnerLive(this.#context.metadata.db, account))) return undefined
    this.#byId.set(String(account.id), account, epoch)
    this.#byUsername.set(account.username, account, epoch)
    return account
  }
}
