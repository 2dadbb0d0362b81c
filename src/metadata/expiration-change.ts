/**
 * An organization keeps what it caches for another time than before: what is cached already follows, in steps (DESIGN
 * part 5, Expiration). What was set by hand, and what is pinned, stays.
 */
import { type RawBuilder, sql } from 'kysely'
import { SECOND_MS } from '../base/units.ts'
import type { Db } from './db.ts'
import { addJob, updateJobPayload } from './jobs.ts'
import { tagIsPinned } from './pins.ts'
import { refreshRootsOf } from './roots.ts'
import { transact } from './transaction.ts'

export const EXPIRATION_JOB = 'change_expiration'

/** 0 seconds is for ever. */
export type ExpirationChange = {
  organizationId: number
  fromSeconds: number
  toSeconds: number
  changedAtMs: number
  /** How far it has come; absent at the beginning. */
  cursor?: Cursor | undefined
}

/** In one repository, tags by name and then by-digest images by digest. */
type Cursor = { repositoryId: number; phase: 'tag' | 'manifest'; after: string }

export type ChangedTags = { repositoryId: number; names: string[] }

/** Of one step; most of them may have nothing to change. */
const repositoriesPerStep = 100

/** In the transaction that changes the setting; nothing when it stays as it was, or nothing is cached. */
export async function addExpirationChange(tx: Db, change: Omit<ExpirationChange, 'cursor'>): Promise<void> {
  if (change.fromSeconds === change.toSeconds) return
  if ((await nextRepository(tx, change.organizationId, 0)) === undefined) return
  const { changedAtMs: nowMs } = change
  await addJob(tx, { kind: EXPIRATION_JOB, payload: change, nowMs, runAtMs: nowMs })
}

/** Undefined for a payload that is none. */
export function parseExpirationChange(payload: unknown): ExpirationChange | undefined {
  const change = payload as ExpirationChange | null | undefined
  const numbers = [change?.organizationId, change?.fromSeconds, change?.toSeconds, change?.changedAtMs]
  return change && numbers.every((number) => typeof number === 'number') ? change : undefined
}

/** Whether an earlier change of the same organization is still to be done: they apply in order. */
export async function isBehindAnotherChange(db: Db, jobId: number, organizationId: number): Promise<boolean> {
  const rows = await db
    .selectFrom('job')
    .select('payload')
    .where('kind', '=', EXPIRATION_JOB)
    .where('id', '<', jobId)
    .execute()
  return rows.some((row) => parseExpirationChange(JSON.parse(row.payload))?.organizationId === organizationId)
}

/** Change up to `rowsMax` rows, and remember in the job how far it has come; a crash repeats nothing. */
export async function changeExpirationStep(
  db: Db,
  job: { id: number; change: ExpirationChange },
  rowsMax: number,
): Promise<{ isDone: boolean; change: ExpirationChange; changed: ChangedTags[] }> {
  return transact(db, async (tx) => {
    const changed: ChangedTags[] = []
    let { cursor } = job.change
    let rows = 0
    for (let repositories = 0; rows < rowsMax && repositories < repositoriesPerStep; ) {
      cursor ??= await nextRepository(tx, job.change.organizationId, 0)
      if (cursor === undefined) return { isDone: true, change: job.change, changed }
      const limit = rowsMax - rows
      const page = await changePage(tx, job.change, cursor, limit)
      rows += page.keys.length
      if (cursor.phase === 'tag') changed.push({ repositoryId: cursor.repositoryId, names: page.keys })
      const last = page.keys.at(-1)
      if (page.keys.length === limit && last !== undefined) cursor = { ...cursor, after: last }
      else if (cursor.phase === 'tag') cursor = { ...cursor, phase: 'manifest', after: '' }
      else {
        cursor = await nextRepository(tx, job.change.organizationId, cursor.repositoryId)
        repositories += 1
        if (cursor === undefined) return { isDone: true, change: job.change, changed }
      }
    }
    const change = { ...job.change, cursor }
    await updateJobPayload(tx, job.id, change)
    return { isDone: false, change, changed }
  })
}

async function nextRepository(tx: Db, organizationId: number, afterId: number): Promise<Cursor | undefined> {
  const row = await tx
    .selectFrom('repository')
    .select('id')
    .where('organization_id', '=', organizationId)
    .where('id', '>', afterId)
    .orderBy('id')
    .limit(1)
    .executeTakeFirst()
  return row && { repositoryId: row.id, phase: 'tag', after: '' }
}

/** The names or digests that were looked at, in order. */
async function changePage(
  tx: Db,
  change: ExpirationChange,
  cursor: Cursor,
  limit: number,
): Promise<{ keys: string[] }> {
  const { repositoryId, after } = cursor
  if (cursor.phase === 'manifest') {
    const page = await tx
      .selectFrom('manifest')
      .select(['id', 'digest'])
      .where('repository_id', '=', repositoryId)
      .where('is_by_digest', '=', 1)
      .where('digest', '>', after)
      .orderBy('digest')
      .limit(limit)
      .execute()
    const keys = page.map((row) => row.digest)
    if (page.length === 0) return { keys }
    await tx
      .updateTable('manifest')
      .set({ expires_at: changedExpiry(change) })
      .where(
        'id',
        'in',
        page.map((row) => row.id),
      )
      .execute()
    await refreshRootsOf(tx, repositoryId, keys)
    return { keys }
  }
  const page = await tx
    .selectFrom('tag')
    .select(['id', 'name', 'digest'])
    .where('repository_id', '=', repositoryId)
    .where('ended_at', 'is', null)
    .where('name', '>', after)
    .orderBy('name')
    .limit(limit)
    .execute()
  const keys = page.map((row) => row.name)
  if (page.length === 0) return { keys }
  await tx
    .updateTable('tag')
    .set({ expires_at: changedExpiry(change) })
    .where(
      'id',
      'in',
      page.map((row) => row.id),
    )
    .where('is_expiry_set', '=', 0)
    .where(sql<boolean>`not ${tagIsPinned()}`)
    .execute()
  await refreshRootsOf(
    tx,
    repositoryId,
    page.map((row) => row.digest),
  )
  return { keys }
}

/** What `expires_at` becomes. A pull since the change has used the new time already. */
function changedExpiry({ fromSeconds, toSeconds, changedAtMs }: ExpirationChange): RawBuilder<number | null> {
  if (toSeconds === 0) return sql<null>`null`
  const toMs = toSeconds * SECOND_MS
  const afterUse = sql`last_used_at + ${toMs}`
  if (fromSeconds === 0) return sql`case when expires_at is null then ${afterUse} else expires_at end`
  const fromMs = fromSeconds * SECOND_MS
  const shifted = sql`expires_at + ${toMs - fromMs}`
  if (toMs > fromMs) {
    return sql`
      case when expires_at is null then ${afterUse}
        when expires_at <= ${changedAtMs + fromMs} then ${shifted} else expires_at end
    `
  }
  return sql`
    case when expires_at is null then ${afterUse}
      when last_used_at >= ${changedAtMs} and ${afterUse} > ${shifted} then ${afterUse} else ${shifted} end
  `
}
