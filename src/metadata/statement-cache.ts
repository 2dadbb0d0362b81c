/** Prepared statements of one SQLite connection by their text: preparing costs more than most of them do. */
import type Sqlite from 'better-sqlite3'

/** More than the queries of this folder; only batches of odd lengths can come to it. */
const statementsMax = 256
/** The longest text that is kept: batches of many rows differ each time and would push out the rest. */
const keptCharactersMax = 4096

export class StatementCache {
  readonly #database: Sqlite.Database
  /** The least recently used first. */
  readonly #statements = new Map<string, Sqlite.Statement<unknown[]>>()

  constructor(database: Sqlite.Database) {
    this.#database = database
  }

  prepare(sql: string): Sqlite.Statement<unknown[]> {
    const known = this.#statements.get(sql)
    const statement = known ?? this.#database.prepare<unknown[]>(sql)
    if (sql.length > keptCharactersMax) return statement
    if (known !== undefined) this.#statements.delete(sql)
    this.#statements.set(sql, statement)
    if (this.#statements.size > statementsMax) {
      const [oldest] = this.#statements.keys()
      if (oldest !== undefined) this.#statements.delete(oldest)
    }
    return statement
  }
}
