/** Who is what: superusers, and the roles of accounts in organizations. */
import type { Account } from '../metadata/accounts.ts'
import type { Organization } from '../metadata/organizations.ts'
import { findRoles, type TeamRole } from '../metadata/teams.ts'
import { unauthorized } from './admin-error.ts'
import type { AccountCaller, Caller } from './caller.ts'
import { EpochMemory } from './rights-epoch.ts'
import { scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'

/** What a caller is to an organization. An administrator is a member too. */
export type Standing = { isAdmin: boolean; isMember: boolean; maySeeAll: boolean }

const standingsRememberedMax = 50_000

export class Rights {
  readonly #context: AdminContext
  readonly #roles: EpochMemory<readonly TeamRole[]>
  readonly #superUsers: ReadonlySet<string>
  readonly #readers: ReadonlySet<string>

  constructor(context: AdminContext) {
    this.#context = context
    this.#roles = new EpochMemory(context.epoch, standingsRememberedMax)
    this.#superUsers = new Set(context.settings.superUsers)
    this.#readers = new Set(context.settings.globalReadonlySuperUsers)
  }

  /** Marked (the first user), or listed in SUPER_USERS. */
  isSuperuser(account: Account): boolean {
    return account.kind === 'user' && (account.isSuperuser || this.#superUsers.has(account.username))
  }

  /** Listed in GLOBAL_READONLY_SUPER_USERS: reads everything, changes nothing. */
  isReader(account: Account): boolean {
    return account.kind === 'user' && this.#readers.has(account.username)
  }

  /** Whether everything is open to this account, to read. */
  readsEverything(account: Account): boolean {
    return this.isReader(account) || (this.isSuperuser(account) && this.#context.settings.hasSuperusersFullAccess)
  }

  actsAsSuperuser(caller: Caller): caller is AccountCaller {
    return caller.kind === 'account' && this.isSuperuser(caller.account) && scopesGive(caller.scopes, 'superuser')
  }

  /** Errors: AdminError INSUFFICIENT_SCOPE for those who may read everything and change nothing. */
  refuseReader(caller: AccountCaller): void {
    if (this.isReader(caller.account)) throw unauthorized()
  }

  rolesIn(organizationId: number, accountId: number): Promise<readonly TeamRole[]> {
    return this.#roles.get(`${accountId} ${organizationId}`, () =>
      findRoles(this.#context.metadata.db, { organizationId, accountId }),
    )
  }

  /** A team's role *admin* administers; every role is a membership. A token is held to its scopes. */
  async standing(caller: Caller, organization: Organization): Promise<Standing> {
    if (caller.kind === 'anonymous') return { isAdmin: false, isMember: false, maySeeAll: false }
    const { account, scopes } = caller
    const roles = await this.rolesIn(organization.id, account.id)
    const hasFullAccess = this.#context.settings.hasSuperusersFullAccess && this.actsAsSuperuser(caller)
    const isAdmin = hasFullAccess || (roles.includes('admin') && scopesGive(scopes, 'administerOrganizations'))
    const isMember = isAdmin || (roles.length > 0 && scopesGive(scopes, 'beMember'))
    return { isAdmin, isMember, maySeeAll: this.isReader(account) && scopesGive(scopes, 'superuser') }
  }
}
