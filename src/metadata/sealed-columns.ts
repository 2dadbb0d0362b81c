/**
 * Every column that holds a sealed secret, and what each of its values is sealed for: a value that is moved to another
 * row or column is not opened (DESIGN part 6, Secrets at rest).
 */
import { sql } from 'kysely'
import type { Db } from './db.ts'
import type { Database } from './schema.ts'

type Row = {
  table: keyof Database
  column: string
  /** What it is told by, and walked along: the primary key. */
  id: string
  /** What the context names, when it is not `id`: unique, and known before the row is there. */
  key?: string
  contextOf: (key: string) => string
}

/** Contexts never change: what stands in databases was sealed for them. */
export const SEALED_COLUMNS = [
  {
    table: 'proxy_cache',
    column: 'username_encrypted',
    id: 'organization_id',
    contextOf: (organizationId) => `proxy_cache:${organizationId}:username`,
  },
  {
    table: 'proxy_cache',
    column: 'password_encrypted',
    id: 'organization_id',
    contextOf: (organizationId) => `proxy_cache:${organizationId}:password`,
  },
  {
    table: 'access_token',
    column: 'token_encrypted',
    id: 'id',
    key: 'token_sha256',
    contextOf: (tokenSha256) => `access_token:${tokenSha256}`,
  },
  { table: 'account', column: 'token_encrypted', id: 'id', contextOf: (id) => `account:${id}:token_encrypted` },
  {
    table: 'app_token',
    column: 'token_encrypted',
    id: 'id',
    key: 'uuid',
    contextOf: (uuid) => `app_token:${uuid}:token_encrypted`,
  },
  {
    table: 'oauth_application',
    column: 'client_secret_encrypted',
    id: 'id',
    key: 'client_id',
    contextOf: (clientId) => `oauth_application:${clientId}:client_secret_encrypted`,
  },
] as const satisfies readonly Row[]

/** Facts of `instance` that are sealed. */
export const SEALED_INSTANCE_KEYS = ['registry_token_key'] as const

/** A place of sealed values: a column, or the sealed facts of `instance`. */
export type SealedPlace = Row & { onlyIds?: readonly string[] }

export const SEALED_PLACES: readonly SealedPlace[] = [
  ...SEALED_COLUMNS,
  {
    table: 'instance',
    column: 'value',
    id: 'key',
    contextOf: (key) => `instance:${key}`,
    onlyIds: SEALED_INSTANCE_KEYS,
  },
]

export type SealedValue = { id: string | number; context: string; sealed: string }

/** Values that another key than this sealed, in the order of their ids, after one of them. */
export async function listSealedByOthers(
  db: Db,
  place: SealedPlace,
  page: { keyId: string; after: string | number | undefined; limit: number },
): Promise<SealedValue[]> {
  const [id, column] = [sql.ref(place.id), sql.ref(place.column)]
  const own = `${page.keyId}.`
  const { rows } = await sql<{ id: string | number; key: string | number; sealed: string }>`
    select ${id} as id, ${sql.ref(place.key ?? place.id)} as key, ${column} as sealed from ${sql.table(place.table)}
    where ${column} is not null and substr(${column}, 1, ${sql.lit(own.length)}) <> ${own}
      ${place.onlyIds === undefined ? sql`` : sql`and ${id} in (${sql.join(place.onlyIds)})`}
      ${page.after === undefined ? sql`` : sql`and ${id} > ${page.after}`}
    order by ${id} limit ${sql.lit(page.limit)}
  `.execute(db)
  return rows.map((row) => ({ id: row.id, context: place.contextOf(String(row.key)), sealed: row.sealed }))
}

/** Put another value in its place, unless somebody has changed it meanwhile; whether it was put. */
export async function replaceSealed(
  tx: Db,
  place: SealedPlace,
  value: { id: string | number; sealed: string; replacement: string },
): Promise<boolean> {
  const column = sql.ref(place.column)
  const result = await sql`
    update ${sql.table(place.table)} set ${column} = ${value.replacement}
    where ${sql.ref(place.id)} = ${value.id} and ${column} = ${value.sealed}
  `.execute(tx)
  return (result.numAffectedRows ?? 0n) > 0n
}

/** How many sealed values there are. */
export async function countSealed(db: Db, place: SealedPlace): Promise<number> {
  const column = sql.ref(place.column)
  const only = place.onlyIds === undefined ? sql`` : sql`and ${sql.ref(place.id)} in (${sql.join(place.onlyIds)})`
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from ${sql.table(place.table)} where ${column} is not null ${only}
  `.execute(db)
  return Number(rows[0]?.count ?? 0)
}
