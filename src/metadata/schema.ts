/**
 * The tables, one for one. Both databases have the same: text, whole numbers and bytes.
 * Units: instants (`_at`) are milliseconds since the epoch, sizes (`_bytes`) bytes, durations (`_s`) seconds.
 * Booleans are 0 or 1, since SQLite has none; lists and maps are JSON text.
 */
import type { Generated } from 'kysely'
import type {
  AccessTokenTable,
  AccountTable,
  AppTokenTable,
  OAuthApplicationTable,
  PrototypeTable,
  RepositoryPermissionTable,
  SessionTable,
  TeamMemberTable,
  TeamTable,
} from './schema-people.ts'

export type Database = {
  organization: OrganizationTable
  proxy_cache: ProxyCacheTable
  repository: RepositoryTable
  manifest: ManifestTable
  manifest_child: ManifestChildTable
  manifest_blob: ManifestBlobTable
  tag: TagTable
  blob: BlobTable
  usage: UsageTable
  ledger: LedgerTable
  root: RootTable
  reservation: ReservationTable
  garbage: GarbageTable
  pin: PinTable
  quota: QuotaTable
  quota_limit: QuotaLimitTable
  log_entry: LogEntryTable
  notification: NotificationTable
  store_usage: StoreUsageTable
  ingest: IngestTable
  referrers: ReferrersTable
  job: JobTable
  account: AccountTable
  access_token: AccessTokenTable
  team: TeamTable
  team_member: TeamMemberTable
  session: SessionTable
  app_token: AppTokenTable
  oauth_application: OAuthApplicationTable
  repository_permission: RepositoryPermissionTable
  prototype: PrototypeTable
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
  /** Images that are larger than the quota are passed through uncached instead of refused. */
  passes_too_large: Flag
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
  organization_id: number
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
  organization_id: number
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
  organization_id: number
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
  /** Somebody set `expires_at` by hand: the next pull sets it anew, be it earlier (Quay). */
  is_expiry_set: Flag
  /** It began by restoring a former digest. */
  is_restored: Flag
  /** When its image was evicted or collected: it stays as a record and cannot be restored. Then it has ended too. */
  evicted_at: number | null
}

/** Bytes that are in the store. */
export type BlobTable = {
  digest: string
  size_bytes: number
  stored_at: number
}

/** The charge of an organization: the sum of its ledger, changed in the same transaction. Locked before any change. */
export type UsageTable = {
  organization_id: number
  charge_bytes: number
  /** The highest `Warning` threshold, in percent, that has been notified and not left since; 0 for none. */
  warned_percent: number
  /** When that was told. */
  warned_at: Generated<number>
  /** Since then the charge was below it, though not by much. */
  fell_below: Generated<Flag>
}

/**
 * What an organization is charged for: each digest once, however many repositories and manifests name it.
 * A stored blob is also its right to the bytes: it received them, or its upstream has just confirmed them.
 */
export type LedgerTable = {
  organization_id: number
  kind: 'blob' | 'manifest'
  digest: string
  size_bytes: number
  /** Null while it is only reserved: then an open reservation's manifest names it. Never null for a manifest. */
  stored_at: number | null
}

/**
 * The unit of eviction: a manifest that a tag points or pointed at (`tag` rows that were not evicted), or that was
 * asked for by digest. Derived from `tag`, `manifest` and `pin` in the transaction that changes them.
 */
export type RootTable = {
  manifest_id: number
  organization_id: number
  repository_id: number
  /** The latest of its tags' and its own. */
  last_used_at: number
  /** When the last of its tags expired or ended, or it expired by digest; null is for ever. */
  expires_at: number | null
  is_pinned: Flag
}

/** Blobs of this manifest that are not stored yet hold their place in the ledger. */
export type ReservationTable = {
  manifest_id: number
  organization_id: number
  created_at: number
  /** When a client or a job last received a byte of one of its blobs. */
  touched_at: number
}

/** Bytes in the store that no row points at any more and that are to be removed. */
export type GarbageTable = {
  digest: string
  size_bytes: number
  created_at: number
}

/** What never expires and is never evicted or collected: a tag (whatever it names) or a digest. */
export type PinTable = {
  id: Generated<number>
  organization_id: number
  repository_id: number
  kind: 'tag' | 'digest'
  reference: string
  created_at: number
}

export type QuotaTable = {
  id: Generated<number>
  organization_id: number
  limit_bytes: number
  created_at: number
}

export type QuotaLimitTable = {
  id: Generated<number>
  quota_id: number
  type: 'Warning' | 'Reject'
  /** 1 to 100. */
  percent: number
}

/** Usage logs: what happened in an organization (null: in the installation). */
export type LogEntryTable = {
  id: Generated<number>
  organization_id: number | null
  /** Quay's kinds where it has one. */
  kind: string
  created_at: number
  account_id: number | null
  address: string | null
  /** JSON. */
  metadata: string
}

/** What the administrators of an organization are told. */
export type NotificationTable = {
  id: Generated<number>
  organization_id: number
  kind: string
  created_at: number
  /** JSON. */
  metadata: string
}

/** One row: the bytes of every stored blob, changed with the rows of `blob`. */
export type StoreUsageTable = {
  id: 1
  blob_bytes: number
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
