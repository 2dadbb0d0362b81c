/** What a verification has done and found so far; its lists are bounded, its counts are not. */
import type { Digest } from '../oci/digest.ts'

export const VERIFICATION_LIMITS = {
  /** Findings of one kind that are listed; the rest is counted. */
  listedMax: 1000,
  /** Rows or files that are looked at between two pauses. */
  rowsPerStep: 100,
  /** Bytes that are hashed between two pauses. */
  bytesPerStep: 16 * 1024 * 1024,
  /** Traffic goes first: a pause is as long as the step before it took, but never longer. */
  pauseMsMax: 1000,
  /** Repositories of one organization in which a blob is asked for before it is given up. */
  repositoriesMax: 10,
} as const

export type VerificationPhase = 'hash' | 'rows' | 'charge'

/** A blob that is not as it was stored, or cannot be had again, and for whom. */
export type BlobFinding = { digest: Digest; organization?: string; reason?: string }

/** An organization whose charge, ledger or roots are not what its manifests say. */
export type Drift = {
  organization: string
  /** Before it was corrected. */
  chargeBytes: number
  ledgerBytes: number
  recountBytes: number
  /** Roots that were missing, superfluous, or of another use or expiry than their tags say. */
  roots: number
  isRepaired: boolean
}

export type VerificationCounts = {
  damaged: number
  missing: number
  repaired: number
  notRepaired: number
  drift: number
  driftNotRepaired: number
  /** Rows of stored bytes whose file is not there; in the whole store, also when only a sample is hashed. */
  rowsWithoutFile: number
  /** Files that no row points at: collected after their time of grace. */
  filesWithoutRow: number
  organizations: number
}

export type VerificationState = {
  state: 'idle' | 'running' | 'done' | 'cancelled' | 'failed'
  phase: VerificationPhase | undefined
  /** Blobs that were hashed, of those that are to be. */
  checked: number
  total: number
  bytesChecked: number
  repairs: boolean
  samplePercent: number
  counts: VerificationCounts
  damaged: readonly BlobFinding[]
  missing: readonly BlobFinding[]
  repaired: readonly BlobFinding[]
  notRepaired: readonly BlobFinding[]
  drift: readonly Drift[]
  startedAtMs: number | undefined
  finishedAtMs: number | undefined
  message: string
}

const FINDINGS = ['damaged', 'missing', 'repaired', 'notRepaired'] as const

export class VerificationProgress {
  readonly #startedAtMs: number
  readonly repairs: boolean
  readonly samplePercent: number
  readonly counts: VerificationCounts = noCounts()
  readonly #findings = { damaged: [], missing: [], repaired: [], notRepaired: [] } as Record<
    (typeof FINDINGS)[number],
    BlobFinding[]
  >
  readonly #drift: Drift[] = []
  phase: VerificationPhase = 'hash'
  checked = 0
  total = 0
  bytesChecked = 0
  #end: { state: 'done' | 'cancelled' | 'failed'; message: string; atMs: number } | undefined

  constructor(options: { startedAtMs: number; repairs: boolean; samplePercent: number }) {
    this.#startedAtMs = options.startedAtMs
    this.repairs = options.repairs
    this.samplePercent = options.samplePercent
  }

  get isRunning(): boolean {
    return this.#end === undefined
  }

  add(kind: (typeof FINDINGS)[number], finding: BlobFinding): void {
    this.counts[kind] += 1
    if (this.#findings[kind].length < VERIFICATION_LIMITS.listedMax) this.#findings[kind].push(finding)
  }

  addDrift(drift: Drift): void {
    this.counts.drift += 1
    if (!drift.isRepaired) this.counts.driftNotRepaired += 1
    if (this.#drift.length < VERIFICATION_LIMITS.listedMax) this.#drift.push(drift)
  }

  end(state: 'done' | 'cancelled' | 'failed', message: string, atMs: number): void {
    this.#end ??= { state, message, atMs }
  }

  state(): VerificationState {
    return {
      state: this.#end?.state ?? 'running',
      phase: this.#end === undefined ? this.phase : undefined,
      checked: this.checked,
      total: this.total,
      bytesChecked: this.bytesChecked,
      repairs: this.repairs,
      samplePercent: this.samplePercent,
      counts: { ...this.counts },
      ...this.#findings,
      drift: this.#drift,
      startedAtMs: this.#startedAtMs,
      finishedAtMs: this.#end?.atMs,
      message: this.#end?.message ?? '',
    }
  }
}

/** What there is to say before one has run; also after a restart, which ends a verification. */
export const IDLE: VerificationState = {
  state: 'idle',
  phase: undefined,
  checked: 0,
  total: 0,
  bytesChecked: 0,
  repairs: false,
  samplePercent: 100,
  counts: noCounts(),
  damaged: [],
  missing: [],
  repaired: [],
  notRepaired: [],
  drift: [],
  startedAtMs: undefined,
  finishedAtMs: undefined,
  message: 'none has run since the server was started; one that ran before was ended by the restart',
}

function noCounts(): VerificationCounts {
  return {
    damaged: 0,
    missing: 0,
    repaired: 0,
    notRepaired: 0,
    drift: 0,
    driftNotRepaired: 0,
    rowsWithoutFile: 0,
    filesWithoutRow: 0,
    organizations: 0,
  }
}
