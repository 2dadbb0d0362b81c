/** The verification of the store, as superusers start, watch and cancel it. */
import type { VerificationRequest } from '../registry/verification.ts'
import type { BlobFinding, VerificationState } from '../registry/verification-state.ts'
import { AdminError } from './admin-error.ts'
import { type Caller, requireAccount } from './caller.ts'
import type { AdminContext } from './settings.ts'

/** Instants are milliseconds since the epoch, null before they came. */
export type VerificationView = ReturnType<typeof viewVerification>

export class Verifications {
  readonly #context: AdminContext

  constructor(context: AdminContext) {
    this.#context = context
  }

  /** Errors: AdminError CONFLICT when one is running. */
  start(caller: Caller, request: VerificationRequest): VerificationView {
    const by = requireAccount(caller)
    if (!this.#context.verification.start(request)) {
      throw new AdminError('CONFLICT', 'a verification is running: wait for it, or cancel it with DELETE')
    }
    this.#context.report('verification_requested', { by: by.account.username, ...request })
    return viewVerification(this.#context.verification.state())
  }

  view(): VerificationView {
    return viewVerification(this.#context.verification.state())
  }

  /** End the one that runs, if any. */
  async cancel(): Promise<void> {
    await this.#context.verification.cancel()
  }
}

function viewVerification(state: VerificationState) {
  const { counts } = state
  return {
    state: state.state,
    phase: state.phase ?? null,
    checked: state.checked,
    total: state.total,
    bytes_checked: state.bytesChecked,
    repair: state.repairs,
    sample_percent: state.samplePercent,
    counts: {
      damaged: counts.damaged,
      missing: counts.missing,
      repaired: counts.repaired,
      not_repaired: counts.notRepaired,
      drift: counts.drift,
      drift_not_repaired: counts.driftNotRepaired,
      rows_without_file: counts.rowsWithoutFile,
      files_without_row: counts.filesWithoutRow,
      organizations: counts.organizations,
    },
    damaged: state.damaged.map(viewFinding),
    missing: state.missing.map(viewFinding),
    repaired: state.repaired.map(viewFinding),
    not_repaired: state.notRepaired.map(viewFinding),
    drift: state.drift.map((drift) => ({
      organization: drift.organization,
      charge_bytes: drift.chargeBytes,
      ledger_bytes: drift.ledgerBytes,
      recount_bytes: drift.recountBytes,
      roots: drift.roots,
      repaired: drift.isRepaired,
    })),
    started: state.startedAtMs ?? null,
    finished: state.finishedAtMs ?? null,
    message: state.message,
  }
}

function viewFinding({ digest, organization, reason }: BlobFinding) {
  return {
    digest,
    ...(organization === undefined ? {} : { organization }),
    ...(reason === undefined ? {} : { reason }),
  }
}
