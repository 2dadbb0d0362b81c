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
