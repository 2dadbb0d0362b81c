/** Who may pull, asked by `/v2` and the token service alike. */

import type { Account } from '../metadata/accounts.ts'
import { findOrganization, type Organization } from '../metadata/organizations.ts'
import { findRepositoryRoles } from '../metadata/repository-permissions.ts'
import { isOrganizationName, parseRepositoryName } from '../oci/repository-name.ts'
import type { AccountDirectory } from './account-directory.ts'
import { findStoredRepository } from './found-repository.ts'
import type { Principal, PullPermission } from './identity.ts'
import { mayDo } from './permission-decision.ts'
import { STANDING_OF_ROLE, type Standing } from './permission-rules.ts'
import type { Rights } from './rights.ts'
import { EpochMemory } from './rights-epoch.ts'
import type { AdminContext } from './settings.ts'

const permissionsRememberedMax = 50_000

export class OrganizationPullPermission implements PullPermission {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #rights: Rights
  readonly #known: EpochMemory<boolean>
  /** Of those who may not pull from the whole organization. */
  readonly #repositories: EpochMemory<boolean>

  constructor(context: AdminContext, accounts: AccountDirectory, rights: Rights) {
    this.#context = context
    this.#accounts = accounts
    this.#rights = rights
    this.#known = new EpochMemory(context.epoch, permissionsRememberedMax)
    this.#repositories = new EpochMemory(context.epoch, permissionsRememberedMax)
  }

  recall(principal: Principal, organization: string, repository?: string): boolean | undefined {
    const key = keyOf(principal, organization)
    const isOpen = this.#known.find(key)
    // Most may pull everything or nothing of an organization: only the rest asks about the repository.
    return isOpen !== false || repository === undefined ? isOpen : this.#repositories.find(`${key}/${repository}`)
  }

  /**
   * An organization that exists opens to everyone when it allows anonymous pulls, else to the members of its teams and
   * to superusers with full access; a repository of it also to those who have a permission there, by themselves or by
   * a team, and when it is public to every account, and to everyone with FEATURE_ANONYMOUS_ACCESS. A robot is a member
   * when it is in a team. Source: DESIGN part 6; Quay for public repositories.
   */
  async canPull(principal: Principal, organization: string, repository?: string): Promise<boolean> {
    if (!isOrganizationName(organization)) return false
    const key = keyOf(principal, organization)
    if (await this.#known.get(key, () => this.#judge(principal, organization))) return true
    if (repository === undefined) return false
    const judge = () => this.#judgeRepository(principal, organization, repository)
    return this.#repositories.get(`${key}/${repository}`, judge)
  }

  async #judge(principal: Principal, name: string): Promise<boolean> {
    const asked = await this.#find(principal, name)
    if (asked === undefined) return false
    const { account, organization } = asked
    const isOpen = organization.anonymousPulls && this.#context.settings.hasAnonymousAccess
    const standings = account === undefined ? NOBODY : await this.#rights.standingsIn(account, organization)
    return mayPull(isOpen ? [...standings, 'guest'] : standings)
  }

  async #judgeRepository(principal: Principal, organizationName: string, repositoryName: string): Promise<boolean> {
    const asked = await this.#find(principal, organizationName)
    const name = parseRepositoryName(repositoryName)
    if (asked === undefined || name === undefined) return false
    const { db } = this.#context.metadata
    const { account } = asked
    const repository = await findStoredRepository(db, asked.organization, name)
    if (repository === undefined) return false
    const isOpen = repository.isPublic && (account !== undefined || this.#context.settings.hasAnonymousAccess)
    const roles = account === undefined ? [] : await findRepositoryRoles(db, repository.id, account.id)
    const standings = roles.map((role) => STANDING_OF_ROLE[role])
    return mayPull(isOpen ? [...standings, 'guest'] : standings)
  }

  /** Who asks (undefined: nobody) about which organization; undefined when one of both is not there any more. */
  async #find(
    principal: Principal,
    name: string,
  ): Promise<{ account: Account | undefined; organization: Organization } | undefined> {
    const account = principal.kind === 'account' ? await this.#accounts.findById(principal.accountId) : undefined
    if (principal.kind === 'account' && account?.username !== principal.username) return undefined
    const organization = await findOrganization(this.#context.metadata.db, name)
    return organization && { account, organization }
  }
}

const NOBODY: readonly Standing[] = ['anonymous']

/** What the credentials are limited to, is judged with them. */
function mayPull(standings: readonly Standing[]): boolean {
  return mayDo(standings, undefined, { rule: 'repository.pull', effect: 'reads' })
}

function keyOf(principal: Principal, organization: string): string {
  // The id alone would do, were ids never given again.
  return principal.kind === 'anonymous'
    ? ` ${organization}`
    : `${principal.accountId} ${principal.username} ${organization}`
}
