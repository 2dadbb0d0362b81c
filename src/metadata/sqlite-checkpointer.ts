/**
 * Moves SQLite's write-ahead log into the database in a worker thread, so that no commit of the main thread pays for
 * it. Passive checkpoints do not stop writers, and under constant writing the log would grow for ever; beyond a bound
 * writers wait (without blocking the event loop) until the log is empty.
 */
import { Worker } from 'node:worker_threads'
import { MiB } from '../base/units.ts'

export const walBytesMax = 64 * MiB

/** From the worker: how long the log is, or that a truncation has ended. */
export type CheckpointReport = { kind: 'log'; bytes: number } | { kind: 'truncated' }
/** To the worker. */
export type CheckpointOrder = 'truncate' | 'close'

type Options = {
  /** Run the work while no transaction is open. */
  betweenTransactions(work: () => Promise<void>): Promise<void>
  onFailure(error: unknown): void
}

export class SqliteCheckpointer {
  readonly #worker: Worker
  readonly #options: Options
  #isTruncating = false
  #isClosing = false
  #onTruncated: () => void = () => {}
  readonly #ended: Promise<void>

  constructor(path: string, options: Options) {
    this.#options = options
    this.#worker = new Worker(new URL('./sqlite-checkpointer-worker.ts', import.meta.url), { workerData: { path } })
    this.#worker.unref()
    this.#worker.on('message', (report: CheckpointReport) => this.#read(report))
    this.#worker.on('error', (error) => options.onFailure(error))
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        if (!this.#isClosing) options.onFailure(new Error('the checkpointer has ended'))
        this.#onTruncated()
        resolve()
      })
    })
  }

  /** Resolves when the worker has closed its connection. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#worker.ref()
    this.#order('close')
    await this.#ended
  }

  #read(report: CheckpointReport): void {
    if (report.kind === 'truncated') this.#onTruncated()
    else if (report.kind === 'log' && report.bytes > walBytesMax) void this.#truncate()
  }

  async #truncate(): Promise<void> {
    if (this.#isTruncating || this.#isClosing) return
    this.#isTruncating = true
    try {
      await this.#options.betweenTransactions(async () => {
        if (this.#isClosing) return
        const truncated = new Promise<void>((resolve) => {
          this.#onTruncated = resolve
        })
        this.#order('truncate')
        await truncated
      })
    } finally {
      this.#isTruncating = false
    }
  }

  #order(order: CheckpointOrder): void {
    this.#worker.postMessage(order)
  }
}
