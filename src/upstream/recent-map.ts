/** A map that holds at most `entriesMax` entries: the one that was not touched for longest makes room. */
export class RecentMap<Value> {
  readonly #entries = new Map<string, Value>()
  readonly #entriesMax: number
  readonly #onDrop: (value: Value) => void

  constructor(entriesMax: number, onDrop: (value: Value) => void = () => {}) {
    this.#entriesMax = entriesMax
    this.#onDrop = onDrop
  }

  find(key: string): Value | undefined {
    const value = this.#entries.get(key)
    if (value === undefined) return undefined
    this.#entries.delete(key) // Maps keep the order of insertion: the first is the longest untouched.
    this.#entries.set(key, value)
    return value
  }

  set(key: string, value: Value): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    if (this.#entries.size <= this.#entriesMax) return
    for (const [oldest, dropped] of this.#entries) {
      this.#entries.delete(oldest)
      this.#onDrop(dropped)
      return
    }
  }

  findOrCreate(key: string, create: () => Value): Value {
    const found = this.find(key)
    if (found !== undefined) return found
    const created = create()
    this.set(key, created)
    return created
  }

  /** Forget an entry without dropping it. */
  delete(key: string): void {
    this.#entries.delete(key)
  }

  /** From the longest untouched; entries may be deleted meanwhile. */
  entries(): MapIterator<[string, Value]> {
    return this.#entries.entries()
  }
}
