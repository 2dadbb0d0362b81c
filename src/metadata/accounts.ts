/** Accounts: people, who can sign in, and robots, whose tokens are registry passwords (`robots.ts`). */
import type { Selectable } from 'kysely'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'
import { claimName, holdNames } from './names.ts'
import type { AccountTable } from './schema-people.ts'
import { transact } from './transaction.ts'
import { fromFlag, fromNull, toFlag, toNull } from './values.ts'

export type Account = {
  id: number
  username: string
  email: string | undefined
  /** Undefined for an account that cannot sign in with a password. */
  passwordHash: string | undefined
  isSuperuser: boolean
  isEnabled: boolean
  createdAtMs: number
  kind: 'user' | 'robot'
  /** Of a robot: whose it is; one of both. */
  ownerOrganizationId: number | undefined
  ownerAccountId: number | undefined
  /** Of a robot: hex SHA-256 of its token. */
  tokenSha256: string | undefined
}

export type NewAccount = {
  username: string
  email?: string | undefined
  passwordHash: string | undefined
  isSuperuser: boolean
  nowMs: number
}

/** There is an account already, so nobody can be the first. */
export class AlreadyInitializedError extends Error {
  override readonly name = 'AlreadyInitializedError'

  constructor() {
    super('an account exists already')
  }
}

/** A user. Errors: NameTakenError when an organization or an account has the name. */
export async function createAccount(db: Db, account: NewAccount): Promise<Account> {
  return transact(db, async (tx) => {
    await claimName(tx, account.username)
    return insertAccount(tx, account)
  })
}

/** Of several at once, one succeeds. Errors: AlreadyInitializedError when there is any user; NameTakenError. */
export async function createFirstAccount(db: Db, account: NewAccount): Promise<Account> {
  return transact(db, async (tx) => {
    await holdNames(tx) // Before the count, so that two cannot both count none.
    if ((await countAccounts(tx)) > 0) throw new AlreadyInitializedError()
    await claimName(tx, account.username)
    return insertAccount(tx, account)
  })
}

export async function findAccount(db: Db, username: string): Promise<Account | undefined> {
  const row = await db.selectFrom('account').selectAll().where('username', '=', username).executeTakeFirst()
  return row && toAccount(row)
}

export async function findAccountById(db: Db, id: number): Promise<Account | undefined> {
  const row = await db.selectFrom('account').selectAll().where('id', '=', id).executeTakeFirst()
  return row && toAccount(row)
}

/** Users only. */
export async function countAccounts(db: Db): Promise<number> {
  const row = await db
    .selectFrom('account')
    .where('kind', '=', 'user')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return row.count
}

/** Users, without robots, in the order of their names. */
export async function listAccounts(db: Db, page: { after?: string | undefined; limit: number }): Promise<Account[]> {
  const all = db.selectFrom('account').selectAll().where('kind', '=', 'user').orderBy('username').limit(page.limit)
  const rows = await (page.after === undefined ? all : all.where('username', '>', page.after)).execute()
  return rows.map(toAccount)
}

async function insertAccount(tx: Db, account: NewAccount): Promise<Account> {
  const row = await tx
    .insertInto('account')
    .values({
      username: account.username,
      email: toNull(account.email),
      password_hash: toNull(account.passwordHash),
      is_superuser: toFlag(account.isSuperuser),
      is_enabled: 1,
      created_at: account.nowMs,
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toAccount(row)
}

/**
 * Delete a user or a robot at once with all that belongs to it: a user's robots, sessions and tokens, memberships,
 * permissions and default permissions. Whether an organization would be left without administrators the caller asks
 * before (`hasAdministrator`). False when there is none.
 */
export async function deleteAccount(tx: Db, id: number): Promise<boolean> {
  const robots = await tx.selectFrom('account').select('id').where('owner_account_id', '=', id).execute()
  for (const batch of inBatches([...robots.map((robot) => robot.id), id])) {
    await tx.deleteFrom('session').where('account_id', 'in', batch).execute()
    await tx.deleteFrom('app_token').where('account_id', 'in', batch).execute()
    await tx.deleteFrom('access_token').where('account_id', 'in', batch).execute()
    await tx.deleteFrom('team_member').where('account_id', 'in', batch).execute()
    await tx.deleteFrom('repository_permission').where('account_id', 'in', batch).execute()
    await tx.deleteFrom('prototype').where('delegate_account_id', 'in', batch).execute()
    await tx.deleteFrom('prototype').where('activating_account_id', 'in', batch).execute()
  }
  await tx.deleteFrom('account').where('owner_account_id', '=', id).execute()
  const deleted = await tx.deleteFrom('account').where('id', '=', id).returning('id').executeTakeFirst()
  return deleted !== undefined
}

export function toAccount(row: Selectable<AccountTable>): Account {
  return {
    id: row.id,
    username: row.username,
    email: fromNull(row.email),
    passwordHash: fromNull(row.password_hash),
    isSuperuser: fromFlag(row.is_superuser),
    isEnabled: fromFlag(row.is_enabled),
    createdAtMs: row.created_at,
    kind: row.kind,
    ownerOrganizationId: fromNull(row.owner_organization_id),
    ownerAccountId: fromNull(row.owner_account_id),
    tokenSha256: fromNull(row.token_sha256),
  }
}
