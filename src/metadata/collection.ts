/** Deleting many rows in steps: children before what they belong to, and never more rows than a step may take. */
import { sql } from 'kysely'
import type { Db } from './db.ts'
import type { Database } from './schema.ts'

/** Manifests whose children and blobs are deleted together. */
const manifestsMax = 100

/** Rows that a step may still delete. When it is not spent at the end, nothing was left to delete. */
export class RowBudget {
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

/** Repositories of the organization with all that they hold; only of generations below, if one is given. */
export async function deleteRepositories(
  tx: Db,
  organizationId: number,
  belowGeneration: number | undefined,
  budget: RowBudget,
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

async function deleteManifests(tx: Db, repositoryId: number, budget: RowBudget): Promise<void> {
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

export async function deleteTeamMembers(tx: Db, organizationId: number, limit: number): Promise<number> {
  const teams = await tx.selectFrom('team').select('id').where('organization_id', '=', organizationId).execute()
  const ids = teams.map((team) => team.id)
  return ids.length === 0 ? 0 : deleteSome(tx, 'team_member', 'account_id', 'team_id', ids, limit)
}

/** Delete up to `limit` rows whose `owner` column is one of `ids`; `key` tells rows of one owner apart. */
export async function deleteSome(
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
