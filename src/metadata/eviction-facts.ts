/** What the eviction plan is made from: roots, what is reachable from them, who else holds it. Read under the lock. */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import { MANIFEST_LIMITS } from '../oci/manifest.ts'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'
import { loadTree, type TreeManifest } from './manifest-tree.ts'

/** Who holds an item is counted only so far: what a base layer has of holders must not be what a plan costs. */
export const HOLDERS_MAX = 1000

export type RootFacts = {
  manifestId: number
  repositoryId: number
  digest: Digest
  /** Every stored manifest that is reachable from it inside the repository, itself first. */
  manifests: ManifestFacts[]
}

export type ManifestFacts = {
  manifestId: number
  digest: Digest
  sizeBytes: number
  isRoot: boolean
  /** Stored manifests of the repository that hold it. */
  parentIds: number[]
  lastUsedAtMs: number
  /** Its own row of the ledger, and those of its blobs that are in the ledger, each once. */
  items: LedgerFacts[]
}

export type LedgerFacts = {
  kind: 'blob' | 'manifest'
  digest: Digest
  /** As it is charged. */
  sizeBytes: number
  /**
   * How many manifest rows of the organization have this digest, or name this blob: it is freed with the last. Infinity
   * for HOLDERS_MAX or more: a plan then frees less than it could, never more.
   */
  holders: number
}

/** Facts about those of the manifests that exist in the organization, in the order of the ids. */
export async function loadRootFacts(
  tx: Db,
  organizationId: number,
  manifestIds: readonly number[],
): Promise<RootFacts[]> {
  const tree = await loadTree(tx, organizationId, manifestIds)
  const items = await loadItems(tx, organizationId, [...tree.values()])
  const toFacts = (manifest: TreeManifest): ManifestFacts => ({
    manifestId: manifest.id,
    digest: manifest.digest,
    sizeBytes: manifest.sizeBytes,
    isRoot: manifest.isRoot,
    parentIds: manifest.parentIds,
    lastUsedAtMs: manifest.lastUsedAtMs,
    items: items.get(manifest.id) ?? [],
  })
  return [...new Set(manifestIds)].flatMap((manifestId) => {
    const root = tree.get(manifestId)
    if (root === undefined) return []
    const { repositoryId, digest } = root
    return [{ manifestId, repositoryId, digest, manifests: reachableFrom(root, tree).map(toFacts) }]
  })
}

/** Ids of the roots from which the digest is reachable in the repository, itself included. */
export async function findContainingRoots(db: Db, repositoryId: number, digest: string): Promise<number[]> {
  const { rows } = await sql<{ id: number }>`
    with recursive holder(id, digest, level) as (
      select id, digest, 0 from manifest where repository_id = ${repositoryId} and digest = ${digest}
      union
      ${parentsOf(repositoryId, digest)}
      union
      select manifest.id, manifest.digest, holder.level + 1
      from holder
        join manifest_child on manifest_child.digest = holder.digest
        join manifest on manifest.id = manifest_child.manifest_id
      where manifest.repository_id = ${repositoryId} and holder.level < ${sql.lit(MANIFEST_LIMITS.depthMax)}
    )
    select distinct id from holder where exists (select 1 from root where root.manifest_id = holder.id) order by id
  `.execute(db)
  return rows.map((row) => row.id)
}

/**
 * Ids of stored manifests that are no roots and that a stored index of the repository holds beside the digest, the
 * least recently used first.
 */
export async function listSiblings(db: Db, repositoryId: number, digest: string): Promise<number[]> {
  const { rows } = await sql<{ id: number }>`
    select distinct sibling.id, sibling.last_used_at
    from (${parentsOf(repositoryId, digest)}) as parent
      join manifest_child on manifest_child.manifest_id = parent.id
      join manifest as sibling on sibling.repository_id = ${repositoryId} and sibling.digest = manifest_child.digest
    where sibling.digest <> ${digest} and not exists (select 1 from root where root.manifest_id = sibling.id)
    order by sibling.last_used_at, sibling.id
  `.execute(db)
  return rows.map((row) => row.id)
}

function parentsOf(repositoryId: number, digest: string) {
  return sql`
    select manifest.id, manifest.digest, 1 as level
    from manifest_child join manifest on manifest.id = manifest_child.manifest_id
    where manifest_child.digest = ${digest} and manifest.repository_id = ${repositoryId}
  `
}

/** The manifest first, then what it holds, each once. */
function reachableFrom(root: TreeManifest, tree: ReadonlyMap<number, TreeManifest>): TreeManifest[] {
  const reached = new Map([[root.id, root]])
  for (const manifest of reached.values()) {
    for (const id of manifest.childIds) {
      const child = tree.get(id)
      if (child !== undefined) reached.set(id, child)
    }
  }
  return [...reached.values()]
}

async function loadItems(
  tx: Db,
  organizationId: number,
  manifests: readonly TreeManifest[],
): Promise<Map<number, LedgerFacts[]>> {
  const own = await loadLedger(
    tx,
    organizationId,
    'manifest',
    manifests.map((manifest) => manifest.digest),
  )
  const items = new Map<number, LedgerFacts[]>()
  for (const { id, digest } of manifests) {
    const row = own.get(digest)
    items.set(id, row === undefined ? [] : [row])
  }
  const links: { manifest_id: number; digest: string }[] = []
  for (const batch of inBatches([...items.keys()])) {
    const query = tx.selectFrom('manifest_blob').select(['manifest_id', 'digest']).distinct()
    links.push(...(await query.where('manifest_id', 'in', batch).execute()))
  }
  const blobs = await loadLedger(
    tx,
    organizationId,
    'blob',
    links.map((link) => link.digest),
  )
  for (const link of links) {
    const row = blobs.get(link.digest)
    if (row !== undefined) items.get(link.manifest_id)?.push(row)
  }
  return items
}

async function loadLedger(
  tx: Db,
  organizationId: number,
  kind: LedgerFacts['kind'],
  digests: readonly string[],
): Promise<Map<string, LedgerFacts>> {
  const holders =
    kind === 'manifest'
      ? sql`select count(*) from manifest
          where manifest.organization_id = ${organizationId} and manifest.digest = ledger.digest`
      : sql`select count(*) from (
          select distinct manifest_id from manifest_blob
          where manifest_blob.organization_id = ${organizationId} and manifest_blob.digest = ledger.digest
          limit ${sql.lit(HOLDERS_MAX)}
        ) as holder`
  const facts = new Map<string, LedgerFacts>()
  for (const batch of inBatches([...new Set(digests)])) {
    const { rows } = await sql<{ digest: string; size_bytes: number; holders: number }>`
      select digest, size_bytes, (${holders}) as holders from ledger
      where organization_id = ${organizationId} and kind = ${kind} and digest in (${sql.join(batch)})
    `.execute(tx)
    for (const row of rows) {
      const held = Number(row.holders)
      const isCounted = held < HOLDERS_MAX
      const { digest, size_bytes: sizeBytes } = row
      facts.set(digest, {
        kind,
        digest: digest as Digest,
        sizeBytes,
        holders: isCounted ? held : Number.POSITIVE_INFINITY,
      })
    }
  }
  return facts
}
