/** Each organization's charge and roots counted anew, compared with what they are, and put right. */
import type { Clock } from '../base/clock.ts'
import type { Metadata } from '../metadata/open.ts'
import { listOrganizations } from '../metadata/organizations.ts'
import { correctLedger, type Recount, recount } from '../metadata/recount.ts'
import type { Verifying } from './blob-verification.ts'
import { VERIFICATION_LIMITS } from './verification-state.ts'

export type ChargeVerificationDeps = { metadata: Metadata; clock: Clock }

/** Errors: the signal's reason; what the database says. */
export async function verifyCharges(deps: ChargeVerificationDeps, verifying: Verifying): Promise<void> {
  for (let after: string | undefined; ; ) {
    const page = { after, limit: VERIFICATION_LIMITS.rowsPerStep }
    const organizations = await listOrganizations(deps.metadata.db, page)
    for (const organization of organizations) {
      await verifyCharge(deps, organization, verifying)
      verifying.progress.counts.organizations += 1
      await verifying.pause(0)
    }
    after = organizations.at(-1)?.name
    if (after === undefined) return
  }
}

async function verifyCharge(
  deps: ChargeVerificationDeps,
  organization: { id: number; name: string },
  { progress }: Verifying,
): Promise<void> {
  const { metadata, clock } = deps
  const found = await recount(metadata.db, organization.id)
  if (isRight(found)) return
  const fields = { organizationId: organization.id, nowMs: clock() }
  // Under the lock once more: what was seen without it may be right by now.
  const corrected = progress.repairs ? await metadata.transaction((tx) => correctLedger(tx, fields)) : undefined
  const before = corrected ?? found
  if (corrected !== undefined && isRight(before) && corrected.rows === 0) return
  const { chargeBytes, ledgerBytes, recountBytes } = before
  const isRepaired = corrected !== undefined
  progress.addDrift({ organization: organization.name, chargeBytes, ledgerBytes, recountBytes, roots: 0, isRepaired })
}

function isRight({ chargeBytes, ledgerBytes, recountBytes }: Recount): boolean {
  return chargeBytes === ledgerBytes && ledgerBytes === recountBytes
}
