/**
 * One at a time, first come first served: who may use SQLite's one writing connection.
 *
 * SQLite answers at once, so a row of transactions would run as one long task, and a loop of them would stop everything
 * else in the process. Between two holders the event loop takes a turn.
 */
export class WriterLock {
  readonly #waiting: (() => void)[] = []
  #isHeld = false

  /** Resolves when the caller holds the lock; the caller must `release` it. */
  async acquire(): Promise<void> {
    if (!this.#isHeld) {
      this.#isHeld = true
      return
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  release(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#isHeld = false
    else setImmediate(next)
  }
}
