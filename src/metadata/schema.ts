/**
 * The tables, one for one. Both databases have the same: text, whole numbers and bytes.
 * Units: instants (`_at`) are milliseconds since the epoch, sizes (`_bytes`) bytes, durations (`_s`) seconds.
 * Booleans are 0 or 1, since SQLite has none; lists and maps are JSON text.
 */
import type { Generated } from 'kysely'

export type Database = {
  organization: OrganizationTable
  proxy_cache: ProxyCacheTable
  repository: RepositoryTable
  manifest: ManifestTable
  manifest_child: ManifestChildTable
  manifest_blob: ManifestBlobTable
  tag: TagTable
  blob: BlobTable
  organization_blob: OrganizationBlobTable
  ingest: IngestTable
  referrers: ReferrersTable
  job: JobTable
  account: AccountTable
  access_token: AccessTokenTable
  team: TeamTable
  team_member: TeamMemberTable
  lease: LeaseTable
  instance: InstanceTable
}

type Flag = 0 | 1

export type OrganizationTable = {
  id: Generated<number>
  name: string
  email: string | null
  created_at: number
  /** Set when it is being deleted; its name is free again (the row is renamed). */
  deleted_at: number | null
  /** Changes when the upstream's host or namespace does: repositories of another generation are invisible. */
  generation: number
  /** The Time Machine's window. */
  tag_expiration_s: number
  revalidate_after_s: number
  /** Null: bounded by the Time Machine alone. */
  max_stale_s: number | null
  refuse_when_denied: Flag
  anonymous_pulls: Flag
  frozen: Flag
  /** JSON arrays of globs over repository names without the organization. Empty `allowed`: everything. */
  allowed_repositories: string
  denied_repositories: string
  /** The host whose `?ns=` this organization answers; unique where set. */
  mirror_host: string | null
  ca_pem: string | null
}

export type ProxyCacheTable = {
  organization_id: number
  /** As it was given: `host[:port][/namespace]`. */
  upstream_registry: string
  username_encrypted: string | null
  password_encrypted: string | null
  expiration_s: number
  insecure: Flag
  created_at: number
}

export type RepositoryTable = {
  id: Generated<number>
  organization_id: number
  generation: number
  /** Without the organization, in the one spelling that is stored (`library/…` on Docker Hub). */
  name: string
  is_public: Flag
  created_at: number
  /** Since when the upstream refuses this repository to the organization's credentials; null when it does not. */
  denied_at: number | null
}

export type ManifestTable = {
  id: Generated<number>
  repository_id: number
  digest: string
  media_type: string
  bytes: Buffer
  size_bytes: number
  artifact_type: string | null
  subject_digest: string | null
  /** 1, or one more than the deepest index that was known to hold it. */
  depth: number
  created_at: number
  last_used_at: number
  /** Asked for by digest when no index or tag of the repository held it: it lives and expires like a tag. */
  is_by_digest: Flag
  /** For a by-digest image; null is for ever. */
  expires_at: number | null
}

export type ManifestChildTable = {
  manifest_id: number
  position: number
  digest: string
  media_type: string
  size_bytes: number
  /** JSON of the platform, or null. */
  platform: string | null
}

export type ManifestBlobTable = {
  manifest_id: number
  repository_id: number
  position: number
  digest: string
  media_type: string
  size_bytes: number
  kind: 'config' | 'layer'
  /** It carries `urls` (foreign layers): never completed in the background. */
  has_urls: Flag
}

/** One row for each span of time in which a tag named one digest; the current one has no `ended_at`. */
export type TagTable = {
  id: Generated<number>
  repository_id: number
  name: string
  digest: string
  started_at: number
  /** When it moved, was deleted, or (restored) began anew. Null: current, alive or expired by `expires_at`. */
  ended_at: number | null
  confirmed_at: number
  last_used_at: number
  /** Null is for ever. */
  expires_at: number | null
}

/** Bytes that are in the store. */
export type BlobTable = {
  digest: string
  size_bytes: number
  stored_at: number
}

/** An organization's right to stored bytes: it received them itself, or its upstream has just confirmed them. */
export type OrganizationBlobTable = {
  organization_id: number
  digest: string
  size_bytes: number
  stored_at: number
}

/** A blob that is wanted: being received, or to be completed in the background, also after a restart. */
export type IngestTable = {
  organization_id: number
  digest: string
  repository_id: number
  size_bytes: number
  created_at: number
  attempts: number
  next_attempt_at: number
  give_up_at: number
}

/** The last list of referrers that the upstream gave, as JSON, so that signatures do not vanish when it is down. */
export type ReferrersTable = {
  repository_id: number
  subject_digest: string
  referrers: string
  fetched_at: number
}

export type JobTable = {
  id: Generated<number>
  kind: string
  /** JSON. */
  payload: string
  created_at: number
  run_at: number
  attempts: number
  last_error: string | null
}

export type AccountTable = {
  id: Generated<number>
  username: string
  email: string | null
  /** Argon2id in PHC form; null for an account that cannot sign in with a password. */
  password_hash: string | null
  is_superuser: Flag
  is_enabled: Flag
  created_at: number
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

export type LeaseTable = {
  name: string
  /** A random id of the process's life, also in its drafts' names. */
  lease_id: string
  /** Host, process id and start, for people. */
  holder: string
  acquired_at: number
  heartbeat_at: number
}

/** Facts about this installation: key fingerprint, signing key (encrypted). */
export type InstanceTable = {
  key: string
  value: string
}
