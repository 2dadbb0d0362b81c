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
  /** The OAuth application that it was generated for. */
  applicationId: number | undefined
}

export async function insertAccessToken(
  db: Db,
  token: Omit<AccessToken, 'id' | 'lastUsedAtMs' | 'expiresAtMs' | 'applicationId'> & {
    expiresAtMs?: number | undefined
    applicationId?: number | undefined
  },
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
      application_id: toNull(token.applicationId),
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toAccessToken(row)
}

/**
 * Also one that has expired: the caller says so. One whose application's organization is being deleted is gone already.
 */
export async function findAccessToken(db: Db, sha256Hex: string): Promise<AccessToken | undefined> {
  const row = await db
    .selectFrom('access_token')
    .selectAll()
    .where('token_sha256', '=', sha256Hex)
    .where((eb) =>
      eb.or([
        eb('application_id', 'is', null),
        eb.exists(
          eb
            .selectFrom('oauth_application')
            .innerJoin('organization', 'organization.id', 'oauth_application.organization_id')
            .select('organization.id')
            .whereRef('oauth_application.id', '=', 'access_token.application_id')
            .where('organization.deleted_at', 'is', null),
        ),
      ]),
    )
    .executeTakeFirst()
  return row && toAccessToken(row)
}

/** They were used; a last use never goes back. One transaction of the caller. */
export async function touchAccessTokens(tx: Db, uses: Iterable<readonly [id: number, atMs: number]>): Promise<void> {
  for (const [id, atMs] of uses) {
    await tx
      .updateTable('access_token')
      .set({ last_used_at: atMs })
      .where('id', '=', id)
      .where((eb) => eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', atMs)]))
      .execute()
  }
}

/** Of an application; the oldest first. */
export async function listApplicationTokens(
  db: Db,
  applicationId: number,
  page: { afterId?: number | undefined; limit: number },
): Promise<AccessToken[]> {
  const all = db.selectFrom('access_token').selectAll().where('application_id', '=', applicationId)
  const query = page.afterId === undefined ? all : all.where('id', '>', page.afterId)
  return (await query.orderBy('id').limit(page.limit).execute()).map(toAccessToken)
}

export async function countApplicationTokens(db: Db, applicationId: number): Promise<number> {
  const row = await db
    .selectFrom('access_token')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('application_id', '=', applicationId)
    .executeTakeFirstOrThrow()
  return row.count
}

/** False when the application has no such token. */
export async function deleteApplicationToken(db: Db, key: { applicationId: number; id: number }): Promise<boolean> {
  const query = db.deleteFrom('access_token').where('id', '=', key.id).where('application_id', '=', key.applicationId)
  return (await query.executeTakeFirst()).numDeletedRows > 0n
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
    applicationId: fromNull(row.application_id),
  }
}
