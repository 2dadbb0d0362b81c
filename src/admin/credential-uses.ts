/** When tokens were last used: gathered in memory, written in batches beside the requests. */
import type { Db } from '../metadata/open.ts'
import type { AdminContext } from './settings.ts'

export const CREDENTIAL_USE_LIMITS = {
  /** Rows of one transaction. */
  rowsMax: 100,
  /** While the database cannot be written, uses beyond this are dropped: the next one tells the same. */
  pendingMax: 100_000,
} as const

type Write = (tx: Db, uses: readonly (readonly [id: number, atMs: number])[]) => Promise<void>

export class CredentialUses {
  readonly #context: AdminContext
  readonly #write: Write
  readonly #pending = new Map<number, number>()

  constructor(context: AdminContext, write: Write) {
    this.#context = context
    this.#write = write
  }

  note(id: number): void {
    if (this.#pending.size >= CREDENTIAL_USE_LIMITS.pendingMax && !this.#pending.has(id)) return
    this.#pending.set(id, this.#context.clock())
  }

  /** The later of what is written and what waits to be. */
  lastUsedAtMs(token: { id: number; lastUsedAtMs: number | undefined }): number | undefined {
    const waiting = this.#pending.get(token.id)
    return waiting === undefined ? token.lastUsedAtMs : Math.max(waiting, token.lastUsedAtMs ?? waiting)
  }

  /** Never rejects; what cannot be written is kept for the next time. */
  async flush(): Promise<void> {
    const uses = [...this.#pending]
    try {
      for (let start = 0; start < uses.length; start += CREDENTIAL_USE_LIMITS.rowsMax) {
        const batch = uses.slice(start, start + CREDENTIAL_USE_LIMITS.rowsMax)
        await this.#context.metadata.transaction((tx) => this.#write(tx, batch))
        for (const [id, atMs] of batch) if (this.#pending.get(id) === atMs) this.#pending.delete(id)
      }
    } catch (error) {
      this.#context.report('credential_uses_not_written', { error, pending: this.#pending.size })
    }
  }
}
