/** Robots: accounts named `owner+name` of an organization or a user, whose token is a registry password. */
import type { Selectable } from 'kysely'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'
import { NameTakenError } from './names.ts'
import type { AccountTable } from './schema-people.ts'
import { fromNull } from './values.ts'

export type RobotOwner = { kind: 'organization' | 'account'; id: number }

export type Robot = {
  id: number
  /** `owner+name` */
  username: string
  description: string
  /** JSON, as it was given. */
  unstructuredMetadata: string
  tokenEncrypted: string | undefined
  createdAtMs: number
  lastUsedAtMs: number | undefined
}

/**
 * Without a token: the caller seals one under the new id and sets it (`setRobotToken`).
 * Errors: NameTakenError. A robot of an organization that is being deleted does not hold its name.
 */
export async function insertRobot(
  tx: Db,
  fields: {
    owner: RobotOwner
    username: string
    description: string
    unstructuredMetadata: string
    nowMs: number
  },
): Promise<Robot> {
  await freeNamesOfDeleted(tx, fields.username)
  const { owner } = fields
  const row = await tx
    .insertInto('account')
    .values({
      username: fields.username,
      email: null,
      password_hash: null,
      is_superuser: 0,
      is_enabled: 1,
      created_at: fields.nowMs,
      kind: 'robot',
      owner_organization_id: owner.kind === 'organization' ? owner.id : null,
      owner_account_id: owner.kind === 'account' ? owner.id : null,
      description: fields.description,
      unstructured_metadata: fields.unstructuredMetadata,
    })
    .onConflict((conflict) => conflict.column('username').doNothing())
    .returningAll()
    .executeTakeFirst()
  if (row === undefined) throw new NameTakenError(fields.username)
  return toRobot(row)
}

export async function findRobot(db: Db, owner: RobotOwner, username: string): Promise<Robot | undefined> {
  const row = await ofOwner(db, owner).selectAll().where('username', '=', username).executeTakeFirst()
  return row && toRobot(row)
}

/** The account id of the robot that has this token; also of one that is disabled or whose owner is gone. */
export async function findRobotIdByToken(db: Db, tokenSha256: string): Promise<number | undefined> {
  const query = db.selectFrom('account').select('id').where('token_sha256', '=', tokenSha256)
  return (await query.executeTakeFirst())?.id
}

/** Whether the owner of a robot is neither being deleted nor disabled. */
export async function isOwnerLive(
  db: Db,
  robot: { ownerOrganizationId: number | undefined; ownerAccountId: number | undefined },
): Promise<boolean> {
  if (robot.ownerOrganizationId !== undefined) {
    const query = db.selectFrom('organization').select('id').where('id', '=', robot.ownerOrganizationId)
    return (await query.where('deleted_at', 'is', null).executeTakeFirst()) !== undefined
  }
  if (robot.ownerAccountId === undefined) return false
  const query = db.selectFrom('account').select('id').where('id', '=', robot.ownerAccountId)
  return (await query.where('is_enabled', '=', 1).executeTakeFirst()) !== undefined
}

export async function setRobotToken(
  tx: Db,
  id: number,
  token: { tokenSha256: string; tokenEncrypted: string },
): Promise<void> {
  await tx
    .updateTable('account')
    .set({ token_sha256: token.tokenSha256, token_encrypted: token.tokenEncrypted })
    .where('id', '=', id)
    .where('kind', '=', 'robot')
    .execute()
}

/** In the order of their names. */
export async function listRobots(
  db: Db,
  owner: RobotOwner,
  page: { after?: string | undefined; limit: number },
): Promise<Robot[]> {
  const all = ofOwner(db, owner).selectAll().orderBy('username').limit(page.limit)
  const rows = await (page.after === undefined ? all : all.where('username', '>', page.after)).execute()
  return rows.map(toRobot)
}

/** Teams of each of these accounts in one organization, by account id; the oldest team first. */
export async function listTeamNames(
  db: Db,
  organizationId: number,
  accountIds: readonly number[],
): Promise<ReadonlyMap<number, readonly string[]>> {
  const names = new Map<number, string[]>()
  for (const batch of inBatches(accountIds)) {
    const rows = await db
      .selectFrom('team_member')
      .innerJoin('team', 'team.id', 'team_member.team_id')
      .select(['team_member.account_id', 'team.name'])
      .where('team_member.account_id', 'in', batch)
      .where('team.organization_id', '=', organizationId)
      .orderBy('team.id')
      .execute()
    for (const row of rows) names.set(row.account_id, [...(names.get(row.account_id) ?? []), row.name])
  }
  return names
}

/** They were used; a last use never goes back. One transaction of the caller. */
export async function touchRobots(tx: Db, uses: Iterable<readonly [id: number, atMs: number]>): Promise<void> {
  for (const [id, atMs] of uses) {
    await tx
      .updateTable('account')
      .set({ last_used_at: atMs })
      .where('id', '=', id)
      .where((eb) => eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', atMs)]))
      .execute()
  }
}

/** Their names begin with the organization's new one. In the transaction that renames it. */
export async function renameRobots(
  tx: Db,
  organizationId: number,
  names: { before: string; after: string },
): Promise<void> {
  const robots = await tx
    .selectFrom('account')
    .select(['id', 'username'])
    .where('owner_organization_id', '=', organizationId)
    .execute()
  for (const { id, username } of robots) {
    const renamed = names.after + username.slice(names.before.length)
    await freeNamesOfDeleted(tx, renamed)
    await tx.updateTable('account').set({ username: renamed }).where('id', '=', id).execute()
  }
}

/** A robot waits for its organization's job to be deleted: until then it is called what nobody else can be. */
async function freeNamesOfDeleted(tx: Db, username: string): Promise<void> {
  const row = await tx
    .selectFrom('account')
    .innerJoin('organization', 'organization.id', 'account.owner_organization_id')
    .select('account.id')
    .where('account.username', '=', username)
    .where('organization.deleted_at', 'is not', null)
    .executeTakeFirst()
  if (row === undefined) return
  const changes = { username: `deleted:${row.id}`, is_enabled: 0, token_sha256: null } as const
  await tx.updateTable('account').set(changes).where('id', '=', row.id).execute()
}

function ofOwner(db: Db, owner: RobotOwner) {
  const column = owner.kind === 'organization' ? 'owner_organization_id' : 'owner_account_id'
  return db.selectFrom('account').where(column, '=', owner.id)
}

function toRobot(row: Selectable<AccountTable>): Robot {
  return {
    id: row.id,
    username: row.username,
    description: row.description,
    unstructuredMetadata: row.unstructured_metadata ?? '{}',
    tokenEncrypted: fromNull(row.token_encrypted),
    createdAtMs: row.created_at,
    lastUsedAtMs: fromNull(row.last_used_at),
  }
}
