/** Upwards: the indexes and tags of a repository that hold a manifest. */
import { type RawBuilder, sql } from 'kysely'
import { MANIFEST_LIMITS } from '../oci/manifest.ts'
import type { Db } from './db.ts'

export type Holders = {
  /** Every index above it, at any depth. */
  manifestIds: number[]
  /** Current tags that name the digest or one of those indexes. */
  tagIds: number[]
}

/** More holders than this share a use only in part; an ordinary manifest has a few. */
const holdersMax = 10_000

/** One statement. Expired tags are current until they are collected. */
export async function findHolders(db: Db, repositoryId: number, digest: string): Promise<Holders> {
  const { rows } = await sql<{ kind: 'manifest' | 'tag'; id: number }>`
    with recursive holder(id, digest, level) as (${holders(repositoryId, digest)})
    select 'manifest' as kind, id from holder
    union
    select 'tag' as kind, tag.id from tag
    where tag.repository_id = ${repositoryId} and tag.ended_at is null
      and tag.digest in (select ${digest} union select digest from holder)
    limit ${holdersMax}
  `.execute(db)
  return {
    manifestIds: rows.filter((row) => row.kind === 'manifest').map((row) => row.id),
    tagIds: rows.filter((row) => row.kind === 'tag').map((row) => row.id),
  }
}

/** Whether a current tag names the manifest, or a stored index of the repository holds it. */
export async function isHeld(db: Db, repositoryId: number, digest: string): Promise<boolean> {
  const { rows } = await sql`
    select 1 as held where
      exists (
        select 1 from tag where repository_id = ${repositoryId} and digest = ${digest} and ended_at is null
      ) or exists (
        select 1 from manifest_child join manifest on manifest.id = manifest_child.manifest_id
        where manifest_child.digest = ${digest} and manifest.repository_id = ${repositoryId}
      )
  `.execute(db)
  return rows.length > 0
}

function holders(repositoryId: number, digest: string): RawBuilder<unknown> {
  return sql`
    select manifest.id, manifest.digest, 1
    from manifest_child join manifest on manifest.id = manifest_child.manifest_id
    where manifest_child.digest = ${digest} and manifest.repository_id = ${repositoryId}
    union
    select manifest.id, manifest.digest, holder.level + 1
    from holder
      join manifest_child on manifest_child.digest = holder.digest
      join manifest on manifest.id = manifest_child.manifest_id
    where manifest.repository_id = ${repositoryId} and holder.level < ${sql.lit(MANIFEST_LIMITS.depthMax)}
  `
}
