/** Interleavings: who waits at the gate goes on only when everybody else has come to a stop, in the order of a test. */

/** Counts what is under way in the database and the store, so that it can be told when nothing moves any more. */
export class Activity {
  #running = 0

  async during<Value>(work: () => Promise<Value>): Promise<Value> {
    this.#running += 1
    try {
      return await work()
    } finally {
      this.#running -= 1
    }
  }

  /** Resolves when nothing has been under way for some turns of the event loop. */
  async quiet(): Promise<void> {
    for (let still = 0; still < 4; ) {
      await new Promise((resolve) => setImmediate(resolve))
      still = this.#running === 0 ? still + 1 : 0
    }
  }
}

export class Turns {
  readonly #waiting: (() => void)[] = []
  #isOpen = true

  /** At once, unless the gate is closed. */
  pass(): Promise<void> {
    if (this.#isOpen) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Let one after the other go on, chosen by `order`, until `work` has ended. */
  async lead(work: (() => Promise<void>)[], order: readonly number[], activity: Activity): Promise<void> {
    this.#isOpen = false
    let isOver = false
    const all = Promise.allSettled(work.map((start) => this.pass().then(start))).then(() => {
      isOver = true
    })
    for (let turn = 0; !isOver; turn++) {
      await activity.quiet()
      const chosen = (order[turn % order.length] ?? 0) % Math.max(1, this.#waiting.length)
      this.#waiting.splice(chosen, 1)[0]?.()
    }
    await all
    this.open()
  }

  open(): void {
    this.#isOpen = true
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
