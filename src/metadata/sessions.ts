/** Sessions of browsers: found by the hash of their cookie. */
import type { Selectable } from 'kysely'
import type { Db } from './db.ts'
import type { SessionTable } from './schema-people.ts'

export type Session = {
  /** Hex SHA-256 of the cookie. */
  idSha256: string
  accountId: number
  createdAtMs: number
  lastSeenAtMs: number
  /** When the password was last given. */
  signedInAtMs: number
}

/** With it, an account has at most `sessionsMax`: those that were not seen for longest end. */
export async function insertSession(
  tx: Db,
  session: { idSha256: string; accountId: number; nowMs: number },
  sessionsMax: number,
): Promise<void> {
  await tx
    .insertInto('session')
    .values({
      id_sha256: session.idSha256,
      account_id: session.accountId,
      created_at: session.nowMs,
      last_seen_at: session.nowMs,
      signed_in_at: session.nowMs,
    })
    .execute()
  const kept = tx
    .selectFrom('session')
    .select('id_sha256')
    .where('account_id', '=', session.accountId)
    .orderBy('last_seen_at', 'desc')
    .orderBy('created_at', 'desc')
    .limit(sessionsMax)
  await tx
    .deleteFrom('session')
    .where('account_id', '=', session.accountId)
    .where('id_sha256', '!=', session.idSha256)
    .where('id_sha256', 'not in', kept)
    .execute()
}

/** Also one that is over: the caller knows the limits. */
export async function findSession(db: Db, idSha256: string): Promise<Session | undefined> {
  const row = await db.selectFrom('session').selectAll().where('id_sha256', '=', idSha256).executeTakeFirst()
  return row && toSession(row)
}

/** It was seen; the last time never goes back. */
export async function touchSession(db: Db, idSha256: string, nowMs: number): Promise<void> {
  await db
    .updateTable('session')
    .set({ last_seen_at: nowMs })
    .where('id_sha256', '=', idSha256)
    .where('last_seen_at', '<', nowMs)
    .execute()
}

/** The password was given again. */
export async function renewSession(db: Db, idSha256: string, nowMs: number): Promise<void> {
  await db.updateTable('session').set({ signed_in_at: nowMs }).where('id_sha256', '=', idSha256).execute()
}

export async function deleteSession(db: Db, idSha256: string): Promise<void> {
  await db.deleteFrom('session').where('id_sha256', '=', idSha256).execute()
}

export async function deleteSessionsOf(db: Db, accountId: number): Promise<void> {
  await db.deleteFrom('session').where('account_id', '=', accountId).execute()
}

/** Remove some that are over, by either limit. Resolves to how many. */
export async function sweepSessions(
  db: Db,
  over: { seenBeforeMs: number; createdBeforeMs: number; rowsMax: number },
): Promise<number> {
  const ended = db
    .selectFrom('session')
    .select('id_sha256')
    .where((eb) => eb.or([eb('last_seen_at', '<=', over.seenBeforeMs), eb('created_at', '<=', over.createdBeforeMs)]))
    .limit(over.rowsMax)
  const result = await db.deleteFrom('session').where('id_sha256', 'in', ended).executeTakeFirst()
  return Number(result.numDeletedRows)
}

function toSession(row: Selectable<SessionTable>): Session {
  return {
    idSha256: row.id_sha256,
    accountId: row.account_id,
    createdAtMs: row.created_at,
    lastSeenAtMs: row.last_seen_at,
    signedInAtMs: row.signed_in_at,
  }
}
