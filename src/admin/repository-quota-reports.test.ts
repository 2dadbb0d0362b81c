import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApi } from '../../test/api/start-api.ts'
import { createQuota } from '../metadata/quotas.ts'
import { ensureRepository } from '../metadata/repositories.ts'
import { repositoryQuotaReports } from './repository-quota-reports.ts'

test("a repository's report has its own size and the quota of its organization", async (t) => {
  const api = await startApi(t)
  await api.initialize()
  await api.createOrganization('cache')
  const { db } = api.metadata
  const { id: organizationId, generation } = await api.admin.organizations.find('cache')
  const { id } = await api.metadata.transaction((tx) =>
    ensureRepository(tx, { organizationId, generation, name: 'a', nowMs: 0 }),
  )
  const { settings } = api.admin
  const none = await repositoryQuotaReports(db, settings, organizationId, [id])
  assert.deepEqual([...none], [[id, { quota_bytes: 0, configured_quota: null }]])
  await createQuota(db, { organizationId, limitBytes: 1000, nowMs: 0 })
  const some = await repositoryQuotaReports(db, settings, organizationId, [id])
  assert.deepEqual([...some], [[id, { quota_bytes: 0, configured_quota: 1000 }]])
  const off = await repositoryQuotaReports(db, { ...settings, hasQuotaManagement: false }, organizationId, [id])
  assert.equal(off.size, 0)
})
