/** People of an organization: its members, who are in teams, and its collaborators, who are in none. */
import type { Db } from './db.ts'

export type Member = { accountId: number; username: string }
type Page = { after?: string | undefined; limit: number }

/** Users in any team of the organization, without robots, in the order of their names. */
export async function listMembers(db: Db, organizationId: number, page: Page): Promise<Member[]> {
  const all = db
    .selectFrom('account')
    .select(['account.id', 'account.username'])
    .where('account.kind', '=', 'user')
    .where('account.id', 'in', memberIds(db, organizationId))
    .orderBy('account.username')
    .limit(page.limit)
  const rows = await (page.after === undefined ? all : all.where('account.username', '>', page.after)).execute()
  return rows.map((row) => ({ accountId: row.id, username: row.username }))
}

/** Users in no team of it who have permissions in its repositories, in the order of their names. */
export async function listCollaborators(db: Db, organizationId: number, page: Page): Promise<Member[]> {
  const granted = db
    .selectFrom('repository')
    .innerJoin('organization', (join) =>
      join
        .onRef('organization.id', '=', 'repository.organization_id')
        .onRef('organization.generation', '=', 'repository.generation'),
    )
    .innerJoin('repository_permission', 'repository_permission.repository_id', 'repository.id')
    .select('repository_permission.account_id')
    .where('repository.organization_id', '=', organizationId)
    .where('repository_permission.account_id', 'is not', null)
  const all = db
    .selectFrom('account')
    .select(['account.id', 'account.username'])
    .where('account.kind', '=', 'user')
    .where('account.id', 'in', granted)
    .where('account.id', 'not in', memberIds(db, organizationId))
    .orderBy('account.username')
    .limit(page.limit)
  const rows = await (page.after === undefined ? all : all.where('account.username', '>', page.after)).execute()
  return rows.map((row) => ({ accountId: row.id, username: row.username }))
}

/**
 * Take an account out of every team of an organization, and its permissions in the organization's repositories.
 * Resolves to the names of the teams it was in.
 */
export async function removeMember(tx: Db, organizationId: number, accountId: number): Promise<readonly string[]> {
  const teams = await tx
    .selectFrom('team')
    .innerJoin('team_member', 'team_member.team_id', 'team.id')
    .select(['team.id', 'team.name'])
    .where('team.organization_id', '=', organizationId)
    .where('team_member.account_id', '=', accountId)
    .orderBy('team.id')
    .execute()
  for (const { id } of teams) {
    await tx.deleteFrom('team_member').where('team_id', '=', id).where('account_id', '=', accountId).execute()
  }
  const repositories = tx.selectFrom('repository').select('id').where('organization_id', '=', organizationId)
  await tx
    .deleteFrom('repository_permission')
    .where('account_id', '=', accountId)
    .where('repository_id', 'in', repositories)
    .execute()
  return teams.map((team) => team.name)
}

function memberIds(db: Db, organizationId: number) {
  return db
    .selectFrom('team')
    .innerJoin('team_member', 'team_member.team_id', 'team.id')
    .select('team_member.account_id')
    .where('team.organization_id', '=', organizationId)
}
