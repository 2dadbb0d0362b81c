/** Work that must be done some time, also after a restart. */
import type { Selectable } from 'kysely'
import type { Db } from './db.ts'
import type { JobTable } from './schema.ts'
import { fromNull } from './values.ts'

export type Job = {
  id: number
  kind: string
  /** What JSON can hold; whoever knows the kind checks it. */
  payload: unknown
  createdAtMs: number
  runAtMs: number
  attempts: number
  lastError: string | undefined
}

/** An error's text is for people: the rest of a long one helps nobody. */
const errorCharactersMax = 1000

export async function addJob(
  db: Db,
  fields: { kind: string; payload: unknown; nowMs: number; runAtMs: number },
): Promise<{ id: number }> {
  return db
    .insertInto('job')
    .values({
      kind: fields.kind,
      payload: JSON.stringify(fields.payload),
      created_at: fields.nowMs,
      run_at: fields.runAtMs,
      attempts: 0,
      last_error: null,
    })
    .returning('id')
    .executeTakeFirstOrThrow()
}

/** Those whose time has come, the longest due first. */
export async function listDueJobs(db: Db, nowMs: number, limit: number): Promise<Job[]> {
  const rows = await db
    .selectFrom('job')
    .selectAll()
    .where('run_at', '<=', nowMs)
    .orderBy('run_at')
    .orderBy('id')
    .limit(limit)
    .execute()
  return rows.map(toJob)
}

export async function postponeJob(
  db: Db,
  fields: { id: number; runAtMs: number; attempts: number; lastError: string | undefined },
): Promise<void> {
  await db
    .updateTable('job')
    .set({
      run_at: fields.runAtMs,
      attempts: fields.attempts,
      last_error: fields.lastError?.slice(0, errorCharactersMax) ?? null,
    })
    .where('id', '=', fields.id)
    .execute()
}

/** Remember how far a job has come. */
export async function updateJobPayload(db: Db, id: number, payload: unknown): Promise<void> {
  await db
    .updateTable('job')
    .set({ payload: JSON.stringify(payload) })
    .where('id', '=', id)
    .execute()
}

/** False when it was removed already. */
export async function removeJob(db: Db, id: number): Promise<boolean> {
  const result = await db.deleteFrom('job').where('id', '=', id).executeTakeFirst()
  return result.numDeletedRows > 0n
}

function toJob(row: Selectable<JobTable>): Job {
  return {
    id: row.id,
    kind: row.kind,
    payload: JSON.parse(row.payload),
    createdAtMs: row.created_at,
    runAtMs: row.run_at,
    attempts: row.attempts,
    lastError: fromNull(row.last_error),
  }
}
