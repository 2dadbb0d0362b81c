/** One at a time, first come first served: who may use SQLite's one writing connection. */
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
    else next()
  }
}
