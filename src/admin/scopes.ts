/** The scopes of access tokens, Quay's (its auth/scopes.py), and what each lets its bearer do. */

export const SCOPES = [
  'org:admin',
  'repo:admin',
  'repo:create',
  'repo:read',
  'repo:write',
  'super:user',
  'user:admin',
  'user:read',
] as const

export type Scope = (typeof SCOPES)[number]

/** What a token may be needed for. Each is given by any of its scopes. */
export const GIVEN_BY = {
  administerOrganizations: ['org:admin'],
  administerRepositories: ['repo:admin'],
  administerUser: ['user:admin'],
  beMember: ['org:admin', 'repo:create'],
  createOrganizations: ['org:admin', 'user:admin'],
  pull: ['repo:read', 'repo:write', 'repo:admin', 'repo:create'],
  readUser: ['user:read', 'user:admin'],
  superuser: ['super:user'],
  writeRepositories: ['repo:write', 'repo:admin'],
} as const satisfies Record<string, readonly Scope[]>

export type Power = keyof typeof GIVEN_BY

/** Undefined scopes are not limited (a password). */
export function scopesGive(scopes: ReadonlySet<Scope> | undefined, power: Power): boolean {
  return scopes === undefined || GIVEN_BY[power].some((scope) => scopes.has(scope))
}

/** Stored text to scopes; words that are none of them give nothing. */
export function parseScopes(text: string): ReadonlySet<Scope> {
  const words = new Set(text.split(/[ ,]+/))
  return new Set(SCOPES.filter((scope) => words.has(scope)))
}

export function formatScopes(scopes: Iterable<Scope>): string {
  return [...scopes].sort().join(' ')
}
