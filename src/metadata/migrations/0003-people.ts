/**
 * Who may do what: robots, sessions, application tokens, OAuth applications, permissions of repositories. And when an
 * organization was last warned of its quota.
 */
import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import type { Capabilities } from './capabilities.ts'
import { createIndexes, createTables, type Index, type Table } from './tables.ts'

const TABLES: Readonly<Record<string, Table>> = {
  session: {
    columns: {
      id_sha256: 'text',
      account_id: 'integer',
      created_at: 'integer',
      last_seen_at: 'integer',
      signed_in_at: 'integer',
    },
    primaryKey: ['id_sha256'],
    references: { account_id: 'account.id' },
    isByKey: true,
  },
  app_token: {
    columns: {
      id: 'identity',
      uuid: 'text',
      account_id: 'integer',
      title: 'text',
      token_sha256: 'text',
      token_encrypted: 'text',
      created_at: 'integer',
      expires_at: 'integer?',
      last_used_at: 'integer?',
    },
    references: { account_id: 'account.id' },
  },
  oauth_application: {
    columns: {
      id: 'identity',
      organization_id: 'integer',
      client_id: 'text',
      client_secret_encrypted: 'text',
      name: 'text',
      created_at: 'integer',
      redirect_uri: 'text',
      application_uri: 'text',
      avatar_email: 'text?',
      description: 'text',
    },
    references: { organization_id: 'organization.id' },
  },
  repository_permission: {
    columns: {
      id: 'identity',
      repository_id: 'integer',
      account_id: 'integer?',
      team_id: 'integer?',
      role: 'text',
      created_at: 'integer',
    },
    references: { repository_id: 'repository.id', account_id: 'account.id', team_id: 'team.id' },
  },
  prototype: {
    columns: {
      id: 'identity',
      uuid: 'text',
      organization_id: 'integer',
      role: 'text',
      delegate_account_id: 'integer?',
      delegate_team_id: 'integer?',
      activating_account_id: 'integer?',
    },
    references: {
      organization_id: 'organization.id',
      delegate_account_id: 'account.id',
      delegate_team_id: 'team.id',
      activating_account_id: 'account.id',
    },
  },
}

const INDEXES: Readonly<Record<string, Index>> = {
  session_account: { table: 'session', columns: ['account_id'] },
  session_seen: { table: 'session', columns: ['last_seen_at'] },
  app_token_uuid: { table: 'app_token', columns: ['uuid'], isUnique: true },
  app_token_sha256: { table: 'app_token', columns: ['token_sha256'], isUnique: true },
  app_token_account: { table: 'app_token', columns: ['account_id'] },
  oauth_application_client: { table: 'oauth_application', columns: ['client_id'], isUnique: true },
  oauth_application_organization: { table: 'oauth_application', columns: ['organization_id', 'id'] },
  access_token_application: { table: 'access_token', columns: ['application_id'] },
  repository_permission_account: {
    table: 'repository_permission',
    columns: ['repository_id', 'account_id'],
    isUnique: true,
    where: sql<boolean>`account_id is not null`,
  },
  repository_permission_team: {
    table: 'repository_permission',
    columns: ['repository_id', 'team_id'],
    isUnique: true,
    where: sql<boolean>`team_id is not null`,
  },
  repository_permission_of_account: { table: 'repository_permission', columns: ['account_id'] },
  repository_permission_of_team: { table: 'repository_permission', columns: ['team_id'] },
  prototype_uuid: { table: 'prototype', columns: ['uuid'], isUnique: true },
  prototype_organization: { table: 'prototype', columns: ['organization_id'] },
  prototype_delegate_account: { table: 'prototype', columns: ['delegate_account_id'] },
  prototype_delegate_team: { table: 'prototype', columns: ['delegate_team_id'] },
  prototype_activating_account: { table: 'prototype', columns: ['activating_account_id'] },
  account_owner_organization: {
    table: 'account',
    columns: ['owner_organization_id', 'username'],
    where: sql<boolean>`owner_organization_id is not null`,
  },
  account_owner_account: {
    table: 'account',
    columns: ['owner_account_id', 'username'],
    where: sql<boolean>`owner_account_id is not null`,
  },
  account_token_sha256: {
    table: 'account',
    columns: ['token_sha256'],
    isUnique: true,
    where: sql<boolean>`token_sha256 is not null`,
  },
}

/** Add the tables, and to accounts what robots need. */
export function peopleMigration(capabilities: Capabilities): Migration {
  return {
    async up(db: Kysely<unknown>): Promise<void> {
      const { integer, text } = capabilities
      const alter = (table: string) => db.schema.alterTable(table)
      await alter('account')
        .addColumn('kind', text, (column) => column.notNull().defaultTo('user'))
        .execute()
      await alter('account')
        .addColumn('description', text, (column) => column.notNull().defaultTo(''))
        .execute()
      for (const column of ['owner_organization_id', 'owner_account_id', 'last_used_at']) {
        await alter('account').addColumn(column, integer).execute()
      }
      for (const column of ['token_sha256', 'token_encrypted', 'unstructured_metadata']) {
        await alter('account').addColumn(column, text).execute()
      }
      await alter('access_token').addColumn('application_id', integer).execute()
      for (const column of ['warned_at', 'fell_below']) {
        await alter('usage')
          .addColumn(column, integer, (definition) => definition.notNull().defaultTo(0))
          .execute()
      }
      await createTables(db, capabilities, TABLES)
      await createIndexes(db, INDEXES)
    },
  }
}
