/** Who calls the API. */
import type { Account } from '../metadata/accounts.ts'
import { signInRequired } from './admin-error.ts'
import type { Scope } from './scopes.ts'

export type AccountCaller = {
  kind: 'account'
  account: Account
  /** What an access token is limited to; undefined for a password. */
  scopes: ReadonlySet<Scope> | undefined
}

export type Caller = { kind: 'anonymous' } | AccountCaller

export const ANONYMOUS: Caller = { kind: 'anonymous' }

/** Errors: AdminError INVALID_TOKEN when nobody is signed in. */
export function requireAccount(caller: Caller): AccountCaller {
  if (caller.kind === 'anonymous') throw signInRequired()
  return caller
}
