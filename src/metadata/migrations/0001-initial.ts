/** The first schema. Migrations only go forward, and one that was released never changes. */
import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import type { Capabilities } from './capabilities.ts'
import { createIndexes, createTables, type Index, type Table } from './tables.ts'

/** Parents before children. Long columns are last: SQLite reads a row from its beginning. */
const TABLES: Readonly<Record<string, Table>> = {
  organization: {
    columns: {
      id: 'identity',
      name: 'text',
      email: 'text?',
      created_at: 'integer',
      deleted_at: 'integer?',
      generation: { integer: 1 },
      tag_expiration_s: 'integer',
      revalidate_after_s: { integer: 0 },
      max_stale_s: 'integer?',
      refuse_when_denied: 'flag',
      anonymous_pulls: 'flag',
      frozen: 'flag',
      mirror_host: 'text?',
      allowed_repositories: 'text',
      denied_repositories: 'text',
      ca_pem: 'text?',
    },
  },
  proxy_cache: {
    columns: {
      organization_id: 'integer',
      upstream_registry: 'text',
      username_encrypted: 'text?',
      password_encrypted: 'text?',
      expiration_s: 'integer',
      insecure: 'flag',
      created_at: 'integer',
    },
    primaryKey: ['organization_id'],
    references: { organization_id: 'organization.id' },
  },
  repository: {
    columns: {
      id: 'identity',
      organization_id: 'integer',
      generation: 'integer',
      name: 'text',
      is_public: 'flag',
      created_at: 'integer',
      denied_at: 'integer?',
    },
    references: { organization_id: 'organization.id' },
  },
  manifest: {
    columns: {
      id: 'identity',
      repository_id: 'integer',
      digest: 'text',
      media_type: 'text',
      size_bytes: 'integer',
      artifact_type: 'text?',
      subject_digest: 'text?',
      depth: 'integer',
      created_at: 'integer',
      last_used_at: 'integer',
      is_by_digest: 'flag',
      expires_at: 'integer?',
      bytes: 'bytes',
    },
    references: { repository_id: 'repository.id' },
  },
  manifest_child: {
    columns: {
      manifest_id: 'integer',
      position: 'integer',
      digest: 'text',
      media_type: 'text',
      size_bytes: 'integer',
      platform: 'text?',
    },
    primaryKey: ['manifest_id', 'position'],
    references: { manifest_id: 'manifest.id' },
    isByKey: true,
  },
  manifest_blob: {
    columns: {
      manifest_id: 'integer',
      repository_id: 'integer',
      position: 'integer',
      digest: 'text',
      media_type: 'text',
      size_bytes: 'integer',
      kind: 'text',
      has_urls: 'flag',
    },
    primaryKey: ['manifest_id', 'position'],
    references: { manifest_id: 'manifest.id', repository_id: 'repository.id' },
    isByKey: true,
  },
  tag: {
    columns: {
      id: 'identity',
      repository_id: 'integer',
      name: 'text',
      digest: 'text',
      started_at: 'integer',
      ended_at: 'integer?',
      confirmed_at: 'integer',
      last_used_at: 'integer',
      expires_at: 'integer?',
    },
    references: { repository_id: 'repository.id' },
  },
  blob: {
    columns: { digest: 'text', size_bytes: 'integer', stored_at: 'integer' },
    primaryKey: ['digest'],
    isByKey: true,
  },
  organization_blob: {
    columns: { organization_id: 'integer', digest: 'text', size_bytes: 'integer', stored_at: 'integer' },
    primaryKey: ['organization_id', 'digest'],
    references: { organization_id: 'organization.id', digest: 'blob.digest' },
    isByKey: true,
  },
  ingest: {
    columns: {
      organization_id: 'integer',
      digest: 'text',
      repository_id: 'integer',
      size_bytes: 'integer',
      created_at: 'integer',
      attempts: { integer: 0 },
      next_attempt_at: 'integer',
      give_up_at: 'integer',
    },
    primaryKey: ['organization_id', 'digest'],
    references: { organization_id: 'organization.id', repository_id: 'repository.id' },
    isByKey: true,
  },
  referrers: {
    columns: { repository_id: 'integer', subject_digest: 'text', fetched_at: 'integer', referrers: 'text' },
    primaryKey: ['repository_id', 'subject_digest'],
    references: { repository_id: 'repository.id' },
  },
  job: {
    columns: {
      id: 'identity',
      kind: 'text',
      created_at: 'integer',
      run_at: 'integer',
      attempts: { integer: 0 },
      last_error: 'text?',
      payload: 'text',
    },
  },
  account: {
    columns: {
      id: 'identity',
      username: 'text',
      email: 'text?',
      password_hash: 'text?',
      is_superuser: 'flag',
      is_enabled: 'flag',
      created_at: 'integer',
    },
  },
  access_token: {
    columns: {
      id: 'identity',
      account_id: 'integer',
      title: 'text',
      token_sha256: 'text',
      token_encrypted: 'text',
      scope: 'text',
      created_at: 'integer',
      expires_at: 'integer?',
      last_used_at: 'integer?',
    },
    references: { account_id: 'account.id' },
  },
  team: {
    columns: {
      id: 'identity',
      organization_id: 'integer',
      name: 'text',
      role: 'text',
      created_at: 'integer',
      description: 'text',
    },
    references: { organization_id: 'organization.id' },
  },
  team_member: {
    columns: { team_id: 'integer', account_id: 'integer' },
    primaryKey: ['team_id', 'account_id'],
    references: { team_id: 'team.id', account_id: 'account.id' },
    isByKey: true,
  },
  lease: {
    columns: { name: 'text', lease_id: 'text', holder: 'text', acquired_at: 'integer', heartbeat_at: 'integer' },
    primaryKey: ['name'],
  },
  instance: { columns: { key: 'text', value: 'text' }, primaryKey: ['key'] },
}

/** Each foreign key has an index that begins with it, so that deleting its target does not scan. */
const INDEXES: Readonly<Record<string, Index>> = {
  organization_name: { table: 'organization', columns: ['name'], isUnique: true },
  organization_mirror_host: {
    table: 'organization',
    columns: ['mirror_host'],
    isUnique: true,
    where: sql<boolean>`mirror_host is not null`,
  },
  repository_name: { table: 'repository', columns: ['organization_id', 'generation', 'name'], isUnique: true },
  manifest_digest: { table: 'manifest', columns: ['repository_id', 'digest'], isUnique: true },
  manifest_subject: {
    table: 'manifest',
    columns: ['repository_id', 'subject_digest'],
    where: sql<boolean>`subject_digest is not null`,
  },
  manifest_child_digest: { table: 'manifest_child', columns: ['digest'] },
  manifest_blob_digest: { table: 'manifest_blob', columns: ['repository_id', 'digest'] },
  tag_name: {
    table: 'tag',
    columns: ['repository_id', 'name'],
    isUnique: true,
    where: sql<boolean>`ended_at is null`,
  },
  tag_history: {
    table: 'tag',
    columns: ['repository_id', 'name', 'ended_at'],
    where: sql<boolean>`ended_at is not null`,
  },
  tag_digest: { table: 'tag', columns: ['repository_id', 'digest'] },
  organization_blob_digest: { table: 'organization_blob', columns: ['digest'] },
  ingest_next_attempt: { table: 'ingest', columns: ['next_attempt_at'] },
  ingest_give_up: { table: 'ingest', columns: ['give_up_at'] },
  ingest_repository: { table: 'ingest', columns: ['repository_id'] },
  job_run: { table: 'job', columns: ['run_at'] },
  account_username: { table: 'account', columns: ['username'], isUnique: true },
  access_token_sha256: { table: 'access_token', columns: ['token_sha256'], isUnique: true },
  access_token_account: { table: 'access_token', columns: ['account_id'] },
  team_name: { table: 'team', columns: ['organization_id', 'name'], isUnique: true },
  team_member_account: { table: 'team_member', columns: ['account_id'] },
}

/** Create every table and index. */
export function initialMigration(capabilities: Capabilities): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      await createTables(db, capabilities, TABLES)
      await createIndexes(db, INDEXES)
    },
  }
}
