/** The worker of `sqlite-checkpointer.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import Sqlite from 'better-sqlite3'
import { everyMs } from '../base/timers.ts'
import type { CheckpointOrder, CheckpointReport } from './sqlite-checkpointer.ts'
import { errorCode } from './transaction.ts'

const intervalMs = 300
/** Writers wait meanwhile. */
const busyMs = 200
const pageBytesDefault = 4096

const database = new Sqlite(String(workerData.path), { timeout: busyMs })
database.pragma('synchronous = normal')
database.pragma('wal_autocheckpoint = 0')
const pageBytes = Number(database.pragma('page_size', { simple: true }) ?? pageBytesDefault)

const timer = everyMs(intervalMs, () => checkpoint('passive'))

parentPort?.on('message', (order: CheckpointOrder) => {
  if (order === 'truncate') {
    checkpoint('truncate')
    return
  }
  timer.cancel()
  database.close()
  parentPort?.close()
})

/** A lock that is held elsewhere is no failure: the next one comes soon. */
function checkpoint(kind: CheckpointReport['kind']): void {
  let pages = 0
  try {
    const [row] = database.pragma(`wal_checkpoint(${kind})`) as { log: number }[]
    pages = Math.max(0, row?.log ?? 0) // -1: there is no log.
  } catch (error) {
    if (!(errorCode(error) ?? '').startsWith('SQLITE_BUSY')) throw error
  }
  parentPort?.postMessage({ kind, walBytes: pages * pageBytes } satisfies CheckpointReport)
}
