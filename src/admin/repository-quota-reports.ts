/** What views of repositories tell of their size and of their organization's quota. Fields: Quay's. */
import { repositorySizes } from '../metadata/ledger.ts'
import type { Db } from '../metadata/open.ts'
import { findQuota } from '../metadata/quotas.ts'
import { limitSettingsOf, type RepositoryQuotaReport, repositoryQuotaReport } from './quota-view.ts'
import type { AdminSettings } from './settings.ts'

/** By repository id, each of them of this organization; none when quotas are off. */
export async function repositoryQuotaReports(
  db: Db,
  settings: AdminSettings,
  organizationId: number,
  repositoryIds: readonly number[],
): Promise<Map<number, RepositoryQuotaReport>> {
  if (!settings.hasQuotaManagement) return new Map()
  const quota = await findQuota(db, organizationId)
  const sizes = await repositorySizes(db, repositoryIds)
  const limits = limitSettingsOf(settings)
  return new Map(repositoryIds.map((id) => [id, repositoryQuotaReport(sizes.get(id) ?? 0, quota, limits)]))
}
