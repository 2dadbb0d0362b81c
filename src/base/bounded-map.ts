/** A map that forgets what was used longest ago when it grows past its bound. */
export class BoundedMap<Key, Value> {
  readonly #entries = new Map<Key, Value>()
  readonly #weightMax: number
  readonly #weigh: (value: Value) => number
  #weight = 0

  /** `weigh` gives each entry's share of `weightMax`; without it the bound is a number of entries. */
  constructor(weightMax: number, weigh: (value: Value) => number = () => 1) {
    this.#weightMax = weightMax
    this.#weigh = weigh
  }

  get size(): number {
    return this.#entries.size
  }

  has(key: Key): boolean {
    return this.#entries.has(key)
  }

  /** Find an entry without counting it as used: for hot paths, where order matters less than time. */
  peek(key: Key): Value | undefined {
    return this.#entries.get(key)
  }

  /** Find an entry and make it the most recently used. */
  get(key: Key): Value | undefined {
    const value = this.#entries.get(key)
    if (value === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, value)
    return value
  }

  set(key: Key, value: Value): void {
    this.delete(key)
    this.#entries.set(key, value)
    this.#weight += this.#weigh(value)
    for (const [oldest] of this.#entries) {
      if (this.#weight <= this.#weightMax || oldest === key) break
      this.delete(oldest)
    }
  }

  delete(key: Key): boolean {
    const value = this.#entries.get(key)
    if (value === undefined) return false
    this.#weight -= this.#weigh(value)
    return this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
    this.#weight = 0
  }

  values(): IterableIterator<Value> {
    return this.#entries.values()
  }
}

/** Facts that are true for a while: each is forgotten at its time, or when there are too many. */
export class PassingMap<Value> {
  readonly #entries: BoundedMap<string, { value: Value; untilMs: number }>

  constructor(entriesMax: number) {
    this.#entries = new BoundedMap(entriesMax)
  }

  find(key: string, nowMs: number): Value | undefined {
    const entry = this.#entries.peek(key)
    if (entry === undefined) return undefined
    if (entry.untilMs > nowMs) return entry.value
    this.#entries.delete(key)
    return undefined
  }

  set(key: string, value: Value, untilMs: number): void {
    this.#entries.set(key, { value, untilMs })
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }
}
