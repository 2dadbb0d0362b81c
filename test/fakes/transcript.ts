/** The requests that a fake upstream got, in the order in which they came. */
import type { IncomingHttpHeaders } from 'node:http'

export type TranscriptEntry = {
  method: string
  /** Path and query as they came. */
  target: string
  headers: IncomingHttpHeaders
  /** Undefined as long as there is no answer. */
  status: number | undefined
  /** Bytes of the body that were handed to the connection. */
  bodyBytes: number
  /** Whether the answer is over: sent whole, broken, or given up by the other side. */
  isOver: boolean
}

/** Longer than the upstream client's longest time-out. */
const waitMsMax = 45_000

type Waiter = { isMet: () => boolean; resolve: () => void }

export class Transcript {
  #entries: TranscriptEntry[] = []
  #waiters: Waiter[] = []

  begin(method: string, target: string, headers: IncomingHttpHeaders): TranscriptEntry {
    const entry: TranscriptEntry = { method, target, headers, status: undefined, bodyBytes: 0, isOver: false }
    this.#entries.push(entry)
    this.changed()
    return entry
  }

  get entries(): readonly TranscriptEntry[] {
    return this.#entries
  }

  /** `GET /v2/library/alpine/manifests/3.20 200`, and ` header=value` for each of `headers` that was sent. */
  lines(headers: readonly string[] = []): string[] {
    return this.#entries.map((entry) => {
      const shown = headers.flatMap((name) => {
        const value = entry.headers[name.toLowerCase()]
        return value === undefined ? [] : [` ${name}=${String(value)}`]
      })
      return `${entry.method} ${entry.target} ${entry.status ?? '-'}${shown.join('')}`
    })
  }

  /** The lines so far, which are then forgotten. */
  take(headers: readonly string[] = []): string[] {
    const lines = this.lines(headers)
    this.#entries = []
    return lines
  }

  /**
   * Resolves as soon as `isMet` holds; it is asked again at each change.
   * Rejects with the lines so far when that takes longer than any time-out, so that a broken test ends and says why.
   */
  until(isMet: (transcript: Transcript) => boolean): Promise<void> {
    if (isMet(this)) return Promise.resolve()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const giveUp = () => reject(new Error(`the upstream was not asked as expected:\n${this.lines().join('\n')}`))
    const timer = setTimeout(giveUp, waitMsMax)
    this.#waiters.push({ isMet: () => isMet(this), resolve })
    return promise.finally(() => clearTimeout(timer))
  }

  changed(): void {
    const met = this.#waiters.filter((waiter) => waiter.isMet())
    this.#waiters = this.#waiters.filter((waiter) => !met.includes(waiter))
    for (const waiter of met) waiter.resolve()
  }
}
