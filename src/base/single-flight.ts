/** Work that several callers want at once is done once, and all of them are told the same outcome. */
export class SingleFlight<Value> {
  readonly #flights = new Map<string, Promise<Value>>()

  /**
   * Start `work`, or join the flight that already carries `key`. Errors are shared too.
   * `work` must not listen to one caller's abort signal: the others are still waiting.
   * The map holds only what is under way, so it needs no bound of its own.
   */
  run(key: string, work: () => Promise<Value>): Promise<Value> {
    const joined = this.#flights.get(key)
    if (joined !== undefined) return joined
    const flight = work().finally(() => this.#flights.delete(key))
    this.#flights.set(key, flight)
    return flight
  }

  /** Whether somebody is at work on `key`. */
  has(key: string): boolean {
    return this.#flights.has(key)
  }
}
