/** Changes of users, and what must be known before one goes. */
import type { Db } from './db.ts'
import { toFlag, toNull } from './values.ts'

/** Only the fields that are there change. */
export async function updateAccount(
  db: Db,
  id: number,
  changes: { email?: string | undefined; passwordHash?: string; isEnabled?: boolean },
): Promise<void> {
  const columns = {
    ...('email' in changes && { email: toNull(changes.email) }),
    ...(changes.passwordHash !== undefined && { password_hash: changes.passwordHash }),
    ...(changes.isEnabled !== undefined && { is_enabled: toFlag(changes.isEnabled) }),
  }
  if (Object.keys(columns).length === 0) return
  await db.updateTable('account').set(columns).where('id', '=', id).where('kind', '=', 'user').execute()
}

/** Whether another enabled user is a superuser: marked, or one of `named`. */
export async function hasOtherSuperuser(db: Db, id: number, named: readonly string[]): Promise<boolean> {
  const row = await db
    .selectFrom('account')
    .select('id')
    .where('kind', '=', 'user')
    .where('is_enabled', '=', 1)
    .where('id', '!=', id)
    .where((eb) => eb.or([eb('is_superuser', '=', 1), ...(named.length > 0 ? [eb('username', 'in', named)] : [])]))
    .executeTakeFirst()
  return row !== undefined
}

/** Names of organizations, at most `limit`, in which no other enabled user is in a team with the role *admin*. */
export async function listOrganizationsOnlyOf(db: Db, id: number, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('team_member')
    .innerJoin('team', 'team.id', 'team_member.team_id')
    .innerJoin('organization', 'organization.id', 'team.organization_id')
    .select('organization.name')
    .distinct()
    .where('team_member.account_id', '=', id)
    .where('team.role', '=', 'admin')
    .where('organization.deleted_at', 'is', null)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('team as other_team')
            .innerJoin('team_member as other', 'other.team_id', 'other_team.id')
            .innerJoin('account', 'account.id', 'other.account_id')
            .select('account.id')
            .whereRef('other_team.organization_id', '=', 'organization.id')
            .where('other_team.role', '=', 'admin')
            .where('account.id', '!=', id)
            .where('account.kind', '=', 'user')
            .where('account.is_enabled', '=', 1),
        ),
      ),
    )
    .orderBy('organization.name')
    .limit(limit)
    .execute()
  return rows.map((row) => row.name)
}
