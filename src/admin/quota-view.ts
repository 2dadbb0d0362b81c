/** What the API tells of quotas and of what is charged to them. Fields: Quay's; `over_bytes` is ours. */
import { formatByteSize } from '../base/byte-size.ts'
import { type LimitSettings, limitOf, type Quota, type QuotaLimit, type QuotaLimitType } from '../metadata/quotas.ts'
import type { AdminSettings } from './settings.ts'

export type QuotaLimitView = { id: number; type: QuotaLimitType; limit_percent: number }

export type QuotaView = {
  /** Null for the system's default. */
  id: number | null
  limit_bytes: number
  limit: string
  default_config: boolean
  default_config_exists: boolean
  limits: QuotaLimitView[]
  /** By how much the charge is above the limit; content is removed in small steps until it is not. */
  over_bytes: number
}

/** What the view of an organization has of its quota. */
export type OrganizationQuotaView = {
  quotas: Pick<QuotaView, 'id' | 'limit_bytes' | 'limits'>[]
  quota_report: {
    /** The charge. */
    quota_bytes: number
    configured_quota: number | null
    /** Quay's words; sizes are never counted afterwards here. */
    running_backfill: 'complete'
    backfill_status: 'complete'
    over_bytes: number
  }
}

/** What a repository's view has: its own size, and the quota of its organization. */
export type RepositoryQuotaReport = { quota_bytes: number; configured_quota: number | null }

/** An organization's quota and charge as they stand. */
export type Charged = { quota: Quota | undefined; chargeBytes: number; settings: LimitSettings }

export function limitSettingsOf(settings: AdminSettings): LimitSettings {
  const { hasQuotaManagement, systemRejectBytes } = settings
  return { hasQuotaManagement, systemRejectBytes }
}

export function viewLimit({ id, type, percent }: QuotaLimit): QuotaLimitView {
  return { id, type, limit_percent: percent }
}

/** Undefined where neither the organization nor the system has one. */
export function viewQuota(charged: Charged): QuotaView | undefined {
  const { quota, settings } = charged
  const limitBytes = configuredQuotaOf(quota, settings)
  if (limitBytes === null) return undefined
  return {
    id: quota?.id ?? null,
    limit_bytes: limitBytes,
    limit: formatByteSize(limitBytes),
    default_config: quota === undefined,
    default_config_exists: settings.systemRejectBytes !== undefined,
    limits: quota?.limits.map(viewLimit) ?? [],
    over_bytes: overBytesOf(charged),
  }
}

export function viewOrganizationQuota(charged: Charged): OrganizationQuotaView {
  const view = viewQuota(charged)
  return {
    quotas: view === undefined ? [] : [{ id: view.id, limit_bytes: view.limit_bytes, limits: view.limits }],
    quota_report: {
      quota_bytes: charged.chargeBytes,
      configured_quota: view?.limit_bytes ?? null,
      running_backfill: 'complete',
      backfill_status: 'complete',
      over_bytes: overBytesOf(charged),
    },
  }
}

export function repositoryQuotaReport(
  sizeBytes: number,
  quota: Quota | undefined,
  settings: LimitSettings,
): RepositoryQuotaReport {
  return { quota_bytes: sizeBytes, configured_quota: configuredQuotaOf(quota, settings) }
}

function configuredQuotaOf(quota: Quota | undefined, settings: LimitSettings): number | null {
  return quota?.limitBytes ?? settings.systemRejectBytes ?? null
}

function overBytesOf({ quota, chargeBytes, settings }: Charged): number {
  return Math.max(0, chargeBytes - (limitOf(quota, settings).limitBytes ?? chargeBytes))
}
