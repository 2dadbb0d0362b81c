/**
 * Files that no row names, and rows whose file is missing: the store and the table of its blobs are walked side by
 * side in the order of digests, in small steps, at most once a day. Files go after a grace time; rows are only
 * reported, since `entrepot verify` repairs them.
 */
import type { Clock } from '../base/clock.ts'
import { DAY_MS } from '../base/units.ts'
import type { BlobStore, ListedBlob } from '../blobs/blob-store.ts'
import { findStoredBlob } from '../metadata/blobs.ts'
import { findInstanceValue, setInstanceValue } from '../metadata/instance.ts'
import type { Metadata } from '../metadata/open.ts'
import { listStoredBlobs, listUnknownBlobs } from '../metadata/stored-blobs.ts'
import type { Digest } from '../oci/digest.ts'
import type { BlobShelf } from '../registry/blob-shelf.ts'

export const SWEEP_LIMITS = {
  /** Younger files may be about to get their row. */
  graceMs: DAY_MS,
  /** From the end of one walk to the beginning of the next. */
  walkEveryMs: DAY_MS,
  blobsPerStep: 500,
  /** Of one run of the collector: ten million blobs in less than a day of runs every 30 s. */
  stepsPerRun: 10,
  /** Digests of missing files that one log line names. */
  reportedMax: 10,
} as const

/** Between the runs, and across restarts: where the walk is, and when the last one ended. Real time. */
type SweepState = { after: string; walkEndedAtMs: number | undefined }

const stateKey = 'orphan_sweep'

export type OrphanSweepDeps = {
  metadata: Metadata
  store: Pick<BlobStore, 'list' | 'find'>
  shelf: Pick<BlobShelf, 'removeOrphan'>
  /** Real time, also under a test clock: it is compared with that of files. */
  realClock: Clock
  report: (event: string, fields: Record<string, unknown>) => void
}

export class OrphanSweep {
  readonly #deps: OrphanSweepDeps
  readonly #missing: Digest[] = []

  constructor(deps: OrphanSweepDeps) {
    this.#deps = deps
  }

  /**
   * Go on with the walk for some steps, or begin one when it is time; resolves to the number of files removed.
   * `pause` is awaited between the steps. Errors: the database's and the store's; the walk goes on there next time.
   */
  async run(pause: () => Promise<void>): Promise<number> {
    const { metadata, realClock } = this.#deps
    const state = parseState(await findInstanceValue(metadata.db, stateKey))
    if (state.after === '' && !this.#isTime(state)) return 0
    const files = this.#deps.store.list(state.after)[Symbol.asyncIterator]()
    let removed = 0
    try {
      for (let step = 0; step < SWEEP_LIMITS.stepsPerRun; step++) {
        const page = await takeSome(files)
        const isLast = page.length < SWEEP_LIMITS.blobsPerStep
        removed += await this.#removeOrphans(page)
        await this.#findMissing(state.after, page, isLast, pause)
        state.after = isLast ? '' : (page.at(-1)?.digest ?? '')
        if (isLast) state.walkEndedAtMs = realClock()
        await setInstanceValue(metadata.db, stateKey, JSON.stringify(state))
        if (isLast) break
        await pause()
      }
    } finally {
      await files.return?.()
      this.#tellMissing()
    }
    if (removed > 0) this.#deps.report('orphans_removed', { count: removed })
    return removed
  }

  /** A clock that was set back does not keep the walk from beginning. */
  #isTime({ walkEndedAtMs }: SweepState): boolean {
    if (walkEndedAtMs === undefined) return true
    return Math.abs(this.#deps.realClock() - walkEndedAtMs) >= SWEEP_LIMITS.walkEveryMs
  }

  async #removeOrphans(page: readonly ListedBlob[]): Promise<number> {
    const { metadata, shelf, realClock } = this.#deps
    const beforeMs = realClock() - SWEEP_LIMITS.graceMs
    const old = page.filter((blob) => blob.modifiedAtMs <= beforeMs).map((blob) => blob.digest)
    let removed = 0
    for (const digest of await listUnknownBlobs(metadata.db, old)) if (await shelf.removeOrphan(digest)) removed += 1
    return removed
  }

  /** Rows from `after` to the end of the page, or to the last row. */
  async #findMissing(
    after: string,
    page: readonly ListedBlob[],
    isLast: boolean,
    pause: () => Promise<void>,
  ): Promise<void> {
    const { metadata } = this.#deps
    const files = new Set<string>(page.map((file) => file.digest))
    const end = isLast ? undefined : page.at(-1)?.digest
    for (let from = after; ; ) {
      const rows = await listStoredBlobs(metadata.db, from, SWEEP_LIMITS.blobsPerStep)
      for (const { digest } of rows) {
        if (end !== undefined && digest > end) return
        if (!files.has(digest)) await this.#lookAgain(digest)
      }
      if (rows.length < SWEEP_LIMITS.blobsPerStep) return
      from = rows.at(-1)?.digest ?? from
      await pause()
    }
  }

  /** It may have been published or removed while we were walking. */
  async #lookAgain(digest: Digest): Promise<void> {
    const { metadata, store } = this.#deps
    if ((await store.find(digest)) !== undefined) return
    if ((await findStoredBlob(metadata.db, digest)) !== undefined) this.#missing.push(digest)
  }

  #tellMissing(): void {
    const missing = this.#missing.splice(0)
    if (missing.length === 0) return
    const digests = missing.slice(0, SWEEP_LIMITS.reportedMax)
    this.#deps.report('blobs_missing', { count: missing.length, digests, advice: 'run: entrepot verify' })
  }
}

async function takeSome(files: AsyncIterator<ListedBlob>): Promise<ListedBlob[]> {
  const page: ListedBlob[] = []
  while (page.length < SWEEP_LIMITS.blobsPerStep) {
    const next = await files.next()
    if (next.done === true) break
    page.push(next.value)
  }
  return page
}

/** What is no state of ours begins a walk. */
function parseState(text: string | undefined): SweepState {
  const none: SweepState = { after: '', walkEndedAtMs: undefined }
  try {
    const value: unknown = JSON.parse(text ?? 'null')
    if (typeof value !== 'object' || value === null) return none
    const { after, walkEndedAtMs } = value as Record<string, unknown>
    if (typeof after !== 'string') return none
    return { after, walkEndedAtMs: typeof walkEndedAtMs === 'number' ? walkEndedAtMs : undefined }
  } catch {
    return none // Written by something else.
  }
}
