/** Who may pull, asked by `/v2` and the token service alike. */

import { findOrganization } from '../metadata/organizations.ts'
import { isOrganizationName } from '../oci/repository-name.ts'
import type { AccountDirectory } from './account-directory.ts'
import type { Principal, PullPermission } from './identity.ts'
import type { Rights } from './rights.ts'
import { EpochMemory } from './rights-epoch.ts'
import type { AdminContext } from './settings.ts'

const permissionsRememberedMax = 50_000

export class OrganizationPullPermission implements PullPermission {
  readonly #context: AdminContext
  readonly #accounts: AccountDirectory
  readonly #rights: Rights
  readonly #known: EpochMemory<boolean>

  constructor(context: AdminContext, accounts: AccountDirectory, rights: Rights) {
    this.#context = context
    this.#accounts = accounts
    this.#rights = rights
    this.#known = new EpochMemory(context.epoch, permissionsRememberedMax)
  }

  recall(principal: Principal, organization: string): boolean | undefined {
    return this.#known.find(keyOf(principal, organization))
  }

  /**
   * An organization that exists opens to everyone when it allows anonymous pulls, else to the members of its teams and
   * to superusers with full access. Source: DESIGN part 6.
   */
  async canPull(principal: Principal, organization: string): Promise<boolean> {
    if (!isOrganizationName(organization)) return false
    return this.#known.get(keyOf(principal, organization), () => this.#judge(principal, organization))
  }

  async #judge(principal: Principal, name: string): Promise<boolean> {
    const account = principal.kind === 'account' ? await this.#accounts.findById(principal.accountId) : undefined
    if (principal.kind === 'account' && account?.username !== principal.username) return false
    const organization = await findOrganization(this.#context.metadata.db, name)
    if (organization === undefined) return false
    if (organization.anonymousPulls && this.#context.settings.hasAnonymousAccess) return true
    if (account === undefined) return false
    if (this.#rights.readsEverything(account)) return true
    return (await this.#rights.rolesIn(organization.id, account.id)).length > 0
  }
}

function keyOf(principal: Principal, organization: string): string {
  // The id alone would do, were ids never given again.
  return principal.kind === 'anonymous'
    ? ` ${organization}`
    : `${principal.accountId} ${principal.username} ${organization}`
}
