/** Transactions on either database. */
import type { Db } from './db.ts'

/** A transaction that keeps losing against others is an error, not a reason to go on for ever. */
export const transactionTriesMax = 8

/** PostgreSQL: serialization_failure, deadlock_detected. SQLite never reports them: it has one writer. */
const RETRIED_CODES: ReadonlySet<string> = new Set(['40001', '40P01'])

/**
 * Run `work` in a transaction, or in the one that `db` already is. It may run again when PostgreSQL chose it as a
 * deadlock's victim, so it must await nothing but the database and change nothing else.
 */
export async function transact<Result>(db: Db, work: (tx: Db) => Promise<Result>): Promise<Result> {
  if (db.isTransaction) return work(db)
  for (let tries = 1; ; tries++) {
    try {
      return await db.transaction().execute(work)
    } catch (error) {
      if (tries >= transactionTriesMax || !RETRIED_CODES.has(errorCode(error) ?? '')) throw error
    }
  }
}

/** Whether a statement failed because a unique key was taken. */
export function isUniqueViolation(error: unknown): boolean {
  const code = errorCode(error)
  return code === '23505' || code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY'
}

/** The `code` that pg and better-sqlite3 put on their errors. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : undefined
}
