/** Blobs that are wanted: being received, or to be completed in the background, also after a restart. */
import type { Selectable } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'
import type { IngestTable } from './schema.ts'

export type WantedBlob = {
  organizationId: number
  repositoryId: number
  digest: string
  sizeBytes: number
  nowMs: number
  /** When the background gives it up. */
  giveUpAtMs: number
}

export type Ingest = {
  organizationId: number
  repositoryId: number
  digest: Digest
  sizeBytes: number
  createdAtMs: number
  attempts: number
  nextAttemptAtMs: number
  giveUpAtMs: number
}

/** Rows of one INSERT: SQLite takes 32766 parameters in a statement. */
const rowsPerInsert = 500

/** Remember that blobs are wanted, due at once. One that is wanted already stays as it is. */
export async function wantBlobs(tx: Db, wanted: readonly WantedBlob[]): Promise<void> {
  // In one order everywhere, so that two that want the same blobs cannot wait for each other.
  const rows = [...wanted]
    .sort((left, right) => left.organizationId - right.organizationId || (left.digest < right.digest ? -1 : 1))
    .map((blob) => ({
      organization_id: blob.organizationId,
      digest: blob.digest,
      repository_id: blob.repositoryId,
      size_bytes: blob.sizeBytes,
      created_at: blob.nowMs,
      attempts: 0,
      next_attempt_at: blob.nowMs,
      give_up_at: blob.giveUpAtMs,
    }))
  for (let from = 0; from < rows.length; from += rowsPerInsert) {
    await tx
      .insertInto('ingest')
      .values(rows.slice(from, from + rowsPerInsert))
      .onConflict((conflict) => conflict.columns(['organization_id', 'digest']).doNothing())
      .execute()
  }
}

/** Those whose next attempt has come and that are not given up, the longest due first. */
export async function listDueIngests(db: Db, nowMs: number, limit: number): Promise<Ingest[]> {
  const rows = await db
    .selectFrom('ingest')
    .selectAll()
    .where('next_attempt_at', '<=', nowMs)
    .where('give_up_at', '>', nowMs)
    .orderBy('next_attempt_at')
    .limit(limit)
    .execute()
  return rows.map(toIngest)
}

export async function postponeIngest(
  db: Db,
  fields: { organizationId: number; digest: string; nextAttemptAtMs: number; attempts: number },
): Promise<void> {
  await db
    .updateTable('ingest')
    .set({ next_attempt_at: fields.nextAttemptAtMs, attempts: fields.attempts })
    .where('organization_id', '=', fields.organizationId)
    .where('digest', '=', fields.digest)
    .execute()
}

/** False when it was not wanted. */
export async function removeIngest(db: Db, key: { organizationId: number; digest: string }): Promise<boolean> {
  const result = await db
    .deleteFrom('ingest')
    .where('organization_id', '=', key.organizationId)
    .where('digest', '=', key.digest)
    .executeTakeFirst()
  return result.numDeletedRows > 0n
}

/** Give up those whose time is over; resolves to their number. */
export async function removeExpiredIngests(db: Db, nowMs: number): Promise<number> {
  const result = await db.deleteFrom('ingest').where('give_up_at', '<=', nowMs).executeTakeFirst()
  return Number(result.numDeletedRows)
}

function toIngest(row: Selectable<IngestTable>): Ingest {
  return {
    organizationId: row.organization_id,
    repositoryId: row.repository_id,
    digest: row.digest as Digest,
    sizeBytes: row.size_bytes,
    createdAtMs: row.created_at,
    attempts: row.attempts,
    nextAttemptAtMs: row.next_attempt_at,
    giveUpAtMs: row.give_up_at,
  }
}
