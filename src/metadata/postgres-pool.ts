/** pg's pool as Kysely's driver wants it, with parameters that PostgreSQL can store. */
import type { PostgresPool, PostgresPoolClient, PostgresQueryResult } from 'kysely'
import type pg from 'pg'
import { storableParameters } from './values.ts'

export class StorableTextPool implements PostgresPool {
  readonly #pool: pg.Pool
  /** Kysely keeps what it knows of a connection by the object it is handed. */
  readonly #clients = new WeakMap<pg.PoolClient, PostgresPoolClient>()

  constructor(pool: pg.Pool) {
    this.#pool = pool
  }

  get options(): object {
    return this.#pool.options
  }

  async connect(): Promise<PostgresPoolClient> {
    const client = await this.#pool.connect()
    const known = this.#clients.get(client)
    if (known !== undefined) return known
    const wrapped = wrapClient(client)
    this.#clients.set(client, wrapped)
    return wrapped
  }

  /** Run a statement that the server prepares once for each connection. */
  async read(name: string, text: string, parameters: readonly unknown[]): Promise<unknown[]> {
    return (await this.#pool.query({ name, text, values: [...storableParameters(parameters)] })).rows
  }

  end(): Promise<void> {
    return this.#pool.end()
  }
}

function wrapClient(client: pg.PoolClient): PostgresPoolClient {
  async function query<Row>(sql: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<Row>> {
    return (await client.query(sql, [...storableParameters(parameters)])) as unknown as PostgresQueryResult<Row>
  }
  return {
    query: query as PostgresPoolClient['query'],
    release: (isBroken) => client.release(isBroken),
  }
}
