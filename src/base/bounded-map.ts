type Entry<Value> = { value: Value; isUsed: boolean }

/**
 * A map that forgets what was not used lately when it grows past its bound. A use only marks its entry: on a hot path,
 * moving it to the end of the map at each use would cost more than the use itself. When there are too many, the oldest
 * that was used since gets a second chance, and the oldest that was not goes.
 */
export class BoundedMap<Key, Value> {
  readonly #entries = new Map<Key, Entry<Value>>()
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

  /** Find an entry without counting it as used. */
  peek(key: Key): Value | undefined {
    return this.#entries.get(key)?.value
  }

  /** Find an entry and count it as used. */
  get(key: Key): Value | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    entry.isUsed = true
    return entry.value
  }

  set(key: Key, value: Value): void {
    this.delete(key)
    this.#entries.set(key, { value, isUsed: false })
    this.#weight += this.#weigh(value)
    while (this.#weight > this.#weightMax && this.#entries.size > 1) this.#forgetOldest(key)
  }

  delete(key: Key): boolean {
    const entry = this.#entries.get(key)
    if (entry === undefined) return false
    this.#weight -= this.#weigh(entry.value)
    return this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
    this.#weight = 0
  }

  /** Forget the oldest that has no second chance; never `newest`. Each round takes a chance away, so it ends. */
  #forgetOldest(newest: Key): void {
    for (const [key, entry] of this.#entries) {
      if (key !== newest && !entry.isUsed) {
        this.delete(key)
        return
      }
      entry.isUsed = false
      this.#entries.delete(key)
      this.#entries.set(key, entry)
    }
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
