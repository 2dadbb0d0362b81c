/** Stored manifests and what is reachable from them inside their repository. */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'

export type TreeManifest = {
  id: number
  repositoryId: number
  digest: Digest
  sizeBytes: number
  lastUsedAtMs: number
  isRoot: boolean
  /** Stored manifests of the repository that it holds. */
  childIds: number[]
  /** Stored manifests of the repository that hold it, also outside the tree. */
  parentIds: number[]
}

/** Those of the manifests that exist in the organization and all that is reachable, by id; the named ones first. */
export async function loadTree(
  tx: Db,
  organizationId: number,
  manifestIds: readonly number[],
): Promise<Map<number, TreeManifest>> {
  const tree = new Map<number, TreeManifest>()
  for (const batch of inBatches([...new Set(manifestIds)])) {
    const rows = await tx
      .selectFrom('manifest')
      .select(['id', 'repository_id', 'digest', 'size_bytes', 'last_used_at'])
      .where('id', 'in', batch)
      // The plus keeps SQLite from walking all manifests of the organization.
      .where(sql<boolean>`+organization_id = ${organizationId}`)
      .orderBy('id')
      .execute()
    for (const row of rows) addTo(tree, row)
  }
  // A digest cannot hold itself, so this ends; each manifest is asked for its children once.
  for (let level = [...tree.keys()]; level.length > 0; ) level = await loadChildren(tx, tree, level)
  await loadParents(tx, tree)
  return tree
}

type ManifestRow = { id: number; repository_id: number; digest: string; size_bytes: number; last_used_at: number }

function addTo(tree: Map<number, TreeManifest>, row: ManifestRow): void {
  tree.set(row.id, {
    id: row.id,
    repositoryId: row.repository_id,
    digest: row.digest as Digest,
    sizeBytes: row.size_bytes,
    lastUsedAtMs: row.last_used_at,
    isRoot: false,
    childIds: [],
    parentIds: [],
  })
}

/** Resolves to the ids of those that were not in the tree yet. */
async function loadChildren(tx: Db, tree: Map<number, TreeManifest>, level: readonly number[]): Promise<number[]> {
  const added: number[] = []
  for (const batch of inBatches(level)) {
    const { rows } = await sql<ManifestRow & { parent_id: number }>`
      select distinct parent.id as parent_id, child.id, child.repository_id, child.digest, child.size_bytes,
        child.last_used_at
      from manifest as parent
        join manifest_child on manifest_child.manifest_id = parent.id
        join manifest as child on child.repository_id = parent.repository_id and child.digest = manifest_child.digest
      where parent.id in (${sql.join(batch)})
      order by parent.id, child.id
    `.execute(tx)
    for (const row of rows) {
      tree.get(row.parent_id)?.childIds.push(row.id)
      if (tree.has(row.id)) continue
      addTo(tree, row)
      added.push(row.id)
    }
  }
  return added
}

async function loadParents(tx: Db, tree: Map<number, TreeManifest>): Promise<void> {
  for (const batch of inBatches([...tree.keys()])) {
    const roots = await tx.selectFrom('root').select('manifest_id').where('manifest_id', 'in', batch).execute()
    for (const row of roots) {
      const manifest = tree.get(row.manifest_id)
      if (manifest !== undefined) manifest.isRoot = true
    }
    const { rows } = await sql<{ id: number; parent_id: number }>`
      select distinct child.id, parent.id as parent_id
      from manifest as child
        join manifest_child on manifest_child.digest = child.digest
        join manifest as parent on parent.id = manifest_child.manifest_id and parent.repository_id = child.repository_id
      where child.id in (${sql.join(batch)})
      order by child.id, parent.id
    `.execute(tx)
    for (const row of rows) tree.get(row.id)?.parentIds.push(row.parent_id)
  }
}
