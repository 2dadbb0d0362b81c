/** Who calls the API. */
import type { Account } from '../metadata/accounts.ts'
import { AdminError, signInRequired } from './admin-error.ts'
import type { Scope } from './scopes.ts'

/** The session of a browser, by the hash of its cookie. */
export type CallerSession = {
  idSha256: string
  /** When the password was last given. */
  signedInAtMs: number
}

export type AccountCaller = {
  kind: 'account'
  account: Account
  /** What an access token is limited to; undefined for a password. */
  scopes: ReadonlySet<Scope> | undefined
  /** Undefined when the request had an `Authorization` header. */
  session?: CallerSession | undefined
}

export type Caller = { kind: 'anonymous' } | AccountCaller

export const ANONYMOUS: Caller = { kind: 'anonymous' }

/** Errors: AdminError INVALID_TOKEN when nobody is signed in. */
export function requireAccount(caller: Caller): AccountCaller {
  if (caller.kind === 'anonymous') throw signInRequired()
  return caller
}

/**
 * The password must have been given a short while ago. Who sends a password or token with each request has just done so
 * (Quay: tokens are exempt). Errors: AdminError FRESH_LOGIN_REQUIRED.
 */
export function requireFreshLogin(caller: Caller, nowMs: number, freshMs: number): void {
  if (caller.kind === 'anonymous' || caller.session === undefined) return
  if (caller.session.signedInAtMs + freshMs > nowMs) return
  throw new AdminError('FRESH_LOGIN_REQUIRED', 'The action requires a fresh login to succeed.')
}
