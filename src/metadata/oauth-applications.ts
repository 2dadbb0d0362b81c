/** OAuth applications of organizations: what access tokens are generated for. */
import type { Selectable } from 'kysely'
import type { Db } from './db.ts'
import type { OAuthApplicationTable } from './schema-people.ts'
import { fromNull, toNull } from './values.ts'

export type OAuthApplication = {
  id: number
  organizationId: number
  clientId: string
  clientSecretEncrypted: string
  name: string
  createdAtMs: number
  redirectUri: string
  applicationUri: string
  avatarEmail: string | undefined
  description: string
}

export type OAuthApplicationFields = Pick<
  OAuthApplication,
  'name' | 'redirectUri' | 'applicationUri' | 'avatarEmail' | 'description'
>

export async function insertOAuthApplication(
  db: Db,
  application: Omit<OAuthApplication, 'id'>,
): Promise<OAuthApplication> {
  const row = await db
    .insertInto('oauth_application')
    .values({
      organization_id: application.organizationId,
      client_id: application.clientId,
      client_secret_encrypted: application.clientSecretEncrypted,
      created_at: application.createdAtMs,
      ...toColumns(application),
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toApplication(row)
}

export async function findOAuthApplication(
  db: Db,
  organizationId: number,
  clientId: string,
): Promise<OAuthApplication | undefined> {
  const query = db.selectFrom('oauth_application').selectAll().where('client_id', '=', clientId)
  const row = await query.where('organization_id', '=', organizationId).executeTakeFirst()
  return row && toApplication(row)
}

/** The oldest first. */
export async function listOAuthApplications(
  db: Db,
  organizationId: number,
  page: { afterId?: number | undefined; limit: number },
): Promise<OAuthApplication[]> {
  const all = db.selectFrom('oauth_application').selectAll().where('organization_id', '=', organizationId)
  const query = page.afterId === undefined ? all : all.where('id', '>', page.afterId)
  return (await query.orderBy('id').limit(page.limit).execute()).map(toApplication)
}

export async function countOAuthApplications(db: Db, organizationId: number): Promise<number> {
  const row = await db
    .selectFrom('oauth_application')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('organization_id', '=', organizationId)
    .executeTakeFirstOrThrow()
  return row.count
}

export async function updateOAuthApplication(db: Db, id: number, fields: OAuthApplicationFields): Promise<void> {
  await db.updateTable('oauth_application').set(toColumns(fields)).where('id', '=', id).execute()
}

export async function setClientSecret(db: Db, id: number, clientSecretEncrypted: string): Promise<void> {
  const changes = { client_secret_encrypted: clientSecretEncrypted }
  await db.updateTable('oauth_application').set(changes).where('id', '=', id).execute()
}

/** With the tokens that were generated for it. */
export async function deleteOAuthApplication(tx: Db, id: number): Promise<void> {
  await tx.deleteFrom('access_token').where('application_id', '=', id).execute()
  await tx.deleteFrom('oauth_application').where('id', '=', id).execute()
}

function toColumns(fields: OAuthApplicationFields) {
  return {
    name: fields.name,
    redirect_uri: fields.redirectUri,
    application_uri: fields.applicationUri,
    avatar_email: toNull(fields.avatarEmail),
    description: fields.description,
  }
}

function toApplication(row: Selectable<OAuthApplicationTable>): OAuthApplication {
  return {
    id: row.id,
    organizationId: row.organization_id,
    clientId: row.client_id,
    clientSecretEncrypted: row.client_secret_encrypted,
    name: row.name,
    createdAtMs: row.created_at,
    redirectUri: row.redirect_uri,
    applicationUri: row.application_uri,
    avatarEmail: fromNull(row.avatar_email),
    description: row.description,
  }
}
