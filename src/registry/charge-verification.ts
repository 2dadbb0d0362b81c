/** Each organization's charge and roots counted anew, compared with what they are, and put right. */
import type { Clock } from '../base/clock.ts'
import { type Recount, recountUsage } from '../metadata/ledger.ts'
import { correctLedger, correctRoots } from '../metadata/ledger-correction.ts'
import type { Metadata } from '../metadata/open.ts'
import { listOrganizations } from '../metadata/organizations.ts'
import type { BlobShelf } from './blob-shelf.ts'
import type { Verifying } from './blob-verification.ts'
import { VERIFICATION_LIMITS } from './verification-state.ts'

export type ChargeVerificationDeps = { metadata: Metadata; clock: Clock; shelf: Pick<BlobShelf, 'forgetAll'> }

/** Ends a transaction that was only to be looked at. */
class OnlyLooked extends Error {}

/** Errors: the signal's reason; what the database says. */
export async function verifyCharges(deps: ChargeVerificationDeps, verifying: Verifying): Promise<void> {
  for (let after: string | undefined; ; ) {
    const page = { after, limit: VERIFICATION_LIMITS.rowsPerStep }
    const organizations = await listOrganizations(deps.metadata.db, page)
    for (const organization of organizations) {
      await verifyOrganization(deps, organization, verifying)
      verifying.progress.counts.organizations += 1
      await verifying.pause(0)
    }
    after = organizations.at(-1)?.name
    if (after === undefined) return
  }
}

async function verifyOrganization(
  deps: ChargeVerificationDeps,
  organization: { id: number; name: string },
  verifying: Verifying,
): Promise<void> {
  const { progress } = verifying
  const roots = await countWrongRoots(deps, organization.id, verifying)
  const found = await findDrift(deps, organization.id, progress.repairs)
  if (roots === 0 && isRight(found)) return
  const { chargeBytes, ledgerBytes, trueBytes: recountBytes } = found
  const drift = { organization: organization.name, chargeBytes, ledgerBytes, recountBytes, roots }
  progress.addDrift({ ...drift, isRepaired: progress.repairs })
}

/** What was found; it is right by now if that is wanted. */
async function findDrift(deps: ChargeVerificationDeps, organizationId: number, repairs: boolean): Promise<Recount> {
  const { metadata, clock, shelf } = deps
  const found = await recountUsage(metadata.db, organizationId)
  if (isRight(found) || !repairs) return found
  const fields = { organizationId, nowMs: clock() }
  const corrected = await metadata.transaction((tx) => correctLedger(tx, fields))
  if (corrected !== undefined && corrected.rows > 0) shelf.forgetAll()
  return corrected?.before ?? found
}

async function countWrongRoots(
  deps: ChargeVerificationDeps,
  organizationId: number,
  verifying: Verifying,
): Promise<number> {
  let count = 0
  for (let afterManifestId: number | undefined = 0; afterManifestId !== undefined; ) {
    const page = { organizationId, afterManifestId, limit: VERIFICATION_LIMITS.rowsPerStep }
    const seen = await seeRoots(deps.metadata, page, verifying.progress.repairs)
    count += seen.wrong
    afterManifestId = seen.last
    await verifying.pause(0)
  }
  return count
}

async function seeRoots(
  metadata: Metadata,
  page: Parameters<typeof correctRoots>[1],
  repairs: boolean,
): ReturnType<typeof correctRoots> {
  let seen: Awaited<ReturnType<typeof correctRoots>> = { wrong: 0, last: undefined }
  try {
    await metadata.transaction(async (tx) => {
      seen = await correctRoots(tx, page)
      if (!repairs) throw new OnlyLooked()
    })
  } catch (error) {
    if (!(error instanceof OnlyLooked)) throw error
  }
  return seen
}

function isRight({ chargeBytes, ledgerBytes, trueBytes }: Recount): boolean {
  return chargeBytes === ledgerBytes && ledgerBytes === trueBytes
}
