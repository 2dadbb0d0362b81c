/** The images of an organization or of one of its repositories, page by page, for a purge. */
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'
import { fromFlag } from './values.ts'

/** `repositoryId` undefined: all of the organization. */
export type PurgeScope = { organizationId: number; repositoryId: number | undefined }

export type PurgedRoot = {
  manifestId: number
  repositoryId: number
  repositoryName: string
  digest: Digest
  lastUsedAtMs: number
  isPinned: boolean
}

export async function countRoots(db: Db, scope: PurgeScope): Promise<number> {
  const row = await within(db, scope)
    .select((eb) => eb.fn.countAll<number>().as('roots'))
    .executeTakeFirstOrThrow()
  return Number(row.roots)
}

/** In the order of their ids, after one. */
export async function listRoots(db: Db, scope: PurgeScope, afterId: number, limit: number): Promise<PurgedRoot[]> {
  const rows = await within(db, scope)
    .innerJoin('manifest', 'manifest.id', 'root.manifest_id')
    .innerJoin('repository', 'repository.id', 'root.repository_id')
    .select(['root.manifest_id', 'root.repository_id', 'repository.name', 'manifest.digest'])
    .select(['root.last_used_at', 'root.is_pinned'])
    .where('root.manifest_id', '>', afterId)
    .orderBy('root.manifest_id')
    .limit(limit)
    .execute()
  return rows.map((row) => ({
    manifestId: row.manifest_id,
    repositoryId: row.repository_id,
    repositoryName: row.name,
    digest: row.digest as Digest,
    lastUsedAtMs: row.last_used_at,
    isPinned: fromFlag(row.is_pinned),
  }))
}

/** What is shown of roots: their repository, the tags that name or named them, and their last use. */
export async function describeRoots(
  db: Db,
  manifestIds: readonly number[],
): Promise<Map<number, PurgedRoot & { tags: string[] }>> {
  if (manifestIds.length === 0) return new Map()
  const rows = await db
    .selectFrom('root')
    .innerJoin('manifest', 'manifest.id', 'root.manifest_id')
    .innerJoin('repository', 'repository.id', 'root.repository_id')
    .leftJoin('tag', (join) =>
      join
        .onRef('tag.repository_id', '=', 'root.repository_id')
        .onRef('tag.digest', '=', 'manifest.digest')
        .on('tag.ended_at', 'is', null),
    )
    .select(['root.manifest_id', 'root.repository_id', 'repository.name', 'manifest.digest'])
    .select(['root.last_used_at', 'root.is_pinned', 'tag.name as tag'])
    .where('root.manifest_id', 'in', manifestIds)
    .orderBy('tag.name')
    .execute()
  const roots = new Map<number, PurgedRoot & { tags: string[] }>()
  for (const row of rows) {
    const root = roots.get(row.manifest_id) ?? {
      manifestId: row.manifest_id,
      repositoryId: row.repository_id,
      repositoryName: row.name,
      digest: row.digest as Digest,
      lastUsedAtMs: row.last_used_at,
      isPinned: fromFlag(row.is_pinned),
      tags: [],
    }
    if (row.tag !== null) root.tags.push(row.tag)
    roots.set(row.manifest_id, root)
  }
  return roots
}

function within(db: Db, { organizationId, repositoryId }: PurgeScope) {
  const query = db.selectFrom('root').where('root.organization_id', '=', organizationId)
  return repositoryId === undefined ? query : query.where('root.repository_id', '=', repositoryId)
}
