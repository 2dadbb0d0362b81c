/** Default permissions (Quay: prototypes): what a repository that is created by API gives to whom. */
import type { Db } from './db.ts'
import type { Grantee, RepositoryRole } from './repository-permissions.ts'
import { setRepositoryPermission } from './repository-permissions.ts'

export type Prototype = {
  uuid: string
  role: RepositoryRole
  delegate: { kind: 'user' | 'robot' | 'team'; id: number; name: string }
  /** Only for repositories that this account creates; undefined for all. */
  activating: { kind: 'user' | 'robot'; id: number; name: string } | undefined
}

export async function insertPrototype(
  tx: Db,
  fields: {
    uuid: string
    organizationId: number
    role: RepositoryRole
    delegate: Grantee
    activatingAccountId: number | undefined
  },
): Promise<void> {
  const { delegate } = fields
  await tx
    .insertInto('prototype')
    .values({
      uuid: fields.uuid,
      organization_id: fields.organizationId,
      role: fields.role,
      delegate_account_id: delegate.kind === 'account' ? delegate.id : null,
      delegate_team_id: delegate.kind === 'team' ? delegate.id : null,
      activating_account_id: fields.activatingAccountId ?? null,
    })
    .execute()
}

export async function countPrototypes(db: Db, organizationId: number): Promise<number> {
  const query = db.selectFrom('prototype').where('organization_id', '=', organizationId)
  return (await query.select((eb) => eb.fn.countAll<number>().as('count')).executeTakeFirstOrThrow()).count
}

export async function findPrototype(db: Db, organizationId: number, uuid: string): Promise<Prototype | undefined> {
  const row = await all(db, organizationId).where('prototype.uuid', '=', uuid).executeTakeFirst()
  return row && toPrototype(row)
}

/** In the order in which they were made. */
export async function listPrototypes(db: Db, organizationId: number, limit: number): Promise<Prototype[]> {
  const rows = await all(db, organizationId).orderBy('prototype.id').limit(limit).execute()
  return rows.map(toPrototype)
}

/** False when there is none. */
export async function updatePrototype(
  tx: Db,
  key: { organizationId: number; uuid: string },
  role: RepositoryRole,
): Promise<boolean> {
  const query = tx.updateTable('prototype').set({ role }).where('uuid', '=', key.uuid)
  return (await query.where('organization_id', '=', key.organizationId).executeTakeFirst()).numUpdatedRows > 0n
}

/** False when there is none. */
export async function deletePrototype(tx: Db, key: { organizationId: number; uuid: string }): Promise<boolean> {
  const query = tx.deleteFrom('prototype').where('uuid', '=', key.uuid)
  return (await query.where('organization_id', '=', key.organizationId).executeTakeFirst()).numDeletedRows > 0n
}

/**
 * Give what the organization's default permissions say to a repository that `creatorId` has created. Not for one that
 * a pull caused (DESIGN part 6).
 */
export async function applyPrototypes(
  tx: Db,
  repository: { id: number; organizationId: number; creatorId: number; nowMs: number },
): Promise<void> {
  const rows = await tx
    .selectFrom('prototype')
    .select(['role', 'delegate_account_id', 'delegate_team_id'])
    .where('organization_id', '=', repository.organizationId)
    .where((eb) =>
      eb.or([eb('activating_account_id', 'is', null), eb('activating_account_id', '=', repository.creatorId)]),
    )
    .orderBy('id')
    .execute()
  for (const row of rows) {
    const grantee = granteeOf(row)
    if (grantee === undefined) continue
    const { id: repositoryId, nowMs } = repository
    await setRepositoryPermission(tx, { repositoryId, grantee, role: row.role, nowMs })
  }
}

function granteeOf(row: { delegate_account_id: number | null; delegate_team_id: number | null }): Grantee | undefined {
  if (row.delegate_account_id !== null) return { kind: 'account', id: row.delegate_account_id }
  return row.delegate_team_id === null ? undefined : { kind: 'team', id: row.delegate_team_id }
}

function all(db: Db, organizationId: number) {
  return db
    .selectFrom('prototype')
    .leftJoin('account as delegate', 'delegate.id', 'prototype.delegate_account_id')
    .leftJoin('team', 'team.id', 'prototype.delegate_team_id')
    .leftJoin('account as activating', 'activating.id', 'prototype.activating_account_id')
    .select([
      'prototype.uuid',
      'prototype.role',
      'prototype.delegate_account_id',
      'delegate.username as delegate_username',
      'delegate.kind as delegate_kind',
      'prototype.delegate_team_id',
      'team.name as team_name',
      'prototype.activating_account_id',
      'activating.username as activating_username',
      'activating.kind as activating_kind',
    ])
    .where('prototype.organization_id', '=', organizationId)
}

type PrototypeRow = Awaited<ReturnType<ReturnType<typeof all>['execute']>>[number]

function toPrototype(row: PrototypeRow): Prototype {
  const { delegate_account_id: accountId, delegate_team_id: teamId, activating_account_id: activatingId } = row
  const delegate =
    accountId === null
      ? ({ kind: 'team', id: teamId ?? 0, name: row.team_name ?? '' } as const)
      : { kind: row.delegate_kind ?? 'user', id: accountId, name: row.delegate_username ?? '' }
  const activating =
    activatingId === null
      ? undefined
      : { kind: row.activating_kind ?? 'user', id: activatingId, name: row.activating_username ?? '' }
  return { uuid: row.uuid, role: row.role, delegate, activating }
}
