/** The worker of `sqlite-checkpointer.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import Sqlite from 'better-sqlite3'
import { everyMs } from '../base/timers.ts'
import type { CheckpointOrder, CheckpointReport } from './sqlite-checkpointer.ts'

const intervalMs = 300
const busyMs = 1000
const pageBytesDefault = 4096

const database = new Sqlite(String(workerData.path), { timeout: busyMs })
database.pragma('synchronous = normal')
database.pragma('wal_autocheckpoint = 0')
const pageBytes = Number(database.pragma('page_size', { simple: true }) ?? pageBytesDefault)

const timer = everyMs(intervalMs, passive)

parentPort?.on('message', (order: CheckpointOrder) => {
  if (order === 'truncate') {
    checkpoint('truncate')
    report({ kind: 'truncated' })
    return
  }
  timer.cancel()
  database.close()
  parentPort?.close()
})

function passive(): void {
  report({ kind: 'log', bytes: checkpoint('passive') * pageBytes })
}

/** Resolves to the pages in the log. A lock held elsewhere is no failure: the next one comes soon. */
function checkpoint(mode: 'passive' | 'truncate'): number {
  try {
    const [row] = database.pragma(`wal_checkpoint(${mode})`) as { busy: number; log: number }[]
    return row?.log ?? 0
  } catch (error) {
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('SQLITE_BUSY')) return 0
    throw error
  }
}

function report(message: CheckpointReport): void {
  parentPort?.postMessage(message)
}
