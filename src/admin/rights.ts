/** Who is what: superusers, and the roles of accounts in organizations. */
import type { Account } from '../metadata/accounts.ts'
import type { Organization } from '../metadata/organizations.ts'
import { findRoles, type TeamRole } from '../metadata/teams.ts'
import { unauthorized } from './admin-error.ts'
import type { AccountCaller, Caller } from './caller.ts'
import { mayDo } from './permission-decision.ts'
import type { RuleName, Standing } from './permission-rules.ts'
import { EpochMemory } from './rights-epoch.ts'
import { scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'

/** What a caller is to an organization. An administrator is a member too. */
export type OrganizationStanding = { isAdmin: boolean; isMember: boolean; maySeeAll: boolean }

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

  /** What an account is, wherever it asks. */
  standingsOf(account: Account): Standing[] {
    if (account.kind === 'robot') return ['robot']
    const standings: Standing[] = ['user']
    if (this.isSuperuser(account)) {
      standings.push(this.#context.settings.hasSuperusersFullAccess ? 'superuser' : 'limitedSuperuser')
    }
    if (this.isReader(account)) standings.push('readonlySuperuser')
    return standings
  }

  /** What it is in an organization beside that. */
  async standingsIn(account: Account, organization: Organization): Promise<Standing[]> {
    const standings = this.standingsOf(account)
    const roles = await this.rolesIn(organization.id, account.id)
    if (account.kind === 'robot') return roles.length === 0 ? standings : [...standings, 'teamRobot']
    standings.push(...roles)
    if (roles.includes('admin') && this.#context.settings.mayOrganizationAdminsEditQuota) standings.push('quotaAdmin')
    return standings
  }

  /** A team's role *admin* administers; every role is a membership. A token is held to its scopes. */
  async standing(caller: Caller, organization: Organization): Promise<OrganizationStanding> {
    if (caller.kind === 'anonymous') return { isAdmin: false, isMember: false, maySeeAll: false }
    const { account, scopes } = caller
    const standings = await this.standingsIn(account, organization)
    const obeys = (rule: RuleName) => mayDo(standings, scopes, { rule, effect: 'reads' })
    return {
      isAdmin: obeys('organization.administer'),
      isMember: obeys('organization.belong'),
      maySeeAll: this.isReader(account) && scopesGive(scopes, 'superuser'),
    }
  }
}
