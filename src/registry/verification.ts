/**
 * The whole store verified beside the traffic (DESIGN part 5, Healing), in phases: *hash* every stored blob or a random
 * sample and have what is damaged fetched again; compare *rows* with files; recount the *charge* of each organization.
 * One at a time, in memory only: a restart ends it.
 */
import { monotonicMs } from '../base/clock.ts'
import { countStoredBlobs, listStoredBlobs, listUnknownBlobs, type StoredBlobRow } from '../metadata/stored-blobs.ts'
import type { Digest } from '../oci/digest.ts'
import { type BlobVerificationDeps, lookAtBlob, type Verifying, verifyBlob } from './blob-verification.ts'
import { type ChargeVerificationDeps, verifyCharges } from './charge-verification.ts'
import type { Delay } from './ingest-limits.ts'
import { IDLE, VERIFICATION_LIMITS, VerificationProgress, type VerificationState } from './verification-state.ts'

export type VerificationDeps = BlobVerificationDeps &
  ChargeVerificationDeps & {
    delayMs: Delay
    /** From 0 to 1, 1 excluded: which blobs are in a sample. */
    random: () => number
    report: (event: string, fields: Record<string, unknown>) => void
  }

/** `samplePercent`: over 0, to 100. */
export type VerificationRequest = { samplePercent: number; repairs: boolean }

export class Verification {
  readonly #deps: VerificationDeps
  #progress: VerificationProgress | undefined
  #stop = new AbortController()
  #work: Promise<void> | undefined

  constructor(deps: VerificationDeps) {
    this.#deps = deps
  }

  /** False when one is running already. */
  start(request: VerificationRequest): boolean {
    if (this.#progress?.isRunning === true) return false
    const { clock, report } = this.#deps
    const progress = new VerificationProgress({ startedAtMs: clock(), ...request })
    this.#progress = progress
    this.#stop = new AbortController()
    const { signal } = this.#stop
    report('verification_started', { ...request })
    this.#work = this.#run(progress, signal).then(
      () => this.#end(progress, 'done', ''),
      (error: unknown) => {
        if (signal.aborted) return this.#end(progress, 'cancelled', 'it was cancelled before it had seen everything')
        report('verification_failed', { error })
        return this.#end(progress, 'failed', error instanceof Error ? error.message : 'unknown error')
      },
    )
    return true
  }

  state(): VerificationState {
    return this.#progress?.state() ?? IDLE
  }

  /** Resolves when nothing is running any more. */
  async cancel(): Promise<void> {
    this.#stop.abort(new Error('the verification was cancelled'))
    await this.#work
  }

  /** Resolves when what is running has ended by itself. */
  async settled(): Promise<void> {
    await this.#work
  }

  #end(progress: VerificationProgress, state: 'done' | 'cancelled' | 'failed', message: string): void {
    progress.end(state, message, this.#deps.clock())
    this.#deps.report('verification_ended', { state, checked: progress.checked, ...progress.counts })
  }

  async #run(progress: VerificationProgress, signal: AbortSignal): Promise<void> {
    const verifying = { progress, signal, pause: makePause(this.#deps.delayMs, signal) }
    await this.#hash(verifying)
    progress.phase = 'rows'
    await this.#compareRows(verifying)
    await this.#compareFiles(verifying)
    progress.phase = 'charge'
    await verifyCharges(this.#deps, verifying)
  }

  /** Knuth's selection sampling: exactly so many of those that there were, each with the same chance. */
  async #hash(verifying: Verifying): Promise<void> {
    const { progress } = verifying
    const { blobs } = await countStoredBlobs(this.#deps.metadata.db)
    progress.total = Math.ceil((blobs * progress.samplePercent) / 100)
    let left = blobs
    for await (const row of this.#storedBlobs()) {
      const wanted = progress.total - progress.checked
      const isChosen = progress.samplePercent === 100 || this.#deps.random() * left < wanted
      left = Math.max(1, left - 1)
      if (!isChosen) continue
      await verifyBlob(this.#deps, row, verifying)
      progress.checked += 1
      progress.total = Math.max(progress.total, progress.checked)
      await verifying.pause(0)
    }
    progress.total = progress.checked // Some may have gone meanwhile.
  }

  async #compareRows(verifying: Verifying): Promise<void> {
    for await (const row of this.#storedBlobs()) {
      await lookAtBlob(this.#deps, row, verifying)
      await verifying.pause(0)
    }
  }

  async #compareFiles(verifying: Verifying): Promise<void> {
    const { metadata, store } = this.#deps
    const count = async (digests: readonly Digest[]) => {
      const unknown = await listUnknownBlobs(metadata.db, digests)
      verifying.progress.counts.filesWithoutRow += unknown.length
      await verifying.pause(0)
    }
    let step: Digest[] = []
    for await (const { digest } of store.list()) {
      step.push(digest)
      if (step.length < VERIFICATION_LIMITS.rowsPerStep) continue
      await count(step)
      step = []
    }
    await count(step)
  }

  async *#storedBlobs(): AsyncIterable<StoredBlobRow> {
    for (let after = ''; ; ) {
      const rows = await listStoredBlobs(this.#deps.metadata.db, after, VERIFICATION_LIMITS.rowsPerStep)
      yield* rows
      const last = rows.at(-1)
      if (last === undefined) return
      after = last.digest
    }
  }
}

/** Rests as long as the work since the last rest took, so that at most half of anything is spent on verifying. */
function makePause(delayMs: Delay, signal: AbortSignal): Verifying['pause'] {
  let steps = 0
  let bytesSince = 0
  let workedSinceMs = monotonicMs()
  return async (bytes) => {
    signal.throwIfAborted()
    bytesSince += bytes
    steps += 1
    if (bytesSince < VERIFICATION_LIMITS.bytesPerStep && steps < VERIFICATION_LIMITS.rowsPerStep) return
    const workedMs = monotonicMs() - workedSinceMs
    await delayMs(Math.min(Math.ceil(workedMs), VERIFICATION_LIMITS.pauseMsMax), { signal })
    bytesSince = 0
    steps = 0
    workedSinceMs = monotonicMs()
  }
}
