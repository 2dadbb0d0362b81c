/** Tags: the current row, and the history behind it. */
import { type Selectable, sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'
import { laterExpiry, laterInstant, renewedTagExpiry } from './expiry.ts'
import { HotStatement } from './hot-statement.ts'
import { isPinned } from './pins.ts'
import { refreshRoots, refreshRootsOf } from './roots.ts'
import type { TagTable } from './schema.ts'
import { transact } from './transaction.ts'
import { fromFlag, fromNull, toFlag, toNull } from './values.ts'

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
  /** Somebody set it by hand: the next pull sets it anew, be it earlier. */
  isExpirySet: boolean
}

/** A use that was counted in memory. */
export type Use = {
  id: number
  lastUsedAtMs: number
  /** Undefined leaves it; null is for ever. */
  expiresAtMs: number | null | undefined
}

/** `revives`: it becomes a by-digest image, because nothing that is alive holds it. */
export type ManifestUse = Use & { revives?: boolean }

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
 * Let a tag name a digest that is stored, in a transaction, because the upstream does. The same digest as before: it is
 * confirmed and lives (again) at least until `expiresAtMs` (undefined: for ever). Another: the old row ends and stays
 * in the history, and a new one begins.
 */
export async function pointTag(
  tx: Db,
  fields: { repositoryId: number; name: string; digest: string; nowMs: number; expiresAtMs: number | undefined },
): Promise<StoredTag> {
  for (let tries = 1; tries <= pointTriesMax; tries++) {
    const confirmed = await confirmPointed(tx, fields)
    if (confirmed !== undefined) {
      await refreshRootsOf(tx, fields.repositoryId, [fields.digest])
      return toStoredTag(confirmed)
    }
    const moved = await movePointed(tx, fields)
    if (moved !== undefined) return moved
  }
  throw new Error(`cannot point tag ${fields.name}: it keeps being moved`)
}

/** The upstream has named this digest again. Nothing goes back; an `expiresAtMs` of undefined is for ever. */
export async function confirmTag(
  db: Db,
  id: number,
  fields: { confirmedAtMs: number; expiresAtMs: number | undefined },
): Promise<void> {
  await transact(db, async (tx) => {
    const row = await tx
      .updateTable('tag')
      .set({
        confirmed_at: laterInstant('confirmed_at', fields.confirmedAtMs),
        expires_at: renewedTagExpiry(fields.expiresAtMs),
        is_expiry_set: 0,
      })
      .where('id', '=', id)
      .where('ended_at', 'is', null)
      .returning(['repository_id', 'digest'])
      .executeTakeFirst()
    if (row !== undefined) await refreshRootsOf(tx, row.repository_id, [row.digest])
  })
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
export async function applyUses(
  tx: Db,
  uses: { tags: readonly Use[]; manifests: readonly ManifestUse[] },
): Promise<void> {
  await transact(tx, async (inner) => {
    const digests = new Map<number, Set<string>>()
    // In one order everywhere, so that two batches cannot wait for each other.
    for (const use of inOrder(uses.tags)) {
      const row = await useTag(inner, use)
      if (row === undefined) continue
      const used = digests.get(row.repository_id) ?? new Set()
      digests.set(row.repository_id, used.add(row.digest))
    }
    for (const use of inOrder(uses.manifests)) await useManifest(inner, use)
    for (const [repositoryId, used] of [...digests].sort(([left], [right]) => left - right)) {
      await refreshRootsOf(inner, repositoryId, [...used])
    }
    if (uses.manifests.length > 0) {
      await refreshRoots(
        inner,
        inOrder(uses.manifests).map((use) => use.id),
      )
    }
  })
}

/** A row that has ended since is used all the same, and stays ended. */
function useTag(tx: Db, use: Use): Promise<{ repository_id: number; digest: string } | undefined> {
  return tx
    .updateTable('tag')
    .set({
      last_used_at: laterInstant('last_used_at', use.lastUsedAtMs),
      ...(use.expiresAtMs !== undefined && {
        expires_at: sql<number | null>`
          case when ended_at is null then ${renewedTagExpiry(use.expiresAtMs)} else expires_at end
        `,
        is_expiry_set: 0,
      }),
    })
    .where('id', '=', use.id)
    .returning(['repository_id', 'digest'])
    .executeTakeFirst()
}

async function useManifest(tx: Db, use: ManifestUse): Promise<void> {
  const { expiresAtMs } = use
  const isRevived = use.revives === true && expiresAtMs !== undefined
  // Until now it lived by tags or indexes, so that it had no expiry of its own.
  const revived = sql<number | null>`
    case when is_by_digest = 0 then cast(${expiresAtMs ?? null} as bigint) else ${laterExpiry(expiresAtMs)} end
  `
  await tx
    .updateTable('manifest')
    .set({
      last_used_at: laterInstant('last_used_at', use.lastUsedAtMs),
      ...(expiresAtMs !== undefined && { expires_at: isRevived ? revived : laterExpiry(expiresAtMs) }),
      ...(isRevived && { is_by_digest: 1 as const }),
    })
    .where('id', '=', use.id)
    .execute()
}

function inOrder<Row extends Use>(uses: readonly Row[]): Row[] {
  return [...uses].sort((left, right) => left.id - right.id)
}

type Pointed = Parameters<typeof pointTag>[1]

function confirmPointed(tx: Db, fields: Pointed): Promise<Selectable<TagTable> | undefined> {
  return tx
    .updateTable('tag')
    .set({
      confirmed_at: laterInstant('confirmed_at', fields.nowMs),
      last_used_at: laterInstant('last_used_at', fields.nowMs),
      expires_at: renewedTagExpiry(fields.expiresAtMs),
      is_expiry_set: 0,
    })
    .where('repository_id', '=', fields.repositoryId)
    .where('name', '=', fields.name)
    .where('ended_at', 'is', null)
    .where('digest', '=', fields.digest)
    .returningAll()
    .executeTakeFirst()
}

/** Undefined when another transaction has begun a row for this tag meanwhile. */
async function movePointed(tx: Db, fields: Pointed): Promise<StoredTag | undefined> {
  const { repositoryId, name, digest, nowMs } = fields
  const ended = await endTag(tx, { repositoryId, name, nowMs, unlessDigest: digest })
  const isForEver = await isPinned(tx, { repositoryId, kind: 'tag', reference: name })
  const begun = await beginTag(tx, {
    ...{ repositoryId, name, digest, nowMs },
    confirmedAtMs: nowMs,
    expiresAtMs: isForEver ? undefined : fields.expiresAtMs,
    isRestored: false,
  })
  if (begun === undefined) return undefined
  await refreshRootsOf(tx, repositoryId, ended === undefined ? [digest] : [ended, digest])
  return begun
}

/**
 * End the current row of a tag (unless it names `unlessDigest`), now or when it expired; resolves to what it named.
 * The caller refreshes the roots.
 */
export async function endTag(
  tx: Db,
  fields: { repositoryId: number; name: string; nowMs: number; unlessDigest?: string },
): Promise<string | undefined> {
  const { nowMs } = fields
  const query = tx
    .updateTable('tag')
    .set({ ended_at: sql<number>`case when expires_at < ${nowMs} then expires_at else cast(${nowMs} as bigint) end` })
    .where('repository_id', '=', fields.repositoryId)
    .where('name', '=', fields.name)
    .where('ended_at', 'is', null)
  const { unlessDigest } = fields
  const row = await (unlessDigest === undefined ? query : query.where('digest', '!=', unlessDigest))
    .returning('digest')
    .executeTakeFirst()
  return row?.digest
}

/** Begin a row for a tag that has no current one; undefined when it has. The caller refreshes the roots. */
export async function beginTag(
  tx: Db,
  fields: {
    repositoryId: number
    name: string
    digest: string
    nowMs: number
    confirmedAtMs: number
    expiresAtMs: number | undefined
    isRestored: boolean
  },
): Promise<StoredTag | undefined> {
  const row = await tx
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
      confirmed_at: fields.confirmedAtMs,
      last_used_at: fields.nowMs,
      expires_at: toNull(fields.expiresAtMs),
      is_expiry_set: 0,
      is_restored: toFlag(fields.isRestored),
      evicted_at: null,
    }))
    .onConflict((conflict) => conflict.columns(['repository_id', 'name']).where('ended_at', 'is', null).doNothing())
    .returningAll()
    .executeTakeFirst()
  return row && toStoredTag(row)
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
    isExpirySet: fromFlag(row.is_expiry_set),
  }
}
