/** What tests hold closed instead of sleeping: a gate opens once, a valve lets a number of bytes through. */

/** Closed until `open` is called; `passed` then resolves, for all who wait and all who come later. */
export class Gate {
  readonly passed: Promise<void>
  readonly #resolve: () => void

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.passed = promise
    this.#resolve = resolve
  }

  open(): void {
    this.#resolve()
  }
}

/** Lets bodies flow up to `allowed` bytes, counted in each body from the first byte that is sent. */
export class Valve {
  #allowed = 0
  #change = Promise.withResolvers<void>()

  /** Let `bytes` more through. */
  allow(bytes: number): void {
    this.#allowed += bytes
    const changed = this.#change
    this.#change = Promise.withResolvers<void>()
    changed.resolve()
  }

  open(): void {
    this.allow(Number.POSITIVE_INFINITY)
  }

  /** How many of `wanted` bytes may follow after `sent`; waits until it is at least one. */
  async next(sent: number, wanted: number): Promise<number> {
    while (this.#allowed <= sent) await this.#change.promise
    return Math.min(wanted, this.#allowed - sent)
  }
}
