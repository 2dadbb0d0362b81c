/**
 * Kysely's driver for SQLite, with what its own lacks: `BEGIN IMMEDIATE`, reads that never wait for a writer, waiting
 * for other processes' locks without blocking the event loop, and statements that are prepared once.
 */
import type Sqlite from 'better-sqlite3'
import {
  type CompiledQuery,
  type DatabaseConnection,
  type DatabaseIntrospector,
  type Dialect,
  type Driver,
  type Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely'
import { delayMs } from '../base/timers.ts'
import { SECOND_MS } from '../base/units.ts'
import { StatementCache } from './statement-cache.ts'
import { errorCode } from './transaction.ts'
import { storableParameters } from './values.ts'
import { WriterLock } from './writer-lock.ts'

/** How long a statement waits for the lock of another process (a backup, somebody's shell) before it fails. */
const busyMsMax = 10 * SECOND_MS
const busyPauseMs = 20

/** Statements that read outside a transaction use `reader`, so that they see what is committed and wait for nobody. */
export type SqliteConnections = { writer: Sqlite.Database; reader: Sqlite.Database }

export class SqliteImmediateDialect implements Dialect {
  readonly #driver: SqliteImmediateDriver

  constructor(driver: SqliteImmediateDriver) {
    this.#driver = driver
  }

  createDriver(): Driver {
    return this.#driver
  }

  createQueryCompiler(): SqliteQueryCompiler {
    return new SqliteQueryCompiler()
  }

  createAdapter(): SqliteAdapter {
    return new ConcurrentSqliteAdapter()
  }

  createIntrospector(db: Kysely<unknown>): DatabaseIntrospector {
    return new SqliteIntrospector(db)
  }
}

class ConcurrentSqliteAdapter extends SqliteAdapter {
  /** The driver has its own lock, for writers only. */
  override get supportsMultipleConnections(): boolean {
    return true
  }

  /** It does; Kysely is careful because its driver begins migrations without a lock. */
  override get supportsTransactionalDdl(): boolean {
    return true
  }
}

export class SqliteImmediateDriver implements Driver {
  readonly #writer: Sqlite.Database
  readonly #reader: Sqlite.Database
  readonly #writes: StatementCache
  readonly #reads: StatementCache
  readonly #lock = new WriterLock()

  constructor(connections: SqliteConnections) {
    this.#writer = connections.writer
    this.#reader = connections.reader
    this.#writes = new StatementCache(connections.writer)
    this.#reads = new StatementCache(connections.reader)
  }

  async init(): Promise<void> {
    // The connections are open already: opening fails with its own messages.
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    return new SqliteSession(this)
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    const session = sessionOf(connection)
    await this.#lock.acquire()
    session.holdsWriter = true
    try {
      await untilFree(() => this.#writer.exec('begin immediate'))
    } catch (error) {
      this.#release(session)
      throw error
    }
  }

  /** When it fails, Kysely rolls back, which gives the writer free. */
  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await untilFree(() => this.#writer.exec('commit'))
    this.#release(sessionOf(connection))
    await oneTurn()
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    const session = sessionOf(connection)
    if (!session.holdsWriter) return
    try {
      if (this.#writer.inTransaction) this.#writer.exec('rollback') // Some errors (a full disk) have rolled it back.
    } finally {
      this.#release(session)
    }
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    await this.rollbackTransaction(connection)
  }

  async destroy(): Promise<void> {
    await this.#lock.acquire()
    this.#reader.close()
    this.#writer.close()
  }

  /** Run `work` while no transaction is open on the writer. */
  async betweenTransactions<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.#lock.acquire()
    try {
      return await work()
    } finally {
      this.#lock.release()
    }
  }

  /** Run a statement that reads, outside any transaction, without waiting for anything: the hot path. */
  read(sql: string, parameters: readonly unknown[]): unknown[] {
    return this.#reads.prepare(sql).all(storableParameters(parameters))
  }

  async execute(session: SqliteSession, sql: string, parameters: readonly unknown[]): Promise<QueryResult<unknown>> {
    const values = storableParameters(parameters)
    if (session.holdsWriter) {
      if (!this.#writer.inTransaction) throw new Error('cannot go on: the database has rolled back the transaction')
      return run(this.#writes.prepare(sql), values)
    }
    if (/^\s*(?:select|with)\b/i.test(sql)) {
      const statement = this.#reads.prepare(sql)
      if (statement.readonly) return untilFree(() => run(statement, values))
    }
    const result = await this.betweenTransactions(() => untilFree(() => run(this.#writes.prepare(sql), values)))
    await oneTurn()
    return result
  }

  #release(session: SqliteSession): void {
    session.holdsWriter = false
    this.#lock.release()
  }
}

/** What Kysely holds while it runs a query or a transaction. */
class SqliteSession implements DatabaseConnection {
  holdsWriter = false
  readonly #driver: SqliteImmediateDriver

  constructor(driver: SqliteImmediateDriver) {
    this.#driver = driver
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    return (await this.#driver.execute(this, query.sql, query.parameters)) as QueryResult<Row>
  }

  streamQuery<Row>(): AsyncIterableIterator<QueryResult<Row>> {
    throw new Error('cannot stream a query: read it in pages')
  }
}

function sessionOf(connection: DatabaseConnection): SqliteSession {
  if (!(connection instanceof SqliteSession)) throw new Error('cannot use a connection of another driver')
  return connection
}

function run(statement: Sqlite.Statement<unknown[]>, parameters: readonly unknown[]): QueryResult<unknown> {
  if (statement.reader) return { rows: statement.all(parameters) }
  const { changes, lastInsertRowid } = statement.run(parameters)
  return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) }
}

/** Let the event loop go round, so that a loop of writes does not stop everything else. */
function oneTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Try again while another process holds the database's lock; between the tries, everything else goes on. */
export async function untilFree<Result>(attempt: () => Result): Promise<Result> {
  const triesMax = busyMsMax / busyPauseMs
  for (let tries = 1; ; tries++) {
    try {
      return attempt()
    } catch (error) {
      if (tries >= triesMax || !(errorCode(error) ?? '').startsWith('SQLITE_BUSY')) throw error
      await delayMs(busyPauseMs, { keepsAlive: true })
    }
  }
}
