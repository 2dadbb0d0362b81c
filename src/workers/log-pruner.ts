/** Usage logs have an end: what is too old goes, and what an organization has too many of. */
import type { Clock } from '../base/clock.ts'
import { findNextLogged, pruneManyLogEntries, pruneOldLogEntries } from '../metadata/log-entries.ts'
import type { Metadata } from '../metadata/open.ts'

export const LOG_LIMITS = {
  /** Of one organization, and of the installation itself. */
  entriesMax: 100_000,
  /** Deleted in one transaction. */
  rowsPerStep: 100,
  /** Counted in one run; the next goes on with the next. */
  organizationsPerRun: 20,
} as const

export type LogPrunerDeps = {
  metadata: Metadata
  clock: Clock
  /** USAGE_LOG_RETENTION */
  keepMs: number
  limits?: { entriesMax: number; organizationsPerRun: number }
}

export class LogPruner {
  readonly #deps: LogPrunerDeps
  /** Whose entries were counted last; undefined: the next are those of the installation. */
  #counted: number | undefined

  constructor(deps: LogPrunerDeps) {
    this.#deps = deps
  }

  /** `pause` is awaited between steps; it rejects to end the work. Resolves to how many entries went. */
  async run(pause: () => Promise<void>): Promise<number> {
    const { metadata, clock, keepMs, limits = LOG_LIMITS } = this.#deps
    const limit = LOG_LIMITS.rowsPerStep
    let pruned = 0
    const prune = async (step: () => Promise<number>) => {
      for (let removed: number = limit; removed === limit; ) {
        removed = await step()
        pruned += removed
        await pause()
      }
    }
    await prune(() => pruneOldLogEntries(metadata.db, clock() - keepMs, limit))
    const pruneMany = (organizationId: number | undefined) =>
      prune(() => pruneManyLogEntries(metadata.db, organizationId, { keep: limits.entriesMax, limit }))
    if (this.#counted === undefined) await pruneMany(undefined)
    for (let count = 0; count < limits.organizationsPerRun; count++) {
      this.#counted = await findNextLogged(metadata.db, this.#counted ?? 0)
      if (this.#counted === undefined) break
      await pruneMany(this.#counted)
    }
    return pruned
  }
}
