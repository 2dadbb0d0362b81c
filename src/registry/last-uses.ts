/**
 * Last-use times and renewed expiries, gathered in memory and written in batches, so that a hit costs no SQL.
 * A crash loses at most `flushMs` of them: a tag is then a second older than it was.
 */
import { SECOND_MS } from '../base/units.ts'
import { findHolders } from '../metadata/manifests.ts'
import type { Metadata } from '../metadata/open.ts'
import { hasLiveRoot } from '../metadata/roots.ts'
import { applyUses } from '../metadata/tags.ts'

export const LAST_USE_LIMITS = {
  flushMs: SECOND_MS,
  /** Rows of one transaction: the event loop is not held longer than some milliseconds. */
  rowsMax: 100,
  /** While the database cannot be written, uses beyond this are dropped and counted. */
  pendingMax: 100_000,
} as const

/** `undefined` leaves an expiry as it is, `null` makes it for ever. */
export type Use = { id: number; lastUsedAtMs: number; expiresAtMs: number | null | undefined }
type ManifestUse = Use & { repositoryId: number; digest: string; revives?: boolean }

export class LastUses {
  readonly #metadata: Metadata
  readonly #report: (event: string, fields: Record<string, unknown>) => void
  readonly #onRenewed: (repositoryId: number, tag: string) => void
  #tags = new Map<number, Use>()
  #manifests = new Map<number, ManifestUse>()
  #dropped = 0
  #flushing: Promise<void> | undefined

  /** `onRenewed` is told of tags whose expiry was renewed by a pull by digest: what is remembered of them is old. */
  constructor(
    metadata: Metadata,
    onRenewed: (repositoryId: number, tag: string) => void,
    report: (event: string, fields: Record<string, unknown>) => void,
  ) {
    this.#metadata = metadata
    this.#onRenewed = onRenewed
    this.#report = report
  }

  /** Whether there is something that `flush` would write. */
  get hasPending(): boolean {
    return this.#flushing !== undefined || this.#tags.size > 0 || this.#manifests.size > 0
  }

  touchTag(use: Use): void {
    this.#touch(this.#tags, use)
  }

  /** A use of a manifest is one of every tag and index that holds it; those are found when the batch is written. */
  touchManifest(use: ManifestUse): void {
    this.#touch(this.#manifests, use)
  }

  /** Write what has gathered. What cannot be written is kept for the next time. */
  flush(): Promise<void> {
    this.#flushing ??= this.#write().finally(() => {
      this.#flushing = undefined
    })
    return this.#flushing
  }

  /** Write also what was used while a batch before was being written. */
  async settle(): Promise<void> {
    await this.flush()
    if (this.hasPending) await this.flush()
  }

  #touch<Row extends Use>(pending: Map<number, Row>, use: Row): void {
    const before = pending.get(use.id)
    if (before !== undefined) {
      if (use.expiresAtMs !== undefined && use.lastUsedAtMs >= before.lastUsedAtMs) before.expiresAtMs = use.expiresAtMs
      before.lastUsedAtMs = Math.max(before.lastUsedAtMs, use.lastUsedAtMs)
    } else if (pending.size < LAST_USE_LIMITS.pendingMax) {
      pending.set(use.id, use)
    } else {
      this.#dropped += 1
    }
  }

  async #write(): Promise<void> {
    const tags = this.#tags
    const manifests = this.#manifests
    this.#tags = new Map()
    this.#manifests = new Map()
    try {
      const renewed = await this.#addHolders(manifests, tags)
      for (const batch of inBatches([...tags.values()])) {
        await this.#metadata.transaction((tx) => applyUses(tx, { tags: batch, manifests: [] }))
      }
      for (const batch of inBatches([...manifests.values()])) {
        await this.#metadata.transaction((tx) => applyUses(tx, { tags: [], manifests: batch }))
      }
      for (const { repositoryId, name } of renewed) this.#onRenewed(repositoryId, name)
    } catch (error) {
      for (const use of tags.values()) this.#touch(this.#tags, use)
      for (const use of manifests.values()) this.#touch(this.#manifests, use)
      this.#report('last_uses_not_written', { error, pending: this.#tags.size + this.#manifests.size })
    }
    if (this.#dropped > 0) this.#report('last_uses_dropped', { count: this.#dropped })
    this.#dropped = 0
  }

  /**
   * Add the indexes and the live tags above each used manifest: a pull by digest brings no expired tag back. Resolves
   * to those tags.
   */
  async #addHolders(
    manifests: Map<number, ManifestUse>,
    tags: Map<number, Use>,
  ): Promise<{ repositoryId: number; name: string }[]> {
    const renewed: { repositoryId: number; name: string }[] = []
    for (const use of [...manifests.values()]) {
      const holders = await findHolders(this.#metadata.db, use.repositoryId, use.digest)
      const { lastUsedAtMs, expiresAtMs } = use
      for (const { id, name, expiresAtMs: before } of holders.tags) {
        if (before !== undefined && before <= lastUsedAtMs) continue
        const pending = tags.get(id)
        if (pending === undefined || pending.lastUsedAtMs < lastUsedAtMs)
          tags.set(id, { id, lastUsedAtMs, expiresAtMs })
        // A stale pull of the tag leaves the expiry; that of the digest has renewed it all the same.
        else if (pending.expiresAtMs === undefined) pending.expiresAtMs = expiresAtMs
        renewed.push({ repositoryId: use.repositoryId, name })
      }
      for (const id of holders.manifestIds) {
        if (!manifests.has(id)) manifests.set(id, { ...use, id })
      }
      // Nothing that is alive holds it any more: from now on it lives by itself, as one that was asked for by digest.
      const above = [use.id, ...holders.manifestIds]
      if (expiresAtMs !== undefined) use.revives = !(await hasLiveRoot(this.#metadata.db, above, lastUsedAtMs))
    }
    return renewed
  }
}

function inBatches<Row>(rows: Row[]): Row[][] {
  const batches: Row[][] = []
  for (let start = 0; start < rows.length; start += LAST_USE_LIMITS.rowsMax) {
    batches.push(rows.slice(start, start + LAST_USE_LIMITS.rowsMax))
  }
  return batches
}
