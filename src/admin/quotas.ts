/** Quotas of organizations: who sees them, who sets them, and what is written down of it. Source: DESIGN part 5. */
import { parseByteSize } from '../base/byte-size.ts'
import { findChargeBytes, lockUsage } from '../metadata/ledger.ts'
import { addLogEntry, type LogKind } from '../metadata/log-entries.ts'
import type { Db } from '../metadata/open.ts'
import type { Organization } from '../metadata/organizations.ts'
import {
  createQuota,
  createQuotaLimit,
  DuplicateLimitError,
  deleteQuota,
  deleteQuotaLimit,
  findQuota,
  forgetWarning,
  limitOf,
  type Quota,
  type QuotaLimit,
  type QuotaLimitType,
  updateQuota,
  updateQuotaLimit,
  warnIfCrossed,
} from '../metadata/quotas.ts'
import { invalidRequest, notFound } from './admin-error.ts'
import type { AccountCaller, Caller } from './caller.ts'
import type { Organizations } from './organizations.ts'
import { limitSettingsOf, type QuotaLimitView, type QuotaView, viewLimit, viewQuota } from './quota-view.ts'
import type { AdminContext } from './settings.ts'

/** Who asks for which organization. */
export type QuotaRequest = { caller: Caller; name: string; address: string }

/** One of the two. */
export type QuotaFields = { limit_bytes?: number | undefined; limit?: string | undefined }
export type QuotaLimitFields = { type?: QuotaLimitType | undefined; threshold_percent?: number | undefined }

/** A change under way: what is told of it when it is done. */
type Change = { tx: Db; organization: Organization; by: AccountCaller; address: string }

export class Quotas {
  readonly #context: AdminContext
  readonly #organizations: Organizations

  constructor(context: AdminContext, organizations: Organizations) {
    this.#context = context
    this.#organizations = organizations
  }

  /**
   * One or none: the organization's, else the system's.
   * Errors: AdminError NOT_FOUND.
   */
  async list(request: QuotaRequest): Promise<QuotaView[]> {
    const view = await this.#view(await this.#organizations.find(request.name))
    return view === undefined ? [] : [view]
  }

  /** Errors: as `list`; AdminError INVALID_REQUEST, naming the field, also when there is one already (Quay). */
  async create(request: QuotaRequest, fields: QuotaFields): Promise<void> {
    await this.#change(request, async (change) => {
      const limitBytes = parseLimit(fields)
      if (limitBytes === undefined) throw invalidRequest(`limit_bytes: is required, or limit: ${examples}`)
      const { id: organizationId, name } = change.organization
      const quota = await createQuota(change.tx, { organizationId, limitBytes, nowMs: this.#context.clock() })
      if (quota === undefined) throw invalidRequest(`Organization quota for '${name}' already exists`)
      await this.#log(change, 'org_create_quota', { limit_bytes: limitBytes })
      return true
    })
  }

  /** Errors: as `list`. */
  async view(request: QuotaRequest, quotaId: string): Promise<QuotaView> {
    const organization = await this.#organizations.find(request.name)
    await this.#get(this.#context.metadata.db, organization.id, quotaId)
    return this.#viewOf(organization)
  }

  /** With no field nothing changes (Quay). Errors: as `create`. */
  async update(request: QuotaRequest, quotaId: string, fields: QuotaFields): Promise<QuotaView> {
    const organization = await this.#change(request, async (change) => {
      const organizationId = change.organization.id
      const { id, limitBytes: previous } = await this.#get(change.tx, organizationId, quotaId)
      const limitBytes = parseLimit(fields) ?? previous
      if (limitBytes === previous) return false
      await updateQuota(change.tx, { organizationId, id, limitBytes })
      await this.#log(change, 'org_change_quota', { limit_bytes: limitBytes, previous_limit_bytes: previous })
      return true
    })
    return this.#viewOf(organization)
  }

  /** With its limits. Errors: as `list`. */
  async delete(request: QuotaRequest, quotaId: string): Promise<void> {
    await this.#change(request, async (change) => {
      const { limitBytes } = await this.#get(change.tx, change.organization.id, quotaId)
      await deleteQuota(change.tx, change.organization.id)
      await this.#log(change, 'org_delete_quota', { limit_bytes: limitBytes })
      return true
    })
  }

  /** Errors: as `list`. */
  async listLimits(request: QuotaRequest, quotaId: string): Promise<QuotaLimitView[]> {
    const organization = await this.#organizations.find(request.name)
    return (await this.#get(this.#context.metadata.db, organization.id, quotaId)).limits.map(viewLimit)
  }

  /** Errors: as `list`; AdminError INVALID_REQUEST when there is the same one (Quay). */
  async createLimit(
    request: QuotaRequest,
    quotaId: string,
    fields: { type: QuotaLimitType; threshold_percent: number },
  ): Promise<void> {
    await this.#change(request, async (change) => {
      const quota = await this.#get(change.tx, change.organization.id, quotaId)
      const limit = { type: fields.type, percent: fields.threshold_percent }
      await translateDuplicate(createQuotaLimit(change.tx, quota.id, limit))
      await this.#log(change, 'org_create_quota_limit', describeLimit(limit))
      return true
    })
  }

  /** Errors: as `list`. */
  async viewLimit(request: QuotaRequest, quotaId: string, limitId: string): Promise<QuotaLimitView> {
    const organization = await this.#organizations.find(request.name)
    return viewLimit(limitIn(await this.#get(this.#context.metadata.db, organization.id, quotaId), limitId))
  }

  /** Resolves to the whole quota (Quay). Errors: as `createLimit`. */
  async updateLimit(
    request: QuotaRequest,
    quotaId: string,
    limitId: string,
    fields: QuotaLimitFields,
  ): Promise<QuotaView> {
    const organization = await this.#change(request, async (change) => {
      const quota = await this.#get(change.tx, change.organization.id, quotaId)
      const previous = limitIn(quota, limitId)
      const limit = {
        id: previous.id,
        type: fields.type ?? previous.type,
        percent: fields.threshold_percent ?? previous.percent,
      }
      if (limit.type === previous.type && limit.percent === previous.percent) return false
      await translateDuplicate(updateQuotaLimit(change.tx, quota.id, limit))
      const { type: previous_type, threshold_percent: previous_threshold_percent } = describeLimit(previous)
      const metadata = { ...describeLimit(limit), previous_type, previous_threshold_percent }
      await this.#log(change, 'org_change_quota_limit', metadata)
      return true
    })
    return this.#viewOf(organization)
  }

  /** Errors: as `list`. */
  async deleteLimit(request: QuotaRequest, quotaId: string, limitId: string): Promise<void> {
    await this.#change(request, async (change) => {
      const quota = await this.#get(change.tx, change.organization.id, quotaId)
      const limit = limitIn(quota, limitId)
      await deleteQuotaLimit(change.tx, quota.id, limit.id)
      await this.#log(change, 'org_delete_quota_limit', describeLimit(limit))
      return true
    })
  }

  /** `work` resolves to whether anything changed; then warnings and the collector follow. */
  async #change(request: QuotaRequest, work: (change: Change) => Promise<boolean>): Promise<Organization> {
    const { organization, administrator: by } = await this.#organizations.administered(request.caller, request.name)
    const { metadata, clock, settings, report, onLimitChange } = this.#context
    const isChanged = await metadata.transaction(async (tx) => {
      const usage = await lockUsage(tx, organization.id)
      if (usage === undefined) throw notFound('organization')
      if (!(await work({ tx, organization, by, address: request.address }))) return false
      const limit = limitOf(await findQuota(tx, organization.id), limitSettingsOf(settings))
      const { chargeBytes } = usage
      if (limit.warningPercents.length === 0) await forgetWarning(tx, organization.id)
      else await warnIfCrossed(tx, { organizationId: organization.id, chargeBytes, limit, nowMs: clock() })
      return true
    })
    if (isChanged) {
      report('quota_changed', { organization: organization.name, by: by.account.username })
      onLimitChange(organization.id)
    }
    return organization
  }

  async #log(change: Change, kind: LogKind, metadata: Readonly<Record<string, unknown>>): Promise<void> {
    const { organization, by, address } = change
    await addLogEntry(change.tx, {
      organizationId: organization.id,
      kind,
      nowMs: this.#context.clock(),
      accountId: by.account.id,
      address,
      metadata: { namespace: organization.name, ...metadata },
    })
  }

  async #get(db: Db, organizationId: number, quotaId: string): Promise<Quota> {
    const quota = await findQuota(db, organizationId)
    if (quota === undefined || String(quota.id) !== quotaId) throw notFound('quota')
    return quota
  }

  async #view({ id }: Organization): Promise<QuotaView | undefined> {
    const { metadata, settings } = this.#context
    return viewQuota({
      quota: await findQuota(metadata.db, id),
      chargeBytes: await findChargeBytes(metadata.db, id),
      settings: limitSettingsOf(settings),
    })
  }

  async #viewOf(organization: Organization): Promise<QuotaView> {
    const view = await this.#view(organization)
    if (view === undefined) throw notFound('quota') // Somebody has just deleted it.
    return view
  }
}

const examples = 'such as "150 MB" or "10 GiB"'

/** Undefined when neither field is there. Errors: AdminError INVALID_REQUEST, naming the field, with an example. */
export function parseLimit({ limit_bytes: limitBytes, limit }: QuotaFields): number | undefined {
  if (limit === undefined) return limitBytes
  if (limitBytes !== undefined) throw invalidRequest('limit_bytes: expected either limit_bytes or limit, not both')
  const bytes = parseByteSize(limit)
  if (bytes !== undefined && bytes > 0) return bytes
  throw invalidRequest(
    `limit: expected a number above 0 with a unit (B, KB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB), ${examples}, ` +
      'that comes to whole bytes below 2^53',
  )
}

function limitIn(quota: Quota, limitId: string): QuotaLimit {
  const limit = quota.limits.find(({ id }) => String(id) === limitId)
  if (limit === undefined) throw notFound('quota limit')
  return limit
}

function describeLimit({ type, percent }: Omit<QuotaLimit, 'id'>): { type: QuotaLimitType; threshold_percent: number } {
  return { type, threshold_percent: percent }
}

/** Quay's message. */
async function translateDuplicate(changing: Promise<unknown>): Promise<void> {
  try {
    await changing
  } catch (error) {
    if (!(error instanceof DuplicateLimitError)) throw error
    throw invalidRequest('Quota limit already exists')
  }
}
