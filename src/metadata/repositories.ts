/** Repositories of an organization. */
import { type Selectable, sql } from 'kysely'
import type { Db } from './db.ts'
import { HotStatement } from './hot-statement.ts'
import type { RepositoryTable } from './schema.ts'
import { fromFlag, fromNull, toFlag, toNull } from './values.ts'

export type Repository = {
  id: number
  organizationId: number
  generation: number
  /** Without the organization, in the one spelling that is stored. */
  name: string
  isPublic: boolean
  createdAtMs: number
  /** Since when the upstream refuses it to the organization's credentials. */
  deniedAtMs: number | undefined
}

/** Organizations that one statement of a listing names. */
const organizationsPerStatement = 500

const repositoryByName = new HotStatement(
  'find_repository',
  (organizationId: number, generation: number, name: string) => sql<Selectable<RepositoryTable>>`
    select * from repository where organization_id = ${organizationId} and generation = ${generation} and name = ${name}
  `,
)

export async function findRepository(
  db: Db,
  organizationId: number,
  generation: number,
  name: string,
): Promise<Repository | undefined> {
  const row = await repositoryByName.runFirst(db, organizationId, generation, name)
  return row && toRepository(row)
}

export async function findRepositoryById(db: Db, id: number): Promise<Repository | undefined> {
  const row = await db.selectFrom('repository').selectAll().where('id', '=', id).executeTakeFirst()
  return row && toRepository(row)
}

/** Find or create, private. Of several who do it at once, all get the same row. */
export async function ensureRepository(
  tx: Db,
  fields: { organizationId: number; generation: number; name: string; nowMs: number },
): Promise<Repository> {
  const known = await findRepository(tx, fields.organizationId, fields.generation, fields.name)
  if (known !== undefined) return known
  const row = await tx
    .insertInto('repository')
    .values({
      organization_id: fields.organizationId,
      generation: fields.generation,
      name: fields.name,
      is_public: 0,
      created_at: fields.nowMs,
      denied_at: null,
    })
    // Writing what stands there locks the row and returns it; doing nothing would return none.
    .onConflict((conflict) =>
      conflict.columns(['organization_id', 'generation', 'name']).doUpdateSet({ name: fields.name }),
    )
    .returningAll()
    .executeTakeFirstOrThrow()
  return toRepository(row)
}

/** Those of each organization's current generation, in the order of organization id and name. */
export async function listRepositories(
  db: Db,
  page: {
    organizationIds: readonly number[]
    after?: { organizationId: number; name: string } | undefined
    limit: number
  },
): Promise<Repository[]> {
  const { after, limit } = page
  const ids = [...new Set(page.organizationIds)]
    .filter((id) => after === undefined || id >= after.organizationId)
    .sort((left, right) => left - right)
  const repositories: Repository[] = []
  for (let from = 0; from < ids.length && repositories.length < limit; from += organizationsPerStatement) {
    const all = db
      .selectFrom('repository')
      .innerJoin('organization', (join) =>
        join
          .onRef('organization.id', '=', 'repository.organization_id')
          .onRef('organization.generation', '=', 'repository.generation'),
      )
      .selectAll('repository')
      .where('organization.deleted_at', 'is', null)
      .where('repository.organization_id', 'in', ids.slice(from, from + organizationsPerStatement))
      .orderBy('repository.organization_id')
      .orderBy('repository.name')
      .limit(limit - repositories.length)
    const rows = await (after === undefined
      ? all
      : all.where((eb) =>
          eb.or([
            eb('repository.organization_id', '>', after.organizationId),
            eb.and([
              eb('repository.organization_id', '=', after.organizationId),
              eb('repository.name', '>', after.name),
            ]),
          ]),
        )
    ).execute()
    repositories.push(...rows.map(toRepository))
  }
  return repositories
}

/** Whether anybody may pull it (where anonymous access is on). */
export async function setRepositoryVisibility(tx: Db, id: number, isPublic: boolean): Promise<void> {
  await tx
    .updateTable('repository')
    .set({ is_public: toFlag(isPublic) })
    .where('id', '=', id)
    .execute()
}

/** Remember since when the upstream refuses it, or (undefined) that it does not. The first instant stays. */
export async function setRepositoryDenied(db: Db, id: number, atMs: number | undefined): Promise<void> {
  const update = db
    .updateTable('repository')
    .set({ denied_at: toNull(atMs) })
    .where('id', '=', id)
  await update.where('denied_at', atMs === undefined ? 'is not' : 'is', null).execute()
}

function toRepository(row: Selectable<RepositoryTable>): Repository {
  return {
    id: row.id,
    organizationId: row.organization_id,
    generation: row.generation,
    name: row.name,
    isPublic: fromFlag(row.is_public),
    createdAtMs: row.created_at,
    deniedAtMs: fromNull(row.denied_at),
  }
}
