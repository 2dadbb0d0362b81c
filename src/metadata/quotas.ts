/** Quotas of organizations: how many bytes they may be charged for, and from where on they are warned or refused. */
import { DAY_MS, HOUR_MS } from '../base/units.ts'
import type { Db } from './db.ts'
import { addLogEntry, type EventMetadata } from './log-entries.ts'
import { addNotification, addNotificationAtTimes } from './notifications.ts'
import type { QuotaLimitTable } from './schema.ts'
import { isUniqueViolation } from './transaction.ts'
import { toFlag } from './values.ts'

export type QuotaLimitType = QuotaLimitTable['type']

/** From `percent` (1 to 100) of the quota on. */
export type QuotaLimit = { id: number; type: QuotaLimitType; percent: number }

/** An organization has one at most. `limits` in the order they were made. */
export type Quota = { id: number; organizationId: number; limitBytes: number; limits: readonly QuotaLimit[] }

/** The quota has a limit of that type and percentage. */
export class DuplicateLimitError extends Error {
  override readonly name = 'DuplicateLimitError'
}

export async function findQuota(db: Db, organizationId: number): Promise<Quota | undefined> {
  const rows = await selectQuota(db, organizationId).orderBy('quota_limit.id').execute()
  const [first] = rows
  if (first === undefined) return undefined
  const limits = rows.flatMap(({ limit_id: id, type, percent }) =>
    id === null || type === null || percent === null ? [] : [{ id, type, percent }],
  )
  return { id: first.id, organizationId, limitBytes: first.limit_bytes, limits }
}

/** Undefined when the organization has one already; it is left as it is. */
export async function createQuota(
  db: Db,
  quota: { organizationId: number; limitBytes: number; nowMs: number },
): Promise<Quota | undefined> {
  const { organizationId, limitBytes } = quota
  const row = await db
    .insertInto('quota')
    .values({ organization_id: organizationId, limit_bytes: limitBytes, created_at: quota.nowMs })
    .onConflict((conflict) => conflict.column('organization_id').doNothing())
    .returning('id')
    .executeTakeFirst()
  return row && { id: row.id, organizationId, limitBytes, limits: [] }
}

/** False: there is no such quota of the organization. */
export async function updateQuota(
  db: Db,
  quota: { organizationId: number; id: number; limitBytes: number },
): Promise<boolean> {
  const result = await db
    .updateTable('quota')
    .set({ limit_bytes: quota.limitBytes })
    .where('id', '=', quota.id)
    .where('organization_id', '=', quota.organizationId)
    .executeTakeFirst()
  return result.numUpdatedRows > 0n
}

/** With its limits. False: there was none. */
export async function deleteQuota(tx: Db, organizationId: number): Promise<boolean> {
  await tx
    .deleteFrom('quota_limit')
    .where('quota_id', 'in', (eb) =>
      eb.selectFrom('quota').select('quota.id').where('organization_id', '=', organizationId),
    )
    .execute()
  const result = await tx.deleteFrom('quota').where('organization_id', '=', organizationId).executeTakeFirst()
  return result.numDeletedRows > 0n
}

/** Errors: DuplicateLimitError. */
export async function createQuotaLimit(db: Db, quotaId: number, limit: Omit<QuotaLimit, 'id'>): Promise<QuotaLimit> {
  const row = await db
    .insertInto('quota_limit')
    .values({ quota_id: quotaId, type: limit.type, percent: limit.percent })
    .onConflict((conflict) => conflict.columns(['quota_id', 'type', 'percent']).doNothing())
    .returning('id')
    .executeTakeFirst()
  if (row === undefined) throw new DuplicateLimitError('the quota has this limit already')
  return { id: row.id, type: limit.type, percent: limit.percent }
}

/** False: the quota has no such limit. Errors: DuplicateLimitError, after which a transaction can only end. */
export async function updateQuotaLimit(db: Db, quotaId: number, limit: QuotaLimit): Promise<boolean> {
  try {
    const result = await db
      .updateTable('quota_limit')
      .set({ type: limit.type, percent: limit.percent })
      .where('id', '=', limit.id)
      .where('quota_id', '=', quotaId)
      .executeTakeFirst()
    return result.numUpdatedRows > 0n
  } catch (error) {
    if (!isUniqueViolation(error)) throw error
    throw new DuplicateLimitError('the quota has this limit already', { cause: error })
  }
}

/** False: the quota has no such limit. */
export async function deleteQuotaLimit(db: Db, quotaId: number, id: number): Promise<boolean> {
  const result = await db
    .deleteFrom('quota_limit')
    .where('id', '=', id)
    .where('quota_id', '=', quotaId)
    .executeTakeFirst()
  return result.numDeletedRows > 0n
}

/** FEATURE_QUOTA_MANAGEMENT and DEFAULT_SYSTEM_REJECT_QUOTA_BYTES. */
export type LimitSettings = { hasQuotaManagement: boolean; systemRejectBytes: number | undefined }

export type Limit = {
  /** The charge may not rise above it; undefined: as far as the disk goes. */
  limitBytes: number | undefined
  /** What `warningPercents` are of. */
  quotaBytes: number | undefined
  /** Ascending. */
  warningPercents: readonly number[]
}

const UNLIMITED: Limit = { limitBytes: undefined, quotaBytes: undefined, warningPercents: [] }

/**
 * The smallest of the quota and each of its `Reject` percentages; without a quota the system's. One statement, none
 * when quotas are off. Source: DESIGN part 5, Limit.
 */
export async function findLimit(db: Db, organizationId: number, settings: LimitSettings): Promise<Limit> {
  if (!settings.hasQuotaManagement) return UNLIMITED
  return limitOf(await findQuota(db, organizationId), settings)
}

/** What a quota comes to. */
export function limitOf(quota: Pick<Quota, 'limitBytes' | 'limits'> | undefined, settings: LimitSettings): Limit {
  if (!settings.hasQuotaManagement) return UNLIMITED
  const { systemRejectBytes } = settings
  if (quota === undefined) {
    if (systemRejectBytes === undefined || systemRejectBytes <= 0) return UNLIMITED
    return { limitBytes: systemRejectBytes, quotaBytes: systemRejectBytes, warningPercents: [] }
  }
  const percentsOf = (type: QuotaLimitType) =>
    quota.limits.filter((limit) => limit.type === type).map(({ percent }) => percent)
  const quotaBytes = quota.limitBytes
  return {
    limitBytes: Math.min(quotaBytes, ...percentsOf('Reject').map((percent) => percentOf(quotaBytes, percent))),
    quotaBytes,
    warningPercents: percentsOf('Warning').sort((left, right) => left - right),
  }
}

/** Whole bytes, rounded down, exact also where `bytes * percent` is beyond 2^53. */
export function percentOf(bytes: number, percent: number): number {
  return Math.floor(bytes / 100) * percent + Math.floor(((bytes % 100) * percent) / 100)
}

export const WARNING_LIMITS = {
  /** Percent of the quota by which the charge must fall below a threshold, before reaching it again is told at once. */
  fallPercent: 5,
  /** A charge that swings about a threshold is told again after so long. */
  againMs: DAY_MS,
} as const

/**
 * Tell the administrators that the charge has reached a `Warning` threshold: once for each crossing, and a full cache
 * that swings about one is told of it once a day. Resolves to the threshold that was told. Under the lock of
 * `lockUsage`.
 */
export async function warnIfCrossed(
  tx: Db,
  charge: { organizationId: number; chargeBytes: number; limit: Limit; nowMs: number },
): Promise<number | undefined> {
  const { organizationId, chargeBytes, nowMs } = charge
  const { quotaBytes, warningPercents, limitBytes } = charge.limit
  // Where no threshold is left, `forgetWarning` has run.
  if (quotaBytes === undefined || warningPercents.length === 0) return undefined
  const usage = await tx
    .selectFrom('usage')
    .select(['warned_percent', 'warned_at', 'fell_below'])
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  if (usage === undefined) return undefined
  const reached = warningPercents.findLast((percent) => chargeBytes >= percentOf(quotaBytes, percent)) ?? 0
  const kept = warningPercents.findLast((p) => p <= usage.warned_percent && !hasFallen(chargeBytes, quotaBytes, p)) ?? 0
  const fell = reached < kept || (kept === usage.warned_percent && usage.fell_below === 1)
  const isAgain = reached === kept && fell && Math.abs(nowMs - usage.warned_at) >= WARNING_LIMITS.againMs
  const isTold = reached > kept || (reached > 0 && isAgain)
  const next = isTold
    ? { warned_percent: reached, warned_at: nowMs, fell_below: 0 as const }
    : { warned_percent: kept, warned_at: usage.warned_at, fell_below: toFlag(fell) }
  if (next.warned_percent !== usage.warned_percent || next.fell_below !== usage.fell_below || isTold) {
    await tx.updateTable('usage').set(next).where('organization_id', '=', organizationId).execute()
  }
  if (!isTold) return undefined
  const metadata = {
    threshold_percent: reached,
    quota_bytes: chargeBytes,
    configured_quota: quotaBytes,
    limit_bytes: limitBytes,
  }
  await addNotification(tx, { organizationId, kind: 'quota_warning', nowMs, metadata })
  await addLogEntry(tx, { organizationId, kind: 'quota_warning', nowMs, metadata })
  return reached
}

/** So far below the threshold that reaching it again is news. */
function hasFallen(chargeBytes: number, quotaBytes: number, percent: number): boolean {
  return chargeBytes <= percentOf(quotaBytes, Math.max(percent - WARNING_LIMITS.fallPercent, 0))
}

/** The organization's thresholds are gone: another one is told anew. */
export async function forgetWarning(tx: Db, organizationId: number): Promise<void> {
  const none = { warned_percent: 0, warned_at: 0, fell_below: 0 } as const
  await tx.updateTable('usage').set(none).where('organization_id', '=', organizationId).execute()
}

/** A client that is refused tries again and again. */
export const refusalCooldownMs = HOUR_MS

/**
 * Tell the administrators that an image was refused for want of space, at most once an hour for each organization;
 * resolves to whether they were told. Under the lock of `lockUsage`, so that two refusals at once are told once.
 */
export async function notifyRefused(
  tx: Db,
  refusal: { organizationId: number; nowMs: number; metadata: EventMetadata },
): Promise<boolean> {
  return addNotificationAtTimes(tx, { ...refusal, kind: 'quota_error' }, refusalCooldownMs)
}

function selectQuota(db: Db, organizationId: number) {
  return db
    .selectFrom('quota')
    .leftJoin('quota_limit', 'quota_limit.quota_id', 'quota.id')
    .select(['quota.id', 'quota.limit_bytes', 'quota_limit.id as limit_id', 'quota_limit.type', 'quota_limit.percent'])
    .where('quota.organization_id', '=', organizationId)
}
