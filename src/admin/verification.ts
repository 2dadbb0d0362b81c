/** The verification of the store, as superusers start, watch and cancel it. */
import type { VerificationRequest } from '../registry/verification.ts'
import type { BlobFinding, VerificationState } from '../registry/verification-state.ts'
import { AdminError, unauthorized } from './admin-error.ts'
import { type AccountCaller, type Caller, requireAccount } from './caller.ts'
import type { Rights } from './rights.ts'
import type { AdminContext } from './settings.ts'

/** Instants are milliseconds since the epoch, null before they came. */
export type VerificationView = ReturnType<typeof viewVerification>

export class Verifications {
  readonly #context: AdminContext
  readonly #rights: Rights

  constructor(context: AdminContext, rights: Rights) {
    this.#context = context
    this.#rights = rights
  }

  /** Errors: AdminError CONFLICT when one is running, INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  start(caller: Caller, request: VerificationRequest): VerificationView {
    const by = this.#superuser(caller)
    if (!this.#context.verification.start(request)) {
      throw new AdminError('CONFLICT', 'a verification is running: wait for it, or cancel it with DELETE')
    }
    this.#context.report('verification_requested', { by: by.account.username, ...request })
    return viewVerification(this.#context.verification.state())
  }

  /** Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  view(caller: Caller): VerificationView {
    this.#superuser(caller)
    return viewVerification(this.#context.verification.state())
  }

  /** End the one that runs, if any. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  async cancel(caller: Caller): Promise<void> {
    this.#superuser(caller)
    await this.#context.verification.cancel()
  }

  #superuser(caller: Caller): AccountCaller {
    const account = requireAccount(caller)
    if (!this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    this.#rights.refuseReader(account)
    return account
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
