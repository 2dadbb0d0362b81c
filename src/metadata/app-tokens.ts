/** Application tokens: registry passwords of users, found by their hash. */
import type { Selectable } from 'kysely'
import type { Db } from './db.ts'
import type { AppTokenTable } from './schema-people.ts'
import { fromNull, toNull } from './values.ts'

export type AppToken = {
  id: number
  uuid: string
  accountId: number
  title: string
  /** Hex SHA-256 of the token. */
  tokenSha256: string
  tokenEncrypted: string
  createdAtMs: number
  /** Undefined is for ever. */
  expiresAtMs: number | undefined
  lastUsedAtMs: number | undefined
}

export async function insertAppToken(db: Db, token: Omit<AppToken, 'id' | 'lastUsedAtMs'>): Promise<AppToken> {
  const row = await db
    .insertInto('app_token')
    .values({
      uuid: token.uuid,
      account_id: token.accountId,
      title: token.title,
      token_sha256: token.tokenSha256,
      token_encrypted: token.tokenEncrypted,
      created_at: token.createdAtMs,
      expires_at: toNull(token.expiresAtMs),
      last_used_at: null,
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toAppToken(row)
}

/** Also one that has expired: the caller says so. */
export async function findAppTokenByHash(db: Db, tokenSha256: string): Promise<AppToken | undefined> {
  const row = await db.selectFrom('app_token').selectAll().where('token_sha256', '=', tokenSha256).executeTakeFirst()
  return row && toAppToken(row)
}

export async function findAppToken(db: Db, accountId: number, uuid: string): Promise<AppToken | undefined> {
  const query = db.selectFrom('app_token').selectAll().where('uuid', '=', uuid).where('account_id', '=', accountId)
  const row = await query.executeTakeFirst()
  return row && toAppToken(row)
}

/** The oldest first. `expiresBeforeMs`: only those that expire until then. */
export async function listAppTokens(
  db: Db,
  accountId: number,
  page: { afterId?: number | undefined; limit: number; expiresBeforeMs?: number | undefined },
): Promise<AppToken[]> {
  let query = db.selectFrom('app_token').selectAll().where('account_id', '=', accountId)
  if (page.afterId !== undefined) query = query.where('id', '>', page.afterId)
  if (page.expiresBeforeMs !== undefined) query = query.where('expires_at', '<=', page.expiresBeforeMs)
  const rows = await query.orderBy('id').limit(page.limit).execute()
  return rows.map(toAppToken)
}

export async function countAppTokens(db: Db, accountId: number): Promise<number> {
  const row = await db
    .selectFrom('app_token')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('account_id', '=', accountId)
    .executeTakeFirstOrThrow()
  return row.count
}

/** Undefined when the account has no such token. */
export async function deleteAppToken(db: Db, accountId: number, uuid: string): Promise<AppToken | undefined> {
  const query = db.deleteFrom('app_token').where('uuid', '=', uuid).where('account_id', '=', accountId)
  const row = await query.returningAll().executeTakeFirst()
  return row && toAppToken(row)
}

/** They were used; a last use never goes back. One transaction of the caller. */
export async function touchAppTokens(tx: Db, uses: Iterable<readonly [id: number, atMs: number]>): Promise<void> {
  for (const [id, atMs] of uses) {
    await tx
      .updateTable('app_token')
      .set({ last_used_at: atMs })
      .where('id', '=', id)
      .where((eb) => eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', atMs)]))
      .execute()
  }
}

function toAppToken(row: Selectable<AppTokenTable>): AppToken {
  return {
    id: row.id,
    uuid: row.uuid,
    accountId: row.account_id,
    title: row.title,
    tokenSha256: row.token_sha256,
    tokenEncrypted: row.token_encrypted,
    createdAtMs: row.created_at,
    expiresAtMs: fromNull(row.expires_at),
    lastUsedAtMs: fromNull(row.last_used_at),
  }
}
