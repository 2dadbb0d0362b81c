/** Deleting many rows in steps: children before what they belong to, at most `rowsMax` rows a step. */
import { sql } from 'kysely'
import type { Db } from './db.ts'
import type { Database } from './schema.ts'
import { transact } from './transaction.ts'

/** Manifests whose children and blobs are deleted together. */
const manifestsMax = 100

/**
 * Delete up to `rowsMax` rows of a deleted organization, at last its own; resolves to whether nothing is left.
 * Bytes are not touched: a blob that no organization holds any more stays in `blob` until it is collected.
 */
export async function collectOrganizationStep(db: Db, id: number, rowsMax: number): Promise<boolean> {
  return transact(db, async (tx) => {
    const isDeleted = await tx
      .selectFrom('organization')
      .select('id')
      .where('id', '=', id)
      .where('deleted_at', 'is not', null)
      .executeTakeFirst()
    if (isDeleted === undefined) return true
    const budget = new Budget(rowsMax)
    await deleteRepositories(tx, id, undefined, budget)
    await budget.spend((limit) => deleteSome(tx, 'ingest', 'digest', 'organization_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'organization_blob', 'digest', 'organization_id', [id], limit))
    await budget.spend((limit) => deleteMembers(tx, id, limit))
    await budget.spend((limit) => deleteSome(tx, 'team', 'id', 'organization_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'proxy_cache', 'upstream_registry', 'organization_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'organization', 'name', 'id', [id], limit))
    return !budget.isSpent
  })
}

/** Delete up to `rowsMax` rows of repositories of earlier generations; resolves to whether nothing is left. */
export async function collectGenerationStep(
  db: Db,
  organizationId: number,
  currentGeneration: number,
  rowsMax: number,
): Promise<boolean> {
  return transact(db, async (tx) => {
    const budget = new Budget(rowsMax)
    await deleteRepositories(tx, organizationId, currentGeneration, budget)
    return !budget.isSpent
  })
}

/** Rows that a step may still delete. When it is not spent at the end, nothing was left to delete. */
class Budget {
  #left: number

  constructor(rowsMax: number) {
    this.#left = Math.max(1, rowsMax)
  }

  get isSpent(): boolean {
    return this.#left <= 0
  }

  async spend(work: (limit: number) => Promise<number>): Promise<void> {
    if (!this.isSpent) this.#left -= await work(this.#left)
  }
}

async function deleteRepositories(
  tx: Db,
  organizationId: number,
  belowGeneration: number | undefined,
  budget: Budget,
): Promise<void> {
  while (!budget.isSpent) {
    const all = tx.selectFrom('repository').select('id').where('organization_id', '=', organizationId)
    const query = belowGeneration === undefined ? all : all.where('generation', '<', belowGeneration)
    const repository = await query.limit(1).executeTakeFirst()
    if (repository === undefined) return
    const { id } = repository
    await budget.spend((limit) => deleteSome(tx, 'tag', 'id', 'repository_id', [id], limit))
    await deleteManifests(tx, id, budget)
    await budget.spend((limit) => deleteSome(tx, 'referrers', 'subject_digest', 'repository_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'ingest', 'digest', 'repository_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'repository', 'id', 'id', [id], limit))
  }
}

async function deleteManifests(tx: Db, repositoryId: number, budget: Budget): Promise<void> {
  while (!budget.isSpent) {
    const rows = await tx
      .selectFrom('manifest')
      .select('id')
      .where('repository_id', '=', repositoryId)
      .limit(manifestsMax)
      .execute()
    if (rows.length === 0) return
    const ids = rows.map((row) => row.id)
    await budget.spend((limit) => deleteSome(tx, 'manifest_child', 'position', 'manifest_id', ids, limit))
    await budget.spend((limit) => deleteSome(tx, 'manifest_blob', 'position', 'manifest_id', ids, limit))
    await budget.spend((limit) => deleteSome(tx, 'manifest', 'id', 'id', ids, limit))
  }
}

async function deleteMembers(tx: Db, organizationId: number, limit: number): Promise<number> {
  const teams = await tx.selectFrom('team').select('id').where('organization_id', '=', organizationId).execute()
  const ids = teams.map((team) => team.id)
  return ids.length === 0 ? 0 : deleteSome(tx, 'team_member', 'account_id', 'team_id', ids, limit)
}

/** Delete up to `limit` rows whose `owner` column is one of `ids`; `key` tells rows of one owner apart. */
async function deleteSome(
  tx: Db,
  table: keyof Database,
  key: string,
  owner: string,
  ids: readonly number[],
  limit: number,
): Promise<number> {
  const columns = sql`${sql.ref(owner)}, ${sql.ref(key)}`
  const result = await sql`
    delete from ${sql.table(table)} where (${columns}) in
      (select ${columns} from ${sql.table(table)} where ${sql.ref(owner)} in (${sql.join(ids)}) limit ${limit})
  `.execute(tx)
  return Number(result.numAffectedRows ?? 0n)
}
