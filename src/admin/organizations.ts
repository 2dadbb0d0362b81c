/** Organizations: create, look at, change, delete. */

import { findChargeBytes } from '../metadata/ledger.ts'
import type { Db } from '../metadata/open.ts'
import {
  createOrganization,
  findOrganization,
  MirrorTakenError,
  markOrganizationDeleted,
  type Organization,
  updateOrganization,
} from '../metadata/organizations.ts'
import { findProxyCache } from '../metadata/proxy-caches.ts'
import { findQuota } from '../metadata/quotas.ts'
import { addTeamMember, createTeam, listTeams } from '../metadata/teams.ts'
import { isOrganizationName, organizationNameCharactersMax } from '../oci/repository-name.ts'
import { isNotAnUpstreamName, parseUpstreamName } from '../oci/upstream-name.ts'
import { translateTaken } from './accounts.ts'
import { invalidRequest, notFound, unauthorized } from './admin-error.ts'
import { type AccountCaller, type Caller, requireAccount } from './caller.ts'
import { type OrganizationFields, parseEmail, parseOrganizationFields } from './organization-changes.ts'
import { type OrganizationView, viewOrganization } from './organization-view.ts'
import { limitSettingsOf, type OrganizationQuotaView, viewOrganizationQuota } from './quota-view.ts'
import type { Rights } from './rights.ts'
import type { AdminContext } from './settings.ts'

/**
 * What our own paths begin with, and DESIGN part 4 has `/<org>/v2/…` beside `/v2/<org>/…`: these would be ambiguous.
 */
const RESERVED_NAMES: ReadonlySet<string> = new Set(['api', 'health', 'metrics', 'v1', 'v2'])

/** Quay's name for the team that an organization begins with. */
const OWNERS = 'owners'

export class Organizations {
  readonly #context: AdminContext
  readonly #rights: Rights

  constructor(context: AdminContext, rights: Rights) {
    this.#context = context
    this.#rights = rights
  }

  /**
   * Create an organization; its creator joins its new team `owners`.
   * Errors: AdminError INVALID_REQUEST for a bad or taken name; INVALID_TOKEN, INSUFFICIENT_SCOPE.
   */
  async create(caller: Caller, fields: { name: string; email?: string | null | undefined }): Promise<void> {
    const creator = requireAccount(caller)
    const { name } = fields
    checkOrganizationName(name)
    const email = parseEmail(fields.email ?? null)
    const { metadata, clock, settings } = this.#context
    try {
      await metadata.transaction(async (tx) => {
        const nowMs = clock()
        const organization = await createOrganization(tx, {
          name,
          email,
          nowMs,
          tagExpirationSeconds: settings.defaultTagExpirationSeconds,
        })
        const team = { organizationId: organization.id, name: OWNERS, role: 'admin', description: '', nowMs } as const
        await addTeamMember(tx, (await createTeam(tx, team)).id, creator.account.id)
      })
    } catch (error) {
      throw translateTaken(error)
    }
    this.changed('organization_created', name, creator)
  }

  /** Anyone may look; what they see differs. Errors: AdminError NOT_FOUND. */
  async view(caller: Caller, name: string): Promise<OrganizationView> {
    const organization = await this.find(name)
    const standing = await this.#rights.standing(caller, organization)
    const seesTeams = standing.isMember || standing.maySeeAll
    if (!seesTeams) return viewOrganization(organization, standing, [], undefined)
    const teams = await listTeams(this.#context.metadata.db, organization.id)
    return viewOrganization(organization, standing, teams, await this.#viewQuota(organization))
  }

  /** Errors: AdminError INVALID_REQUEST, naming the field; INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. */
  async update(caller: Caller, name: string, fields: OrganizationFields): Promise<OrganizationView> {
    const { organization, administrator } = await this.administered(caller, name)
    const changes = parseOrganizationFields(fields, this.#context.settings.tagExpirationOptionsSeconds)
    const { tagExpirationSeconds = organization.tagExpirationSeconds } = changes
    if (tagExpirationSeconds !== organization.tagExpirationSeconds && !this.#context.settings.canChangeTagExpiration) {
      throw invalidRequest('tag_expiration_s: the operator does not let it be changed (FEATURE_CHANGE_TAG_EXPIRATION)')
    }
    if ('mirrorHost' in changes && changes.mirrorHost !== organization.mirrorHost) {
      if (!this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    }
    try {
      await this.#context.metadata.transaction(async (tx) => {
        if (changes.mirrorHost !== undefined) await refuseNamespace(tx, organization)
        await updateOrganization(tx, organization.id, changes)
      })
    } catch (error) {
      if (!(error instanceof MirrorTakenError)) throw error
      throw invalidRequest('mirror_host: another organization is the mirror of this host')
    }
    this.changed('organization_changed', name, administrator, { fields: Object.keys(changes) })
    return this.view(caller, name)
  }

  /**
   * Delete an organization: invisible at once, its content collected by a job.
   * Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND.
   */
  async delete(caller: Caller, name: string): Promise<void> {
    const { organization, administrator } = await this.administered(caller, name)
    const { metadata, clock } = this.#context
    await metadata.transaction((tx) => markOrganizationDeleted(tx, organization.id, clock()))
    this.changed('organization_deleted', name, administrator)
  }

  /** Errors: AdminError NOT_FOUND. */
  async find(name: string): Promise<Organization> {
    const organization = isOrganizationName(name) ? await findOrganization(this.#context.metadata.db, name) : undefined
    if (organization === undefined) throw notFound('organization')
    return organization
  }

  /** An organization, and who changes it: the permission table has let them. Errors: AdminError NOT_FOUND. */
  async administered(
    caller: Caller,
    name: string,
  ): Promise<{ organization: Organization; administrator: AccountCaller }> {
    const administrator = requireAccount(caller)
    return { organization: await this.find(name), administrator }
  }

  async #viewQuota({ id }: Organization): Promise<OrganizationQuotaView | undefined> {
    const { metadata, settings } = this.#context
    if (!settings.hasQuotaManagement) return undefined
    const quota = await findQuota(metadata.db, id)
    const chargeBytes = await findChargeBytes(metadata.db, id)
    return viewOrganizationQuota({ quota, chargeBytes, settings: limitSettingsOf(settings) })
  }

  /** What was remembered of an organization, or of rights in it, is forgotten everywhere. */
  changed(event: string, name: string, by: AccountCaller, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#context.epoch.advance()
    this.#context.onOrganizationChange(name)
    this.#context.report(event, { organization: name, by: by.account.username, ...fields })
  }
}

/** Errors: AdminError INVALID_REQUEST. */
export function checkOrganizationName(name: string): void {
  if (!isOrganizationName(name)) {
    throw invalidRequest(
      `name: expected 2 to ${organizationNameCharactersMax} lower-case letters and digits, with . _ __ or - between`,
    )
  }
  if (RESERVED_NAMES.has(name)) throw invalidRequest('name: is reserved, since paths of the server begin with it')
}

/** The mirror of a host must be able to answer for every repository there. */
async function refuseNamespace(tx: Db, organization: Organization): Promise<void> {
  const proxyCache = await findProxyCache(tx, organization.id)
  if (proxyCache === undefined) return
  const upstream = parseUpstreamName(proxyCache.upstreamRegistry)
  if (!isNotAnUpstreamName(upstream) && upstream.namespace !== undefined) {
    throw invalidRequest('mirror_host: this organization caches one namespace only, so it cannot stand for a host')
  }
}
