/** SQLite in the data folder: one connection that writes, one that reads, a worker that checkpoints. */
import { chmod, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { Kysely } from 'kysely'
import { SECOND_MS } from '../base/units.ts'
import type { MetadataEvents, OpenDatabase } from './db.ts'
import { readDirectly } from './hot-statement.ts'
import type { Database } from './schema.ts'
import { SqliteCheckpointer } from './sqlite-checkpointer.ts'
import { SqliteImmediateDialect, SqliteImmediateDriver, untilFree } from './sqlite-driver.ts'

export const sqliteFileName = 'entrepot.db'

/** While opening, SQLite itself may wait (several processes start at once); afterwards the driver waits instead. */
const openBusyMs = 10 * SECOND_MS
/** Long enough for the instants in which a checkpoint holds a lock, too short to be noticed. */
const busyMs = 20

export async function openSqlite(dataFolder: string, onEvent: MetadataEvents): Promise<OpenDatabase> {
  const path = join(dataFolder, sqliteFileName)
  await mkdir(dataFolder, { recursive: true, mode: 0o700 })
  await (await open(path, 'a', 0o600)).close() // SQLite gives the WAL the mode of the file, and would make it 0644.
  await chmod(path, 0o600)
  const writer = new Sqlite(path, { timeout: openBusyMs })
  try {
    await untilFree(() => writer.pragma('journal_mode = wal'))
    setUp(writer)
    const reader = new Sqlite(path, { timeout: openBusyMs })
    setUp(reader)
    reader.pragma('query_only = on')
    const driver = new SqliteImmediateDriver({ writer, reader })
    const db = new Kysely<Database>({ dialect: new SqliteImmediateDialect(driver) })
    readDirectly(db, (_name, text, parameters) => untilFree(() => driver.read(text, parameters)))
    await driver.init()
    const checkpointer = new SqliteCheckpointer(path, {
      betweenTransactions: (work) => driver.betweenTransactions(work),
      onFailure: (error) => {
        // Slower, but the log stays bounded.
        if (writer.open) writer.pragma('wal_autocheckpoint = 1000')
        onEvent('sqlite_checkpointer_failed', { error })
      },
      onStuck: (walBytes) => onEvent('sqlite_log_not_emptied', { walBytes }),
    })
    return {
      db,
      dialect: 'sqlite',
      async close() {
        await checkpointer.close()
        await driver.destroy()
      },
    }
  } catch (error) {
    writer.close()
    throw error
  }
}

function setUp(connection: Sqlite.Database): void {
  connection.pragma('synchronous = normal')
  connection.pragma('foreign_keys = on')
  connection.pragma('wal_autocheckpoint = 0')
  connection.pragma('cache_size = -32768') // KiB
  connection.pragma('trusted_schema = off')
  connection.pragma('secure_delete = fast') // A secret that was replaced is not left behind in its page.
  connection.pragma(`busy_timeout = ${busyMs}`)
}
