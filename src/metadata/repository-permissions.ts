/** Permissions of single repositories: what an account (a user or a robot) or a team may do there. */
import type { Db } from './db.ts'
import type { RepositoryPermissionTable } from './schema-people.ts'

export type RepositoryRole = RepositoryPermissionTable['role']

/** Whose: an account's or a team's. */
export type Grantee = { kind: 'account' | 'team'; id: number }

export async function setRepositoryPermission(
  tx: Db,
  fields: { repositoryId: number; grantee: Grantee; role: RepositoryRole; nowMs: number },
): Promise<void> {
  const { repositoryId, grantee, role } = fields
  const column = columnOf(grantee)
  await tx
    .insertInto('repository_permission')
    .values({
      repository_id: repositoryId,
      account_id: grantee.kind === 'account' ? grantee.id : null,
      team_id: grantee.kind === 'team' ? grantee.id : null,
      role,
      created_at: fields.nowMs,
    })
    .onConflict((conflict) =>
      conflict.columns(['repository_id', column]).where(column, 'is not', null).doUpdateSet({ role }),
    )
    .execute()
}

/** False when there was none. */
export async function deleteRepositoryPermission(tx: Db, repositoryId: number, grantee: Grantee): Promise<boolean> {
  const query = tx.deleteFrom('repository_permission').where('repository_id', '=', repositoryId)
  return (await query.where(columnOf(grantee), '=', grantee.id).executeTakeFirst()).numDeletedRows > 0n
}

export async function findRepositoryPermission(
  db: Db,
  repositoryId: number,
  grantee: Grantee,
): Promise<RepositoryRole | undefined> {
  const query = db.selectFrom('repository_permission').select('role').where('repository_id', '=', repositoryId)
  return (await query.where(columnOf(grantee), '=', grantee.id).executeTakeFirst())?.role
}

/** Every role that an account has in a repository by itself and by its teams, the highest first, each once. */
export async function findRepositoryRoles(db: Db, repositoryId: number, accountId: number): Promise<RepositoryRole[]> {
  const own = db
    .selectFrom('repository_permission')
    .select('role')
    .where('repository_id', '=', repositoryId)
    .where('account_id', '=', accountId)
  const byTeam = db
    .selectFrom('repository_permission')
    .innerJoin('team_member', 'team_member.team_id', 'repository_permission.team_id')
    .select('repository_permission.role')
    .where('repository_permission.repository_id', '=', repositoryId)
    .where('team_member.account_id', '=', accountId)
  const roles = (await own.union(byTeam).execute()).map((row) => row.role)
  return ROLES.filter((role) => roles.includes(role))
}

const ROLES: readonly RepositoryRole[] = ['admin', 'write', 'read']

export type AccountPermission = { accountId: number; username: string; kind: 'user' | 'robot'; role: RepositoryRole }

/** Of users and robots in one repository, in the order of their names. */
export async function listAccountPermissions(
  db: Db,
  repositoryId: number,
  page: { after?: string | undefined; limit: number },
): Promise<AccountPermission[]> {
  const all = db
    .selectFrom('repository_permission')
    .innerJoin('account', 'account.id', 'repository_permission.account_id')
    .select(['account.id', 'account.username', 'account.kind', 'repository_permission.role'])
    .where('repository_permission.repository_id', '=', repositoryId)
    .orderBy('account.username')
    .limit(page.limit)
  const rows = await (page.after === undefined ? all : all.where('account.username', '>', page.after)).execute()
  return rows.map((row) => ({ accountId: row.id, username: row.username, kind: row.kind, role: row.role }))
}

/** Of teams in one repository, in the order of their names. */
export async function listTeamPermissions(
  db: Db,
  repositoryId: number,
  page: { after?: string | undefined; limit: number },
): Promise<{ name: string; role: RepositoryRole }[]> {
  const all = db
    .selectFrom('repository_permission')
    .innerJoin('team', 'team.id', 'repository_permission.team_id')
    .select(['team.name', 'repository_permission.role'])
    .where('repository_permission.repository_id', '=', repositoryId)
    .orderBy('team.name')
    .limit(page.limit)
  return (page.after === undefined ? all : all.where('team.name', '>', page.after)).execute()
}

export type GrantedRepository = {
  permissionId: number
  organizationName: string
  /** Without the organization. */
  name: string
  isPublic: boolean
  role: RepositoryRole
}

/** What an account or a team may do in which repositories that are visible, in the order in which it was given. */
export async function listGrantedRepositories(
  db: Db,
  grantee: Grantee,
  page: { afterId?: number | undefined; limit: number },
): Promise<GrantedRepository[]> {
  const all = visiblePermissions(db)
    .select([
      'repository_permission.id',
      'organization.name as organization_name',
      'repository.name',
      'repository.is_public',
      'repository_permission.role',
    ])
    .where(`repository_permission.${columnOf(grantee)}`, '=', grantee.id)
    .orderBy('repository_permission.id')
    .limit(page.limit)
  const rows = await (page.afterId === undefined
    ? all
    : all.where('repository_permission.id', '>', page.afterId)
  ).execute()
  return rows.map((row) => ({
    permissionId: row.id,
    organizationName: row.organization_name,
    name: row.name,
    isPublic: row.is_public === 1,
    role: row.role,
  }))
}

/** Names of the repositories of an organization where these accounts have permissions of their own, by account id. */
export async function listRepositoryNames(
  db: Db,
  organizationId: number | undefined,
  accountIds: readonly number[],
  namesMax: number,
): Promise<ReadonlyMap<number, readonly string[]>> {
  const names = new Map<number, string[]>()
  if (accountIds.length === 0) return names
  const all = visiblePermissions(db)
    .select(['repository_permission.account_id', 'repository.name'])
    .where('repository_permission.account_id', 'in', accountIds)
    .orderBy('repository_permission.account_id')
    .orderBy('repository.name')
    .limit(namesMax)
  const rows = await (organizationId === undefined
    ? all
    : all.where('repository.organization_id', '=', organizationId)
  ).execute()
  for (const { account_id: id, name } of rows) if (id !== null) names.set(id, [...(names.get(id) ?? []), name])
  return names
}

/** Permissions in repositories of organizations that are not being deleted, and of their current generation. */
function visiblePermissions(db: Db) {
  return db
    .selectFrom('repository_permission')
    .innerJoin('repository', 'repository.id', 'repository_permission.repository_id')
    .innerJoin('organization', (join) =>
      join
        .onRef('organization.id', '=', 'repository.organization_id')
        .onRef('organization.generation', '=', 'repository.generation'),
    )
    .where('organization.deleted_at', 'is', null)
}

function columnOf(grantee: Grantee): 'account_id' | 'team_id' {
  return grantee.kind === 'account' ? 'account_id' : 'team_id'
}
