/** How much is asked of one upstream at a time: clients first, background work behind them and never much of it. */

export type Priority = 'client' | 'background'
type Waiting = { priority: Priority; start: () => void }

export class Limiter {
  readonly #runningMax: number
  readonly #backgroundMax: number
  readonly #waitingMax: number
  readonly #running = { client: 0, background: 0 }
  readonly #waiting: Record<Priority, Waiting[]> = { client: [], background: [] }

  constructor(limits: { runningMax: number; backgroundMax: number; waitingMax: number }) {
    this.#runningMax = limits.runningMax
    this.#backgroundMax = limits.backgroundMax
    this.#waitingMax = limits.waitingMax
  }

  /**
   * Resolves when it is the caller's turn, to the function that ends it (idempotent). When `promoted` is aborted while
   * background work waits, it goes on waiting behind the clients that wait, as one of them.
   * Rejects with the signal's reason, or with `full()` when too many are waiting.
   */
  acquire(
    asked: Priority,
    signal: AbortSignal | undefined,
    full: () => Error,
    promoted?: AbortSignal,
  ): Promise<() => void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason)
    const priority = promoted?.aborted === true ? 'client' : asked
    if (this.#waiting[priority].length === 0 && this.#hasRoom(priority)) return Promise.resolve(this.#start(priority))
    if (this.#waiting.client.length + this.#waiting.background.length >= this.#waitingMax) {
      return Promise.reject(full())
    }
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        priority,
        start: () => {
          forget()
          resolve(this.#start(waiting.priority))
        },
      }
      const cancel = () => {
        forget()
        this.#leave(waiting)
        reject(signal?.reason)
        this.#next()
      }
      const promote = () => {
        this.#leave(waiting)
        waiting.priority = 'client'
        this.#waiting.client.push(waiting)
        this.#next() // Background work may have waited where there is room for a client.
      }
      const forget = () => {
        signal?.removeEventListener('abort', cancel)
        promoted?.removeEventListener('abort', promote)
      }
      signal?.addEventListener('abort', cancel, { once: true })
      if (priority === 'background') promoted?.addEventListener('abort', promote, { once: true })
      this.#waiting[priority].push(waiting)
    })
  }

  #leave(waiting: Waiting): void {
    const { priority } = waiting
    this.#waiting[priority] = this.#waiting[priority].filter((other) => other !== waiting)
  }

  #hasRoom(priority: Priority): boolean {
    if (this.#running.client + this.#running.background >= this.#runningMax) return false
    if (priority === 'client') return true
    return this.#waiting.client.length === 0 && this.#running.background < this.#backgroundMax
  }

  #start(priority: Priority): () => void {
    this.#running[priority] += 1
    let isRunning = true
    return () => {
      if (!isRunning) return
      isRunning = false
      this.#running[priority] -= 1
      this.#next()
    }
  }

  #next(): void {
    for (const priority of ['client', 'background'] as const) {
      while (this.#hasRoom(priority)) {
        const waiting = this.#waiting[priority].shift()
        if (waiting === undefined) break
        waiting.start()
      }
    }
  }
}
