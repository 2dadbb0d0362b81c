/** PostgreSQL through a pool of connections. */
import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import { MINUTE_MS, SECOND_MS } from '../base/units.ts'
import type { Db, MetadataEvents, OpenDatabase } from './db.ts'
import { readDirectly } from './hot-statement.ts'
import { StorableTextPool } from './postgres-pool.ts'
import type { Database } from './schema.ts'

export const postgresMajorMin = 15
const connectionsMax = 10
const connectMsMax = 10 * SECOND_MS
/** No statement of ours takes a fraction of it; a lost lock holder must not stop everything. */
const statementMsMax = MINUTE_MS

/** SQLAlchemy's names, which Quay's `DB_URI` uses, beside libpq's. */
const SCHEMES: ReadonlySet<string> = new Set(['postgres:', 'postgresql:', 'postgresql+psycopg2:'])

/** Errors name the host and the database, never the user's password. */
export async function openPostgres(uri: string, onEvent: MetadataEvents): Promise<OpenDatabase> {
  const url = parseUri(uri)
  const pool = new pg.Pool({
    connectionString: url.href,
    max: connectionsMax,
    connectionTimeoutMillis: connectMsMax,
    statement_timeout: statementMsMax,
    idle_in_transaction_session_timeout: statementMsMax,
    keepAlive: true,
    application_name: 'entrepot',
    types: { getTypeParser: typeParser },
  })
  pool.on('error', (error) => onEvent('postgres_connection_lost', { message: withoutPassword(error, url) }))
  const storablePool = new StorableTextPool(pool)
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool: storablePool }) })
  readDirectly(db, (name, text, parameters) => storablePool.read(name, text, parameters))
  try {
    await refuseOldServer(db)
  } catch (error) {
    await db.destroy()
    // Without the cause: it can hold the connection string.
    throw new Error(
      `cannot use the database ${url.pathname.slice(1)} at ${url.host || 'the local socket'}: ${withoutPassword(error, url)}`,
    )
  }
  return { db, dialect: 'postgres', close: () => db.destroy() }
}

function parseUri(uri: string): URL {
  const url = URL.parse(uri)
  if (url === null || !SCHEMES.has(url.protocol)) {
    throw new Error('cannot use DB_URI: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE')
  }
  return new URL(`postgresql:${uri.slice(url.protocol.length)}`)
}

async function refuseOldServer(db: Db): Promise<void> {
  const { rows } = await sql<{ version: string; encoding: string }>`
    select current_setting('server_version_num') as version, current_setting('server_encoding') as encoding
  `.execute(db)
  const problem = serverProblem(rows[0])
  if (problem !== undefined) throw new Error(problem)
}

/** Why a server cannot be used; undefined when it can. */
export function serverProblem(row: { version: string; encoding: string } | undefined): string | undefined {
  const major = Math.floor(Number(row?.version) / 10_000)
  if (!(major >= postgresMajorMin)) {
    return `the server is PostgreSQL ${major}; expected ${postgresMajorMin} or later`
  }
  return row?.encoding === 'UTF8' ? undefined : `its encoding is ${row?.encoding}; expected UTF8`
}

/** `int8` as a number: what we store fits 53 bits, and anything else must not be rounded in silence. */
function typeParser(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  if (oid !== pg.types.builtins.INT8) return pg.types.getTypeParser(oid, format as 'text')
  return parseSafeInteger
}

function parseSafeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new Error(`cannot read ${text} from the database: not a safe integer`)
  return value
}

function withoutPassword(error: unknown, url: URL): string {
  const message = error instanceof AggregateError ? error.errors.map(String).join('; ') : messageOf(error)
  const secrets = [url.password, safeDecode(url.password), url.searchParams.get('password') ?? '']
  return secrets.reduce((text, secret) => (secret === '' ? text : text.replaceAll(secret, '***')), message)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // Not percent-encoded: it is its own decoding.
  }
}
