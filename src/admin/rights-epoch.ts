/** A number that grows whenever any right may have changed: what was remembered under another number is forgotten. */
export class RightsEpoch {
  #current = 0

  get current(): number {
    return this.#current
  }

  /** Called after every committed change of an account, organization, team, membership or token. */
  advance(): void {
    this.#current += 1
  }
}

/** Answers that hold until the epoch moves on. At its bound it forgets what was learnt first. */
export class EpochMemory<Value> {
  readonly #epoch: RightsEpoch
  readonly #entriesMax: number
  readonly #entries = new Map<string, Value>()
  #epochOfEntries = -1

  constructor(epoch: RightsEpoch, entriesMax: number) {
    this.#epoch = epoch
    this.#entriesMax = entriesMax
  }

  find(key: string): Value | undefined {
    return this.#epochOfEntries === this.#epoch.current ? this.#entries.get(key) : undefined
  }

  /** `epoch` is the one at which the question was asked: an answer from before a change is not kept. */
  set(key: string, value: Value, epoch: number): void {
    if (epoch !== this.#epoch.current) return
    if (this.#epochOfEntries !== epoch) {
      this.#entries.clear()
      this.#epochOfEntries = epoch
    }
    for (const [oldest] of this.#entries) {
      if (this.#entries.size < this.#entriesMax) break
      this.#entries.delete(oldest)
    }
    this.#entries.set(key, value)
  }

  /** The remembered answer, or a new one. */
  async get(key: string, ask: () => Promise<Value>): Promise<Value> {
    const known = this.find(key)
    if (known !== undefined) return known
    const epoch = this.#epoch.current
    const value = await ask()
    this.set(key, value, epoch)
    return value
  }
}
