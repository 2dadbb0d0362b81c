/** Teams: which accounts have which role in an organization. */
import type { Selectable } from 'kysely'
import type { Db } from './db.ts'
import { NameTakenError } from './names.ts'
import type { TeamTable } from './schema-people.ts'

export type TeamRole = TeamTable['role']

export type Team = {
  id: number
  organizationId: number
  name: string
  role: TeamRole
  description: string
  createdAtMs: number
}

/** Errors: NameTakenError when the organization has a team of that name. */
export async function createTeam(
  tx: Db,
  fields: { organizationId: number; name: string; role: TeamRole; description?: string | undefined; nowMs: number },
): Promise<Team> {
  const row = await tx
    .insertInto('team')
    .values({
      organization_id: fields.organizationId,
      name: fields.name,
      role: fields.role,
      description: fields.description ?? '',
      created_at: fields.nowMs,
    })
    .onConflict((conflict) => conflict.columns(['organization_id', 'name']).doNothing())
    .returningAll()
    .executeTakeFirst()
  if (row === undefined) throw new NameTakenError(fields.name)
  return toTeam(row)
}

/** Idempotent. */
export async function addTeamMember(tx: Db, teamId: number, accountId: number): Promise<void> {
  await tx
    .insertInto('team_member')
    .values({ team_id: teamId, account_id: accountId })
    .onConflict((conflict) => conflict.columns(['team_id', 'account_id']).doNothing())
    .execute()
}

export async function findTeam(db: Db, organizationId: number, name: string): Promise<Team | undefined> {
  const query = db.selectFrom('team').selectAll().where('organization_id', '=', organizationId)
  const row = await query.where('name', '=', name).executeTakeFirst()
  return row && toTeam(row)
}

/** Only the fields that are there change. */
export async function updateTeam(
  tx: Db,
  id: number,
  changes: { role?: TeamRole; description?: string },
): Promise<void> {
  if (Object.keys(changes).length === 0) return
  await tx.updateTable('team').set(changes).where('id', '=', id).execute()
}

/** With its memberships, permissions and default permissions. */
export async function deleteTeam(tx: Db, id: number): Promise<void> {
  await tx.deleteFrom('team_member').where('team_id', '=', id).execute()
  await tx.deleteFrom('repository_permission').where('team_id', '=', id).execute()
  await tx.deleteFrom('prototype').where('delegate_team_id', '=', id).execute()
  await tx.deleteFrom('team').where('id', '=', id).execute()
}

/** False when it was no member. */
export async function removeTeamMember(tx: Db, teamId: number, accountId: number): Promise<boolean> {
  const query = tx.deleteFrom('team_member').where('team_id', '=', teamId).where('account_id', '=', accountId)
  return (await query.executeTakeFirst()).numDeletedRows > 0n
}

export async function isTeamMember(db: Db, teamId: number, accountId: number): Promise<boolean> {
  const query = db.selectFrom('team_member').select('team_id').where('team_id', '=', teamId)
  return (await query.where('account_id', '=', accountId).executeTakeFirst()) !== undefined
}

export type TeamMember = { accountId: number; username: string; kind: 'user' | 'robot' }

/** In the order of their names. */
export async function listTeamMembers(
  db: Db,
  teamId: number,
  page: { after?: string | undefined; limit: number },
): Promise<TeamMember[]> {
  const all = db
    .selectFrom('team_member')
    .innerJoin('account', 'account.id', 'team_member.account_id')
    .select(['account.id', 'account.username', 'account.kind'])
    .where('team_member.team_id', '=', teamId)
    .orderBy('account.username')
    .limit(page.limit)
  const rows = await (page.after === undefined ? all : all.where('account.username', '>', page.after)).execute()
  return rows.map((row) => ({ accountId: row.id, username: row.username, kind: row.kind }))
}

/** How many members and repository permissions each team of an organization has, by its id. */
export async function countOfTeams(
  db: Db,
  organizationId: number,
): Promise<ReadonlyMap<number, { members: number; repositories: number }>> {
  const rows = await db
    .selectFrom('team')
    .select((eb) => [
      'team.id',
      eb
        .selectFrom('team_member')
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .whereRef('team_member.team_id', '=', 'team.id')
        .as('members'),
      eb
        .selectFrom('repository_permission')
        .select((inner) => inner.fn.countAll<number>().as('count'))
        .whereRef('repository_permission.team_id', '=', 'team.id')
        .as('repositories'),
    ])
    .where('team.organization_id', '=', organizationId)
    .execute()
  return new Map(rows.map((row) => [row.id, { members: row.members ?? 0, repositories: row.repositories ?? 0 }]))
}

/** Whether any user that is not disabled is in a team with the role *admin*. */
export async function hasAdministrator(db: Db, organizationId: number): Promise<boolean> {
  const row = await db
    .selectFrom('team')
    .innerJoin('team_member', 'team_member.team_id', 'team.id')
    .innerJoin('account', 'account.id', 'team_member.account_id')
    .select('account.id')
    .where('team.organization_id', '=', organizationId)
    .where('team.role', '=', 'admin')
    .where('account.kind', '=', 'user')
    .where('account.is_enabled', '=', 1)
    .executeTakeFirst()
  return row !== undefined
}

/** In the order of their names. */
export async function listTeams(db: Db, organizationId: number): Promise<Team[]> {
  const rows = await db
    .selectFrom('team')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .orderBy('name')
    .execute()
  return rows.map(toTeam)
}

/** The roles that an account has in an organization through its teams, each once. */
export async function findRoles(db: Db, key: { organizationId: number; accountId: number }): Promise<TeamRole[]> {
  const rows = await db
    .selectFrom('team')
    .innerJoin('team_member', 'team_member.team_id', 'team.id')
    .select('team.role')
    .distinct()
    .where('team.organization_id', '=', key.organizationId)
    .where('team_member.account_id', '=', key.accountId)
    .orderBy('team.role')
    .execute()
  return rows.map((row) => row.role)
}

/** Every role that an account has in an organization that is not being deleted. */
export async function listMemberships(
  db: Db,
  accountId: number,
): Promise<{ organizationId: number; organizationName: string; role: TeamRole }[]> {
  const rows = await db
    .selectFrom('team_member')
    .innerJoin('team', 'team.id', 'team_member.team_id')
    .innerJoin('organization', 'organization.id', 'team.organization_id')
    .select(['organization.id', 'organization.name', 'team.role'])
    .distinct()
    .where('team_member.account_id', '=', accountId)
    .where('organization.deleted_at', 'is', null)
    .orderBy('organization.name')
    .orderBy('team.role')
    .execute()
  return rows.map((row) => ({ organizationId: row.id, organizationName: row.name, role: row.role }))
}

function toTeam(row: Selectable<TeamTable>): Team {
  return {
    id: row.id,
    organizationId: row.organization_id,
    name: row.name,
    role: row.role,
    description: row.description,
    createdAtMs: row.created_at,
  }
}
