/** Charges and limits of the organizations that are charged for most, for whoever watches them. */

import type { Db } from './db.ts'
import { type Limit, type LimitSettings, limitOf } from './quotas.ts'

export type OrganizationCharge = { organization: string; chargeBytes: number; limitBytes: Limit['limitBytes'] }

/** The largest charge first; at most `count`. One statement. */
export async function listLargestCharges(
  db: Db,
  settings: LimitSettings,
  count: number,
): Promise<OrganizationCharge[]> {
  const rows = await db
    .selectFrom('usage')
    .innerJoin('organization', 'organization.id', 'usage.organization_id')
    .leftJoin('quota', 'quota.organization_id', 'organization.id')
    .select(['organization.name', 'usage.charge_bytes', 'quota.limit_bytes'])
    .select((eb) =>
      eb
        .selectFrom('quota_limit')
        .select((limit) => limit.fn.min<number | null>('quota_limit.percent').as('percent'))
        .whereRef('quota_limit.quota_id', '=', 'quota.id')
        .where('quota_limit.type', '=', 'Reject')
        .as('reject_percent'),
    )
    .where('organization.deleted_at', 'is', null)
    .orderBy('usage.charge_bytes', 'desc')
    .orderBy('organization.id')
    .limit(count)
    .execute()
  return rows.map((row) => {
    const limits = row.reject_percent === null ? [] : [{ id: 0, type: 'Reject' as const, percent: row.reject_percent }]
    const quota = row.limit_bytes === null ? undefined : { limitBytes: row.limit_bytes, limits }
    const { limitBytes } = limitOf(quota, settings)
    return { organization: row.name, chargeBytes: row.charge_bytes, limitBytes }
  })
}
