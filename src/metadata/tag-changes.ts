/** Changes of tags that people ask for: restoring, an expiry set by hand, permanent deletion. */
import { type Digest, parseDigest } from '../oci/digest.ts'
import type { Db } from './db.ts'
import { isPinned } from './pins.ts'
import { refreshRootsOf } from './roots.ts'
import { beginTag, endTag, type StoredTag } from './tags.ts'
import { fromFlag, fromNull, toFlag, toNull } from './values.ts'

/** One row of a tag, current or not. */
export type TagRecord = {
  id: number
  digest: Digest
  isCurrent: boolean
  startedAtMs: number
  /** When it ended, expired or will; undefined is for ever. */
  endsAtMs: number | undefined
  confirmedAtMs: number
  isEvicted: boolean
}

/** A tag's rows are as many as its moves within the Time Machine, and the records of what was evicted. */
const recordsMax = 1000

/** Every row of a tag that names the digest, or (undefined) any, the newest first. */
export async function listTagRecords(
  db: Db,
  tag: { repositoryId: number; name: string; digest?: string | undefined },
): Promise<TagRecord[]> {
  const query = db
    .selectFrom('tag')
    .selectAll()
    .where('repository_id', '=', tag.repositoryId)
    .where('name', '=', tag.name)
    .orderBy('id', 'desc')
    .limit(recordsMax)
  const rows = await (tag.digest === undefined ? query : query.where('digest', '=', tag.digest)).execute()
  return rows.map((row) => ({
    id: row.id,
    digest: digestOfRow(row.digest),
    isCurrent: row.ended_at === null,
    startedAtMs: row.started_at,
    endsAtMs: fromNull(row.ended_at ?? row.expires_at),
    confirmedAtMs: row.confirmed_at,
    isEvicted: row.evicted_at !== null,
  }))
}

/** The manifest, if it is held, and since when it is only kept (undefined: it lives, or nothing says otherwise). */
export async function findHeldManifest(
  db: Db,
  repositoryId: number,
  digest: string,
): Promise<{ id: number; isByDigest: boolean; expiresAtMs: number | undefined } | undefined> {
  const row = await db
    .selectFrom('manifest')
    .leftJoin('root', 'root.manifest_id', 'manifest.id')
    .select(['manifest.id', 'manifest.is_by_digest', 'root.expires_at'])
    .where('manifest.repository_id', '=', repositoryId)
    .where('manifest.digest', '=', digest)
    .executeTakeFirst()
  return row && { id: row.id, isByDigest: fromFlag(row.is_by_digest), expiresAtMs: fromNull(row.expires_at) }
}

/** Let a tag name a digest that is held, because somebody says so. What it named before goes to the history. */
export async function restoreTag(
  tx: Db,
  fields: {
    repositoryId: number
    name: string
    digest: Digest
    nowMs: number
    /** When the upstream last named it. */
    confirmedAtMs: number
    expiresAtMs: number | undefined
  },
): Promise<StoredTag> {
  const { repositoryId, name, digest } = fields
  const before = await endTag(tx, fields)
  const isForEver = await isPinned(tx, { repositoryId, kind: 'tag', reference: name })
  const expiresAtMs = isForEver ? undefined : fields.expiresAtMs
  const tag = await beginTag(tx, { ...fields, expiresAtMs, isRestored: true })
  if (tag === undefined) throw new Error(`cannot restore tag ${name}: it is being moved`)
  await refreshRootsOf(tx, repositoryId, before === undefined ? [digest] : [before, digest])
  return tag
}

/** `isSet`: by hand; the next pull sets it anew, be it earlier. Undefined is for ever. */
export async function setTagExpiry(
  tx: Db,
  id: number,
  fields: { expiresAtMs: number | undefined; isSet: boolean },
): Promise<void> {
  const row = await tx
    .updateTable('tag')
    .set({ expires_at: toNull(fields.expiresAtMs), is_expiry_set: toFlag(fields.isSet) })
    .where('id', '=', id)
    .returning(['repository_id', 'digest'])
    .executeTakeFirst()
  if (row !== undefined) await refreshRootsOf(tx, row.repository_id, [row.digest])
}

/** Make an image that no tag holds live by its digest until then; undefined is for ever. */
export async function setDigestExpiry(
  tx: Db,
  manifest: { repositoryId: number; id: number; digest: string; expiresAtMs: number | undefined },
): Promise<void> {
  await tx
    .updateTable('manifest')
    .set({ is_by_digest: 1, expires_at: toNull(manifest.expiresAtMs) })
    .where('id', '=', manifest.id)
    .execute()
  await refreshRootsOf(tx, manifest.repositoryId, [manifest.digest])
}

/** Delete rows of tags; the caller refreshes or removes their roots. */
export async function deleteTagRecords(tx: Db, ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return
  await tx.deleteFrom('tag').where('id', 'in', ids).execute()
}

/** Whether rows of tags other than these hold the image. */
export async function isHeldByOtherTags(
  tx: Db,
  image: { repositoryId: number; digest: string; exceptIds: readonly number[] },
): Promise<boolean> {
  const row = await tx
    .selectFrom('tag')
    .select('id')
    .where('repository_id', '=', image.repositoryId)
    .where('digest', '=', image.digest)
    .where('evicted_at', 'is', null)
    .where('id', 'not in', [0, ...image.exceptIds])
    .executeTakeFirst()
  return row !== undefined
}

function digestOfRow(text: string): Digest {
  const digest = parseDigest(text)
  if (digest === undefined) throw new Error(`a tag's row names ${text}, which is no digest`)
  return digest
}
