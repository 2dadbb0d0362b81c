/** Every organization, for superusers: list, rename, delete. Source: Quay's endpoints/api/superuser.py. */
import { findChargeBytes } from '../metadata/ledger.ts'
import { addLogEntry } from '../metadata/log-entries.ts'
import {
  listOrganizations,
  lockOrganization,
  markOrganizationDeleted,
  type Organization,
  renameOrganization,
} from '../metadata/organizations.ts'
import { findQuota } from '../metadata/quotas.ts'
import { translateTaken } from './accounts.ts'
import { notFound, unauthorized } from './admin-error.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { type AccountCaller, type Caller, requireAccount } from './caller.ts'
import { checkOrganizationName, type Organizations } from './organizations.ts'
import { type Page, type PageQuery, readPage } from './page.ts'
import { limitSettingsOf, type OrganizationQuotaView, viewOrganizationQuota } from './quota-view.ts'
import type { Rights } from './rights.ts'
import { scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'

export type SuperuserOrganizationView = Partial<OrganizationQuotaView> & { name: string; email: string; avatar: Avatar }

export type SuperuserCall = { caller: Caller; address: string }

export class SuperuserOrganizations {
  readonly #context: AdminContext
  readonly #organizations: Organizations
  readonly #rights: Rights

  constructor(context: AdminContext, organizations: Organizations, rights: Rights) {
    this.#context = context
    this.#organizations = organizations
    this.#rights = rights
  }

  /** Also for who may read everything. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  async list({ caller }: SuperuserCall, query: PageQuery): Promise<Page<SuperuserOrganizationView>> {
    const { account, scopes } = requireAccount(caller)
    const isReader = this.#rights.isReader(account) && scopesGive(scopes, 'superuser')
    if (!isReader && !this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    const { db } = this.#context.metadata
    const page = await readPage(
      query,
      (asked) => listOrganizations(db, asked),
      (organization) => organization.name,
    )
    const entries: SuperuserOrganizationView[] = []
    for (const organization of page.entries) entries.push(await this.#view(organization))
    return { entries, next: page.next }
  }

  /**
   * Rename: its robots' names begin with the new one, the old one is free at once. Undefined leaves it as it is.
   * Errors: as `list`; AdminError NOT_FOUND; INVALID_REQUEST for a bad or taken name.
   */
  async rename(call: SuperuserCall, name: string, newName: string | undefined): Promise<SuperuserOrganizationView> {
    const { organization, by } = await this.#administered(call, name)
    if (newName === undefined || newName === name) return this.#view(organization)
    checkOrganizationName(newName)
    const { metadata, clock } = this.#context
    try {
      await metadata.transaction(async (tx) => {
        if (!(await lockOrganization(tx, organization.id))) throw notFound('organization')
        await renameOrganization(tx, organization, newName)
        const about = { old_name: name, new_name: newName, superuser: by.account.username }
        const { id: accountId } = by.account
        const at = { nowMs: clock(), accountId, address: call.address }
        await addLogEntry(tx, { ...at, organizationId: organization.id, kind: 'org_change_name', metadata: about })
      })
    } catch (error) {
      throw translateTaken(error)
    }
    this.#organizations.changed('organization_renamed', name, by, { new_name: newName })
    this.#context.onOrganizationChange(newName)
    return this.#view({ ...organization, name: newName })
  }

  /** Errors: as `list`; AdminError NOT_FOUND. */
  async delete(call: SuperuserCall, name: string): Promise<void> {
    const { organization, by } = await this.#administered(call, name)
    const { metadata, clock } = this.#context
    const nowMs = clock()
    await metadata.transaction(async (tx) => {
      await markOrganizationDeleted(tx, organization.id, nowMs)
      const { id: accountId } = by.account
      const at = { nowMs, accountId, address: call.address }
      // The organization's own entries go with it.
      await addLogEntry(tx, { ...at, organizationId: undefined, kind: 'org_delete', metadata: { namespace: name } })
    })
    this.#organizations.changed('organization_deleted', name, by)
  }

  /** FEATURE_SUPERUSERS_FULL_ACCESS is not needed here (Quay). */
  async #administered(
    { caller }: SuperuserCall,
    name: string,
  ): Promise<{ organization: Organization; by: AccountCaller }> {
    const by = requireAccount(caller)
    if (!this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    this.#rights.refuseReader(by)
    return { organization: await this.#organizations.find(name), by }
  }

  async #view({ id, name, email }: Organization): Promise<SuperuserOrganizationView> {
    const { metadata, settings } = this.#context
    const view = { name, email: email ?? '', avatar: avatarOf(name, 'org') }
    if (!settings.hasQuotaManagement) return view
    const quota = await findQuota(metadata.db, id)
    const chargeBytes = await findChargeBytes(metadata.db, id)
    return { ...view, ...viewOrganizationQuota({ quota, chargeBytes, settings: limitSettingsOf(settings) }) }
  }
}
