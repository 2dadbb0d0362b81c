/** The tables of who may do what. See `schema.ts` for units. */
import type { Generated } from 'kysely'

type Flag = 0 | 1

export type AccountTable = {
  id: Generated<number>
  username: string
  email: string | null
  /** Argon2id in PHC form; null for an account that cannot sign in with a password. */
  password_hash: string | null
  is_superuser: Flag
  is_enabled: Flag
  created_at: number
  /** A robot's name is `owner+name`; it has an owner and a token, and no password. */
  kind: Generated<'user' | 'robot'>
  /** Of a robot: the organization or the user it belongs to. */
  owner_organization_id: Generated<number | null>
  owner_account_id: Generated<number | null>
  description: Generated<string>
  last_used_at: Generated<number | null>
  /** Of a robot: its token, found by its hex SHA-256. */
  token_sha256: Generated<string | null>
  token_encrypted: Generated<string | null>
  /** Of a robot: JSON, as it was given (Quay). */
  unstructured_metadata: Generated<string | null>
}

/** A browser that is signed in; found by the hex SHA-256 of its cookie. */
export type SessionTable = {
  id_sha256: string
  account_id: number
  created_at: number
  last_seen_at: number
  /** When the password was last given: a *fresh login* is not long ago. */
  signed_in_at: number
}

/** Application tokens: registry passwords of a user, with the user name `$app`. */
export type AppTokenTable = {
  id: Generated<number>
  uuid: string
  account_id: number
  title: string
  token_sha256: string
  token_encrypted: string
  created_at: number
  expires_at: number | null
  last_used_at: number | null
}

export type OAuthApplicationTable = {
  id: Generated<number>
  organization_id: number
  client_id: string
  client_secret_encrypted: string
  name: string
  created_at: number
  redirect_uri: string
  application_uri: string
  avatar_email: string | null
  description: string
}

/** What a user, a robot (`account_id`) or a team may do in one repository; one of both is set. */
export type RepositoryPermissionTable = {
  id: Generated<number>
  repository_id: number
  account_id: number | null
  team_id: number | null
  role: 'read' | 'write' | 'admin'
  created_at: number
}

/** Quay's default permissions: what a new repository of the organization gives to whom. */
export type PrototypeTable = {
  id: Generated<number>
  uuid: string
  organization_id: number
  role: 'read' | 'write' | 'admin'
  delegate_account_id: number | null
  delegate_team_id: number | null
  /** Only for repositories that this account creates; null for all. */
  activating_account_id: number | null
}

export type AccessTokenTable = {
  id: Generated<number>
  account_id: number
  title: string
  /** Hex SHA-256 of the token, by which it is found. */
  token_sha256: string
  token_encrypted: string
  /** Quay's scopes, separated by blanks. */
  scope: string
  created_at: number
  expires_at: number | null
  last_used_at: number | null
  /** The OAuth application of an organization that it was generated for. */
  application_id: Generated<number | null>
}

export type TeamTable = {
  id: Generated<number>
  organization_id: number
  name: string
  role: 'admin' | 'creator' | 'member'
  description: string
  created_at: number
}

export type TeamMemberTable = {
  team_id: number
  account_id: number
}
