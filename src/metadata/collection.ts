/** Deleting many rows in steps: children before what they belong to, and never more rows than a step may take. */
import { sql } from 'kysely'
import { abandonBlobs } from './blobs.ts'
import type { Db } from './db.ts'
import { dischargeItems } from './ledger.ts'
import { releaseBlobs, releaseManifests } from './release.ts'
import { endReservations } from './reservations.ts'
import type { Database } from './schema.ts'

/** Manifests whose children and blobs are deleted together. */
const manifestsMax = 100
/** Robots whose memberships and permissions are deleted together. */
const robotsMax = 100
/** A link takes its rows in the ledger and of the blob with it, and leaves one of garbage. */
const rowsPerLink = 4
/** A manifest takes its row in the ledger with it. */
const rowsPerManifest = 2
/** A reservation takes those of its blobs with it: some layers. */
const rowsPerReservation = 10

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

/** Whose rows go, and when. */
export type CollectionScope = { organizationId: number; nowMs: number }

/**
 * Repositories of the organization with all that they hold; only of generations below, if one is given. What they held
 * is discharged and abandoned as it goes. Under the lock of `lockCharge`.
 */
export async function deleteRepositories(
  tx: Db,
  scope: CollectionScope,
  belowGeneration: number | undefined,
  budget: RowBudget,
): Promise<void> {
  while (!budget.isSpent) {
    const all = tx.selectFrom('repository').select('id').where('organization_id', '=', scope.organizationId)
    const query = belowGeneration === undefined ? all : all.where('generation', '<', belowGeneration)
    const repository = await query.limit(1).executeTakeFirst()
    if (repository === undefined) return
    const { id } = repository
    await budget.spend((limit) => deleteSome(tx, 'tag', 'id', 'repository_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'pin', 'id', 'repository_id', [id], limit))
    await deleteManifests(tx, scope, id, budget)
    await budget.spend((limit) => deleteSome(tx, 'referrers', 'subject_digest', 'repository_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'ingest', 'digest', 'repository_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'repository_permission', 'id', 'repository_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'repository', 'id', 'id', [id], limit))
  }
}

async function deleteManifests(tx: Db, scope: CollectionScope, repositoryId: number, budget: RowBudget): Promise<void> {
  while (!budget.isSpent) {
    const rows = await tx
      .selectFrom('manifest')
      .select('id')
      .where('repository_id', '=', repositoryId)
      .limit(manifestsMax)
      .execute()
    if (rows.length === 0) return
    const ids = rows.map((row) => row.id)
    await budget.spend((limit) => deleteSome(tx, 'root', 'manifest_id', 'manifest_id', ids, limit))
    await budget.spend((limit) => endSomeReservations(tx, scope, ids, limit))
    await budget.spend((limit) => deleteSome(tx, 'manifest_child', 'position', 'manifest_id', ids, limit))
    await budget.spend((limit) => deleteSomeLinks(tx, scope, ids, limit))
    await budget.spend((limit) => deleteSomeManifests(tx, scope, ids, limit))
  }
}

async function endSomeReservations(
  tx: Db,
  { organizationId }: CollectionScope,
  manifestIds: readonly number[],
  limit: number,
): Promise<number> {
  const most = Math.max(1, Math.floor(limit / rowsPerReservation))
  const query = tx.selectFrom('reservation').select('manifest_id').where('manifest_id', 'in', manifestIds)
  const ids = (await query.limit(most).execute()).map((row) => row.manifest_id)
  await endReservations(tx, organizationId, ids)
  return ids.length === most ? limit : ids.length * rowsPerReservation
}

async function deleteSomeLinks(
  tx: Db,
  { organizationId, nowMs }: CollectionScope,
  manifestIds: readonly number[],
  limit: number,
): Promise<number> {
  const most = Math.max(1, Math.floor(limit / rowsPerLink))
  const { rows } = await sql<{ digest: string }>`
    delete from manifest_blob where (manifest_id, position) in (
      select manifest_id, position from manifest_blob where manifest_id in (${sql.join(manifestIds)}) limit ${most}
    ) returning digest
  `.execute(tx)
  const digests = rows.map((row) => row.digest)
  await releaseBlobs(tx, organizationId, digests, nowMs)
  return rows.length === most ? limit : rows.length * rowsPerLink
}

async function deleteSomeManifests(
  tx: Db,
  { organizationId }: CollectionScope,
  manifestIds: readonly number[],
  limit: number,
): Promise<number> {
  const most = Math.max(1, Math.floor(limit / rowsPerManifest))
  const ids = manifestIds.slice(0, most)
  const deleted = await tx.deleteFrom('manifest').where('id', 'in', ids).returning('digest').execute()
  const digests = deleted.map((row) => row.digest)
  await releaseManifests(tx, organizationId, digests)
  return deleted.length === most ? limit : deleted.length * rowsPerManifest
}

/** What no manifest accounts for; there should be none. Under the lock of `lockCharge`. */
export async function deleteLedger(tx: Db, scope: CollectionScope, limit: number): Promise<number> {
  const { organizationId, nowMs } = scope
  const query = tx.selectFrom('ledger').select(['kind', 'digest']).where('organization_id', '=', organizationId)
  const rows = await query.limit(limit).execute()
  for (const kind of ['manifest', 'blob'] as const) {
    const digests = rows.filter((row) => row.kind === kind).map((row) => row.digest)
    await dischargeItems(tx, organizationId, kind, digests)
    if (kind === 'blob') await abandonBlobs(tx, digests, nowMs)
  }
  return rows.length
}

export async function deleteQuotaLimits(tx: Db, organizationId: number, limit: number): Promise<number> {
  const quotas = await tx.selectFrom('quota').select('id').where('organization_id', '=', organizationId).execute()
  const ids = quotas.map((quota) => quota.id)
  return ids.length === 0 ? 0 : deleteSome(tx, 'quota_limit', 'id', 'quota_id', ids, limit)
}

export async function deleteTeamMembers(tx: Db, organizationId: number, limit: number): Promise<number> {
  const teams = await tx.selectFrom('team').select('id').where('organization_id', '=', organizationId).execute()
  const ids = teams.map((team) => team.id)
  return ids.length === 0 ? 0 : deleteSome(tx, 'team_member', 'account_id', 'team_id', ids, limit)
}

/** What the organization's teams may do: permissions that are left, of its own repositories there are none any more. */
export async function deleteTeamPermissions(tx: Db, organizationId: number, limit: number): Promise<number> {
  const teams = await tx.selectFrom('team').select('id').where('organization_id', '=', organizationId).execute()
  const ids = teams.map((team) => team.id)
  return ids.length === 0 ? 0 : deleteSome(tx, 'repository_permission', 'id', 'team_id', ids, limit)
}

/** Tokens that were generated for the organization's applications. */
export async function deleteApplicationTokens(tx: Db, organizationId: number, limit: number): Promise<number> {
  const rows = await tx
    .selectFrom('access_token')
    .innerJoin('oauth_application', 'oauth_application.id', 'access_token.application_id')
    .select('access_token.id')
    .where('oauth_application.organization_id', '=', organizationId)
    .limit(limit)
    .execute()
  const ids = rows.map((row) => row.id)
  return ids.length === 0 ? 0 : deleteSome(tx, 'access_token', 'id', 'id', ids, limit)
}

/** Its robots, with what they may do anywhere. */
export async function deleteRobots(tx: Db, organizationId: number, budget: RowBudget): Promise<void> {
  while (!budget.isSpent) {
    const robots = await tx
      .selectFrom('account')
      .select('id')
      .where('owner_organization_id', '=', organizationId)
      .limit(robotsMax)
      .execute()
    if (robots.length === 0) return
    const ids = robots.map((robot) => robot.id)
    await budget.spend((limit) => deleteSome(tx, 'team_member', 'team_id', 'account_id', ids, limit))
    await budget.spend((limit) => deleteSome(tx, 'repository_permission', 'id', 'account_id', ids, limit))
    await budget.spend((limit) => deleteSome(tx, 'prototype', 'id', 'delegate_account_id', ids, limit))
    await budget.spend((limit) => deleteSome(tx, 'prototype', 'id', 'activating_account_id', ids, limit))
    await budget.spend((limit) => deleteSome(tx, 'account', 'username', 'id', ids, limit))
  }
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
