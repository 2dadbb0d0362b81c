/**
 * Moves SQLite's write-ahead log into the database in a worker thread, so that no commit of the main thread pays for
 * it. Passive checkpoints do not stop writers, and under constant writing the log would grow for ever; beyond a bound
 * writers wait (without blocking the event loop) until the log is empty.
 */
import { Worker } from 'node:worker_threads'
import { MiB } from '../base/units.ts'

/** Beyond it writers wait for the log to be emptied. */
export const walBytesMax = 64 * MiB

/** From the worker: how long the log is, and that it tried to empty it. */
export type CheckpointReport = { kind: 'passive' | 'truncate'; walBytes: number }
/** To the worker. */
export type CheckpointOrder = 'truncate' | 'close'

type Options = {
  /** Run the work while no transaction is open. */
  betweenTransactions(work: () => Promise<void>): Promise<void>
  onFailure(error: unknown): void
  /** The log could not be emptied: somebody holds an old state of the database open. It is tried again later. */
  onStuck(walBytes: number): void
  walBytesMax?: number
}

export class SqliteCheckpointer {
  readonly #worker: Worker
  readonly #options: Options
  /** The log is emptied when it is longer. */
  #boundBytes: number
  #isTruncating = false
  #isClosing = false
  #onTruncated: (walBytes: number) => void = () => {}
  readonly #ended: Promise<void>

  constructor(path: string, options: Options) {
    this.#options = options
    this.#boundBytes = options.walBytesMax ?? walBytesMax
    this.#worker = new Worker(new URL('./sqlite-checkpointer-worker.ts', import.meta.url), { workerData: { path } })
    this.#worker.unref()
    this.#worker.on('message', (report: CheckpointReport) => this.#read(report))
    this.#worker.on('error', (error) => options.onFailure(error))
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        if (!this.#isClosing) options.onFailure(new Error('the checkpointer has ended'))
        this.#onTruncated(0)
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
    if (report.kind === 'truncate') this.#onTruncated(report.walBytes)
    else if (report.walBytes > this.#boundBytes) void this.#truncate()
  }

  async #truncate(): Promise<void> {
    if (this.#isTruncating || this.#isClosing) return
    this.#isTruncating = true
    try {
      await this.#options.betweenTransactions(async () => {
        if (this.#isClosing) return
        const truncated = new Promise<number>((resolve) => {
          this.#onTruncated = resolve
        })
        this.#order('truncate')
        const walBytes = await truncated
        // Whoever holds it open must not hold up our writers again and again.
        this.#boundBytes = walBytes + (this.#options.walBytesMax ?? walBytesMax)
        if (walBytes > 0) this.#options.onStuck(walBytes)
      })
    } finally {
      this.#isTruncating = false
    }
  }

  #order(order: CheckpointOrder): void {
    this.#worker.postMessage(order)
  }
}
