/** A user goes: what must not be left behind, and what goes along. */
import { hasOtherSuperuser, listOrganizationsOnlyOf } from '../metadata/account-changes.ts'
import { type Account, deleteAccount } from '../metadata/accounts.ts'
import { holdNames } from '../metadata/names.ts'
import type { Db } from '../metadata/open.ts'
import { AdminError } from './admin-error.ts'
import type { Rights } from './rights.ts'
import type { AdminSettings } from './settings.ts'

/** Names in a message; more are not told. */
const organizationsNamedMax = 10

/**
 * Delete a user with its robots, tokens, sessions and memberships.
 * Errors: AdminError CONFLICT for the last superuser, and for the only administrator of organizations, which it names.
 */
export async function removeAccount(tx: Db, account: Account, rights: Rights, settings: AdminSettings): Promise<void> {
  // Of two that go at once, each would be the other's reason that somebody is left.
  await holdNames(tx)
  await refuseLastSuperuser(tx, account, rights, settings)
  const names = await listOrganizationsOnlyOf(tx, account.id, organizationsNamedMax)
  if (names.length > 0) {
    throw new AdminError(
      'CONFLICT',
      `${account.username} is the only administrator of ${names.join(', ')}: make somebody else one, or delete them`,
    )
  }
  await deleteAccount(tx, account.id)
}

/** In a transaction that holds the names. Errors: AdminError CONFLICT. */
export async function refuseLastSuperuser(
  tx: Db,
  account: Account,
  rights: Rights,
  settings: AdminSettings,
): Promise<void> {
  if (!rights.isSuperuser(account) || (await hasOtherSuperuser(tx, account.id, settings.superUsers))) return
  throw new AdminError('CONFLICT', `${account.username} is the only superuser: nobody could make another one`)
}
