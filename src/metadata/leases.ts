/** Leases: which process may do what only one may do. */
import type { Db } from './db.ts'

export type LeaseAnswer = { acquired: true } | { acquired: false; holder: string; heartbeatAtMs: number }

/** Take the lease if nobody holds it, its holder is us, or its holder's heart has not beaten for `staleAfterMs`. */
export async function acquireLease(
  db: Db,
  fields: { name: string; leaseId: string; holder: string; nowMs: number; staleAfterMs: number },
): Promise<LeaseAnswer> {
  const { name, nowMs } = fields
  const changes = { lease_id: fields.leaseId, holder: fields.holder, acquired_at: nowMs, heartbeat_at: nowMs }
  const acquired = await db
    .insertInto('lease')
    .values({ name, ...changes })
    .onConflict((conflict) =>
      conflict
        .column('name')
        .doUpdateSet(changes)
        .where((eb) =>
          eb.or([
            eb('lease.lease_id', '=', fields.leaseId),
            eb('lease.heartbeat_at', '<=', nowMs - fields.staleAfterMs),
          ]),
        ),
    )
    .returning('name')
    .executeTakeFirst()
  if (acquired !== undefined) return { acquired: true }
  const held = await db.selectFrom('lease').selectAll().where('name', '=', name).executeTakeFirst()
  // Released between the two statements: as if it were held until now, so that the caller tries again.
  if (held === undefined) return { acquired: false, holder: 'a process that has just ended', heartbeatAtMs: nowMs }
  return { acquired: false, holder: held.holder, heartbeatAtMs: held.heartbeat_at }
}

/** Say that the holder lives. False when it is no longer ours: stop what needs it. */
export async function heartbeatLease(
  db: Db,
  fields: { name: string; leaseId: string; nowMs: number },
): Promise<boolean> {
  const result = await db
    .updateTable('lease')
    .set({ heartbeat_at: fields.nowMs })
    .where('name', '=', fields.name)
    .where('lease_id', '=', fields.leaseId)
    .executeTakeFirst()
  return result.numUpdatedRows > 0n
}

/** Let another have it. False when it was no longer ours. */
export async function releaseLease(db: Db, key: { name: string; leaseId: string }): Promise<boolean> {
  const result = await db
    .deleteFrom('lease')
    .where('name', '=', key.name)
    .where('lease_id', '=', key.leaseId)
    .executeTakeFirst()
  return result.numDeletedRows > 0n
}

/** The ids of processes that live. */
export async function listLiveLeaseIds(db: Db, nowMs: number, staleAfterMs: number): Promise<string[]> {
  const rows = await db
    .selectFrom('lease')
    .select('lease_id')
    .distinct()
    .where('heartbeat_at', '>', nowMs - staleAfterMs)
    .execute()
  return rows.map((row) => row.lease_id)
}
