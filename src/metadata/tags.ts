/** Tags: the current row, and the history behind it. */
import { type Selectable, sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'
import { laterExpiry, laterInstant } from './expiry.ts'
import { HotStatement } from './hot-statement.ts'
import type { TagTable } from './schema.ts'
import { transact } from './transaction.ts'
import { fromNull, toNull } from './values.ts'

export type StoredTag = {
  id: number
  repositoryId: number
  name: string
  digest: Digest
  startedAtMs: number
  /** When the upstream last named this digest. */
  confirmedAtMs: number
  lastUsedAtMs: number
  /** Undefined is for ever. */
  expiresAtMs: number | undefined
}

/** A use that was counted in memory. */
export type Use = {
  id: number
  lastUsedAtMs: number
  /** Undefined leaves it; null is for ever. */
  expiresAtMs: number | null | undefined
}

/** Each time that one loses the race for a tag, another has moved it. */
const pointTriesMax = 10

const currentTag = new HotStatement(
  'find_tag',
  (repositoryId: number, name: string) => sql<Selectable<TagTable>>`
    select * from tag where repository_id = ${repositoryId} and name = ${name} and ended_at is null
  `,
)

/** The current row, also when it has expired. */
export async function findTag(db: Db, repositoryId: number, name: string): Promise<StoredTag | undefined> {
  const row = await currentTag.runFirst(db, repositoryId, name)
  return row && toStoredTag(row)
}

/**
 * Let a tag name a digest, in a transaction. The same digest as before: it is confirmed and lives (again) at least
 * until `expiresAtMs` (undefined: for ever). Another: the old row ends and stays in the history, and a new one begins.
 */
export async function pointTag(
  tx: Db,
  fields: { repositoryId: number; name: string; digest: string; nowMs: number; expiresAtMs: number | undefined },
): Promise<StoredTag> {
  for (let tries = 1; tries <= pointTriesMax; tries++) {
    const row = (await confirmPointed(tx, fields)) ?? (await movePointed(tx, fields))
    if (row !== undefined) return toStoredTag(row)
  }
  throw new Error(`cannot point tag ${fields.name}: it keeps being moved`)
}

/** The upstream has named this digest again. Nothing goes back; an `expiresAtMs` of undefined is for ever. */
export async function confirmTag(
  db: Db,
  id: number,
  fields: { confirmedAtMs: number; expiresAtMs: number | undefined },
): Promise<void> {
  await db
    .updateTable('tag')
    .set({
      confirmed_at: laterInstant('confirmed_at', fields.confirmedAtMs),
      expires_at: laterExpiry(fields.expiresAtMs),
    })
    .where('id', '=', id)
    .execute()
}

/** The tags that have not expired, sorted by code unit. */
export async function listTagNames(db: Db, repositoryId: number, nowMs: number): Promise<string[]> {
  const rows = await db
    .selectFrom('tag')
    .select('name')
    .where('repository_id', '=', repositoryId)
    .where('ended_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', nowMs)]))
    .orderBy('name')
    .execute()
  return rows.map((row) => row.name)
}

/** Write uses that were counted in memory. Last use and expiry never go back; rows that are gone are passed over. */
export async function applyUses(tx: Db, uses: { tags: readonly Use[]; manifests: readonly Use[] }): Promise<void> {
  await transact(tx, async (inner) => {
    for (const table of ['tag', 'manifest'] as const) {
      const rows = table === 'tag' ? uses.tags : uses.manifests
      // In one order everywhere, so that two batches cannot wait for each other.
      for (const use of [...rows].sort((left, right) => left.id - right.id)) {
        await inner
          .updateTable(table)
          .set({
            last_used_at: laterInstant('last_used_at', use.lastUsedAtMs),
            ...(use.expiresAtMs !== undefined && { expires_at: laterExpiry(use.expiresAtMs) }),
          })
          .where('id', '=', use.id)
          .execute()
      }
    }
  })
}

type Pointed = Parameters<typeof pointTag>[1]

function confirmPointed(tx: Db, fields: Pointed): Promise<Selectable<TagTable> | undefined> {
  return tx
    .updateTable('tag')
    .set({
      confirmed_at: laterInstant('confirmed_at', fields.nowMs),
      last_used_at: laterInstant('last_used_at', fields.nowMs),
      expires_at: laterExpiry(fields.expiresAtMs),
    })
    .where('repository_id', '=', fields.repositoryId)
    .where('name', '=', fields.name)
    .where('ended_at', 'is', null)
    .where('digest', '=', fields.digest)
    .returningAll()
    .executeTakeFirst()
}

/** Undefined when another transaction has begun a row for this tag meanwhile. */
async function movePointed(tx: Db, fields: Pointed): Promise<Selectable<TagTable> | undefined> {
  await tx
    .updateTable('tag')
    .set({ ended_at: fields.nowMs })
    .where('repository_id', '=', fields.repositoryId)
    .where('name', '=', fields.name)
    .where('ended_at', 'is', null)
    .where('digest', '!=', fields.digest)
    .execute()
  return tx
    .insertInto('tag')
    .values((eb) => ({
      organization_id: eb
        .selectFrom('repository')
        .select('repository.organization_id')
        .where('repository.id', '=', fields.repositoryId),
      repository_id: fields.repositoryId,
      name: fields.name,
      digest: fields.digest,
      started_at: fields.nowMs,
      ended_at: null,
      confirmed_at: fields.nowMs,
      last_used_at: fields.nowMs,
      expires_at: toNull(fields.expiresAtMs),
      is_expiry_set: 0,
      is_restored: 0,
      evicted_at: null,
    }))
    .onConflict((conflict) => conflict.columns(['repository_id', 'name']).where('ended_at', 'is', null).doNothing())
    .returningAll()
    .executeTakeFirst()
}

function toStoredTag(row: Selectable<TagTable>): StoredTag {
  return {
    id: row.id,
    repositoryId: row.repository_id,
    name: row.name,
    digest: row.digest as Digest,
    startedAtMs: row.started_at,
    confirmedAtMs: row.confirmed_at,
    lastUsedAtMs: row.last_used_at,
    expiresAtMs: fromNull(row.expires_at),
  }
}
