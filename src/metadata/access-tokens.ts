/** Tokens of accounts for the REST API and for pulls, found by their hash. */
import type { Selectable } from 'kysely'
import type { Db } from './db.ts'
import type { AccessTokenTable } from './schema-people.ts'
import { fromNull, toNull } from './values.ts'

export type AccessToken = {
  id: number
  accountId: number
  title: string
  /** Hex SHA-256 of the token. */
  tokenSha256: string
  tokenEncrypted: string
  /** Quay's scopes, separated by blanks. */
  scope: string
  createdAtMs: number
  /** Undefined is for ever. */
  expiresAtMs: number | undefined
  lastUsedAtMs: number | undefined
}

export async function insertAccessToken(
  db: Db,
  token: Omit<AccessToken, 'id' | 'lastUsedAtMs' | 'expiresAtMs'> & { expiresAtMs?: number | undefined },
): Promise<AccessToken> {
  const row = await db
    .insertInto('access_token')
    .values({
      account_id: token.accountId,
      title: token.title,
      token_sha256: token.tokenSha256,
      token_encrypted: token.tokenEncrypted,
      scope: token.scope,
      created_at: token.createdAtMs,
      expires_at: toNull(token.expiresAtMs),
      last_used_at: null,
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toAccessToken(row)
}

/** Also one that has expired: the caller says so. */
export async function findAccessToken(db: Db, sha256Hex: string): Promise<AccessToken | undefined> {
  const row = await db.selectFrom('access_token').selectAll().where('token_sha256', '=', sha256Hex).executeTakeFirst()
  return row && toAccessToken(row)
}

/** It was used; the last use never goes back. */
export async function touchAccessToken(db: Db, id: number, nowMs: number): Promise<void> {
  await db
    .updateTable('access_token')
    .set({ last_used_at: nowMs })
    .where('id', '=', id)
    .where((eb) => eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', nowMs)]))
    .execute()
}

/** False when the account has no such token. */
export async function deleteAccessToken(db: Db, key: { accountId: number; id: number }): Promise<boolean> {
  const result = await db
    .deleteFrom('access_token')
    .where('id', '=', key.id)
    .where('account_id', '=', key.accountId)
    .executeTakeFirst()
  return result.numDeletedRows > 0n
}

/** The oldest first. */
export async function listAccessTokens(db: Db, accountId: number): Promise<AccessToken[]> {
  const rows = await db
    .selectFrom('access_token')
    .selectAll()
    .where('account_id', '=', accountId)
    .orderBy('id')
    .execute()
  return rows.map(toAccessToken)
}

function toAccessToken(row: Selectable<AccessTokenTable>): AccessToken {
  return {
    id: row.id,
    accountId: row.account_id,
    title: row.title,
    tokenSha256: row.token_sha256,
    tokenEncrypted: row.token_encrypted,
    scope: row.scope,
    createdAtMs: row.created_at,
    expiresAtMs: fromNull(row.expires_at),
    lastUsedAtMs: fromNull(row.last_used_at),
  }
}
