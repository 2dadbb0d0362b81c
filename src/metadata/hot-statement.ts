/**
 * The few statements that a pull may run. They are compiled once and go straight to the database's own prepared
 * statement: Kysely's executor would cost several times what SQLite does (DESIGN part 3, Concurrency).
 */
import type { RawBuilder } from 'kysely'
import type { Db } from './db.ts'

/** Runs a statement that reads, outside any transaction. `name` tells prepared statements apart. */
export type DirectRead = (name: string, sql: string, parameters: readonly unknown[]) => Promise<unknown[]>

const directReads = new WeakMap<Db, DirectRead>()

/** From now on hot statements on `db` itself, not on its transactions, are run by `read`. */
export function readDirectly(db: Db, read: DirectRead): void {
  directReads.set(db, read)
}

export class HotStatement<Parameters extends readonly (string | number)[], Row> {
  readonly #name: string
  readonly #build: (...parameters: Parameters) => RawBuilder<Row>
  readonly #texts = new WeakMap<Db, string>()

  /** `build` must use each parameter once, in their order. */
  constructor(name: string, build: (...parameters: Parameters) => RawBuilder<Row>) {
    this.#name = name
    this.#build = build
  }

  async run(db: Db, ...parameters: Parameters): Promise<Row[]> {
    const read = directReads.get(db)
    if (read === undefined) return (await this.#build(...parameters).execute(db)).rows
    return (await read(this.#name, this.#textFor(db, parameters), parameters)) as Row[]
  }

  async runFirst(db: Db, ...parameters: Parameters): Promise<Row | undefined> {
    return (await this.run(db, ...parameters))[0]
  }

  #textFor(db: Db, parameters: Parameters): string {
    const known = this.#texts.get(db)
    if (known !== undefined) return known
    const compiled = this.#build(...parameters).compile(db)
    const isInOrder =
      compiled.parameters.length === parameters.length &&
      compiled.parameters.every((value, index) => value === parameters[index])
    if (!isInOrder) throw new Error(`cannot prepare ${this.#name}: its parameters are not used once, in their order`)
    this.#texts.set(db, compiled.sql)
    return compiled.sql
  }
}
