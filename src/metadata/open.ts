/** Opens the metadata: the only place that asks which database it is. */
import type { MetadataDialect, MetadataEvents, OpenDatabase } from './db.ts'
import { migrate } from './migrate.ts'
import { openPostgres } from './open-postgres.ts'
import { openSqlite } from './open-sqlite.ts'
import { transact } from './transaction.ts'

/** What every function of this folder takes first: the database, or a transaction of it. */
export type Db = OpenDatabase['db']

export interface Metadata {
  readonly db: Db
  readonly dialect: MetadataDialect
  /**
   * Run `work` in a transaction; it is rolled back when `work` throws. `work` may run several times, so it must await
   * nothing but the database, change nothing else, and use only the handle that it is given.
   */
  transaction<Result>(work: (tx: Db) => Promise<Result>): Promise<Result>
  /** Resolves when every connection is closed. */
  close(): Promise<void>
}

export type MetadataOptions = {
  /** `DB_URI`; undefined is SQLite in the data folder. Never printed: it can hold a password. */
  uri: string | undefined
  dataFolder: string
  onEvent?: MetadataEvents
}

/**
 * Open the database and bring it to the current schema.
 * Errors: DatabaseTooNewError; a message without secrets when it cannot be reached, is too old a server or not ours.
 */
export async function openMetadata(options: MetadataOptions): Promise<Metadata> {
  const onEvent = options.onEvent ?? (() => {})
  const opened =
    options.uri === undefined ? await openSqlite(options.dataFolder, onEvent) : await openPostgres(options.uri, onEvent)
  try {
    await migrate(opened.db, opened.dialect)
  } catch (error) {
    await opened.close()
    throw error
  }
  return {
    db: opened.db,
    dialect: opened.dialect,
    transaction: (work) => transact(opened.db, work),
    close: () => opened.close(),
  }
}
