/** Changes of an organization's settings, as the API makes them. */
import { revokeBlobs } from '../../../src/metadata/blobs.ts'
import { addExpirationChange } from '../../../src/metadata/expiration-change.ts'
import { addJob } from '../../../src/metadata/jobs.ts'
import { lockUsage } from '../../../src/metadata/ledger.ts'
import type { Metadata } from '../../../src/metadata/open.ts'
import { bumpGeneration } from '../../../src/metadata/organizations.ts'
import { updateProxyCache } from '../../../src/metadata/proxy-caches.ts'
import { createQuota, deleteQuota, findQuota, updateQuota } from '../../../src/metadata/quotas.ts'

export async function setLimit(
  metadata: Metadata,
  organizationId: number,
  limitBytes: number | undefined,
  nowMs: number,
): Promise<void> {
  await metadata.transaction(async (tx) => {
    await lockUsage(tx, organizationId)
    const quota = await findQuota(tx, organizationId)
    if (limitBytes === undefined) await deleteQuota(tx, organizationId)
    else if (quota === undefined) await createQuota(tx, { organizationId, limitBytes, nowMs })
    else await updateQuota(tx, { organizationId, id: quota.id, limitBytes })
  })
}

export async function changeExpiration(
  metadata: Metadata,
  organizationId: number,
  change: { fromSeconds: number; toSeconds: number; changedAtMs: number },
): Promise<void> {
  await metadata.transaction(async (tx) => {
    await updateProxyCache(tx, organizationId, { expirationSeconds: change.toSeconds })
    await addExpirationChange(tx, { organizationId, ...change })
  })
}

/** Resolves to the new generation. */
export async function changeUpstream(metadata: Metadata, organizationId: number, nowMs: number): Promise<number> {
  return metadata.transaction(async (tx) => {
    const generation = await bumpGeneration(tx, organizationId)
    await revokeBlobs(tx, organizationId)
    await addJob(tx, { kind: 'collect_generation', payload: { organizationId }, nowMs, runAtMs: nowMs })
    return generation
  })
}
