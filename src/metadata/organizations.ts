/** Organizations and their policies. */
import type { Selectable, Updateable } from 'kysely'
import {
  deleteApplicationTokens,
  deleteLedger,
  deleteQuotaLimits,
  deleteRepositories,
  deleteRobots,
  deleteSome,
  deleteTeamMembers,
  deleteTeamPermissions,
  RowBudget,
} from './collection.ts'
import type { Db } from './db.ts'
import { addJob } from './jobs.ts'
import { lockCharge } from './ledger.ts'
import { claimName } from './names.ts'
import { renameRobots } from './robots.ts'
import type { OrganizationTable } from './schema.ts'
import { isUniqueViolation, transact } from './transaction.ts'
import { fromFlag, fromNull, toFlag, toNull } from './values.ts'

/** What can be changed of an organization. */
export type OrganizationSettings = {
  email: string | undefined
  /** The Time Machine's window. */
  tagExpirationSeconds: number
  revalidateAfterSeconds: number
  /** Undefined: bounded by the Time Machine alone. */
  maxStaleSeconds: number | undefined
  refuseWhenDenied: boolean
  anonymousPulls: boolean
  frozen: boolean
  /** Globs over repository names without the organization. Empty `allowed`: everything. */
  allowedRepositories: readonly string[]
  deniedRepositories: readonly string[]
  /** The host whose `?ns=` this organization answers. */
  mirrorHost: string | undefined
  caPem: string | undefined
  /** Images that are larger than the quota are passed through uncached instead of refused. */
  passesTooLarge: boolean
}

export type Organization = OrganizationSettings & {
  id: number
  name: string
  createdAtMs: number
  /** Repositories of another generation are invisible. */
  generation: number
}

/** Tables whose rows belong to one organization and to nothing else. */
type OwnTable =
  | 'ingest'
  | 'team'
  | 'prototype'
  | 'oauth_application'
  | 'proxy_cache'
  | 'quota'
  | 'log_entry'
  | 'notification'

/** Another organization is the mirror of that host. */
export class MirrorTakenError extends Error {
  override readonly name = 'MirrorTakenError'
}

/** Errors: NameTakenError when an organization or an account has the name. */
export async function createOrganization(
  db: Db,
  fields: { name: string; email?: string | undefined; nowMs: number; tagExpirationSeconds: number },
): Promise<Organization> {
  return transact(db, async (tx) => {
    await claimName(tx, fields.name)
    const row = await tx
      .insertInto('organization')
      .values({
        name: fields.name,
        email: toNull(fields.email),
        created_at: fields.nowMs,
        deleted_at: null,
        generation: 1,
        tag_expiration_s: fields.tagExpirationSeconds,
        revalidate_after_s: 0,
        max_stale_s: null,
        refuse_when_denied: 0,
        anonymous_pulls: 0,
        frozen: 0,
        allowed_repositories: '[]',
        denied_repositories: '[]',
        mirror_host: null,
        ca_pem: null,
        passes_too_large: 0,
      })
      .returningAll()
      .executeTakeFirstOrThrow()
    await tx.insertInto('usage').values({ organization_id: row.id, charge_bytes: 0, warned_percent: 0 }).execute()
    return toOrganization(row)
  })
}

/** One that is being deleted is not found. */
export async function findOrganization(db: Db, name: string): Promise<Organization | undefined> {
  const row = await existing(db).where('name', '=', name).executeTakeFirst()
  return row && toOrganization(row)
}

export async function findOrganizationById(db: Db, id: number): Promise<Organization | undefined> {
  const row = await existing(db).where('id', '=', id).executeTakeFirst()
  return row && toOrganization(row)
}

/** The organization that a superuser has made the mirror of `host`. */
export async function findMirror(db: Db, host: string): Promise<Organization | undefined> {
  const row = await existing(db).where('mirror_host', '=', host).executeTakeFirst()
  return row && toOrganization(row)
}

/** In the order of their names. */
export async function listOrganizations(
  db: Db,
  page: { after?: string | undefined; limit: number },
): Promise<Organization[]> {
  const query = existing(db).orderBy('name').limit(page.limit)
  const rows = await (page.after === undefined ? query : query.where('name', '>', page.after)).execute()
  return rows.map(toOrganization)
}

/** Only the fields that are there change; one that is there and undefined is unset. Errors: MirrorTakenError. */
export async function updateOrganization(db: Db, id: number, changes: Partial<OrganizationSettings>): Promise<void> {
  const columns = toColumns(changes)
  if (Object.keys(columns).length === 0) return
  try {
    await db.updateTable('organization').set(columns).where('id', '=', id).execute()
  } catch (error) {
    if (!isUniqueViolation(error)) throw error
    throw new MirrorTakenError(`another organization is the mirror of ${changes.mirrorHost}`, { cause: error })
  }
}

/**
 * Lock an organization until the transaction ends, so that changes of its people come one after the other. False when
 * it is being deleted or is gone: then nothing may be added to it.
 */
export async function lockOrganization(tx: Db, id: number): Promise<boolean> {
  const locked = await tx
    .updateTable('organization') // An update locks on both databases.
    .set((eb) => ({ generation: eb.ref('generation') }))
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return locked.numUpdatedRows > 0n
}

/** With its robots, whose names begin with it. Errors: NameTakenError. */
export async function renameOrganization(tx: Db, organization: Organization, name: string): Promise<void> {
  await claimName(tx, name)
  await tx.updateTable('organization').set({ name }).where('id', '=', organization.id).execute()
  await renameRobots(tx, organization.id, { before: organization.name, after: name })
}

/**
 * Make what was cached invisible, because it comes from another host or namespace; resolves to the new generation.
 * The caller adds the job that collects it (`collectGenerationStep`).
 */
export async function bumpGeneration(db: Db, id: number): Promise<number> {
  const row = await db
    .updateTable('organization')
    .set((eb) => ({ generation: eb('generation', '+', 1) }))
    .where('id', '=', id)
    .returning('generation')
    .executeTakeFirstOrThrow()
  return row.generation
}

/**
 * Delete at once for everybody who looks, and free its name and mirror; the rows go in steps, by the job
 * `collect_organization` with `{ organizationId }` that this adds. Idempotent.
 */
export async function markOrganizationDeleted(db: Db, id: number, nowMs: number): Promise<void> {
  await transact(db, async (tx) => {
    const marked = await tx
      .updateTable('organization')
      // A colon cannot be in a name, so nobody else's name is taken by this.
      .set({ deleted_at: nowMs, name: `deleted:${id}`, mirror_host: null })
      .where('id', '=', id)
      .where('deleted_at', 'is', null)
      .returning('id')
      .executeTakeFirst()
    if (marked === undefined) return
    await addJob(tx, { kind: 'collect_organization', payload: { organizationId: id }, runAtMs: nowMs, nowMs })
  })
}

/**
 * Delete about `rowsMax` rows of a deleted organization, at last its own; resolves to whether nothing is left. The
 * charge falls with them, and blobs that no organization holds any more become garbage.
 */
export async function collectOrganizationStep(db: Db, id: number, rowsMax: number, nowMs: number): Promise<boolean> {
  return transact(db, async (tx) => {
    await lockCharge(tx, id)
    const isDeleted = await tx
      .selectFrom('organization')
      .select('id')
      .where('id', '=', id)
      .where('deleted_at', 'is not', null)
      .executeTakeFirst()
    if (isDeleted === undefined) return true
    const scope = { organizationId: id, nowMs }
    const budget = new RowBudget(rowsMax)
    const own = (table: OwnTable, key: string) =>
      budget.spend((limit) => deleteSome(tx, table, key, 'organization_id', [id], limit))
    await deleteRepositories(tx, scope, undefined, budget)
    await own('ingest', 'digest')
    await budget.spend((limit) => deleteLedger(tx, scope, limit))
    await own('prototype', 'id')
    await budget.spend((limit) => deleteApplicationTokens(tx, id, limit))
    await own('oauth_application', 'id')
    await deleteRobots(tx, id, budget)
    await budget.spend((limit) => deleteTeamMembers(tx, id, limit))
    await budget.spend((limit) => deleteTeamPermissions(tx, id, limit))
    await own('team', 'id')
    await own('proxy_cache', 'upstream_registry')
    await budget.spend((limit) => deleteQuotaLimits(tx, id, limit))
    await own('quota', 'id')
    await own('log_entry', 'id')
    await own('notification', 'id')
    // The charge goes last: until then there is something to be charged for.
    await budget.spend((limit) => deleteSome(tx, 'usage', 'organization_id', 'organization_id', [id], limit))
    await budget.spend((limit) => deleteSome(tx, 'organization', 'name', 'id', [id], limit))
    return !budget.isSpent
  })
}

/**
 * Delete about `rowsMax` rows of repositories of earlier generations; resolves to whether nothing is left. The charge
 * falls with them, and blobs that no organization holds any more become garbage.
 */
export async function collectGenerationStep(
  db: Db,
  organizationId: number,
  currentGeneration: number,
  rowsMax: number,
  nowMs: number,
): Promise<boolean> {
  return transact(db, async (tx) => {
    await lockCharge(tx, organizationId)
    const budget = new RowBudget(rowsMax)
    await deleteRepositories(tx, { organizationId, nowMs }, currentGeneration, budget)
    return !budget.isSpent
  })
}

function existing(db: Db) {
  return db.selectFrom('organization').selectAll().where('deleted_at', 'is', null)
}

function toOrganization(row: Selectable<OrganizationTable>): Organization {
  return {
    id: row.id,
    name: row.name,
    email: fromNull(row.email),
    createdAtMs: row.created_at,
    generation: row.generation,
    tagExpirationSeconds: row.tag_expiration_s,
    revalidateAfterSeconds: row.revalidate_after_s,
    maxStaleSeconds: fromNull(row.max_stale_s),
    refuseWhenDenied: fromFlag(row.refuse_when_denied),
    anonymousPulls: fromFlag(row.anonymous_pulls),
    frozen: fromFlag(row.frozen),
    allowedRepositories: JSON.parse(row.allowed_repositories),
    deniedRepositories: JSON.parse(row.denied_repositories),
    mirrorHost: fromNull(row.mirror_host),
    caPem: fromNull(row.ca_pem),
    passesTooLarge: fromFlag(row.passes_too_large),
  }
}

function toColumns(changes: Partial<OrganizationSettings>): Updateable<OrganizationTable> {
  const columns: Updateable<OrganizationTable> = {}
  if ('email' in changes) columns.email = toNull(changes.email)
  if (changes.tagExpirationSeconds !== undefined) columns.tag_expiration_s = changes.tagExpirationSeconds
  if (changes.revalidateAfterSeconds !== undefined) columns.revalidate_after_s = changes.revalidateAfterSeconds
  if ('maxStaleSeconds' in changes) columns.max_stale_s = toNull(changes.maxStaleSeconds)
  if (changes.refuseWhenDenied !== undefined) columns.refuse_when_denied = toFlag(changes.refuseWhenDenied)
  if (changes.anonymousPulls !== undefined) columns.anonymous_pulls = toFlag(changes.anonymousPulls)
  if (changes.frozen !== undefined) columns.frozen = toFlag(changes.frozen)
  if (changes.allowedRepositories !== undefined) {
    columns.allowed_repositories = JSON.stringify(changes.allowedRepositories)
  }
  if (changes.deniedRepositories !== undefined) {
    columns.denied_repositories = JSON.stringify(changes.deniedRepositories)
  }
  if ('mirrorHost' in changes) columns.mirror_host = toNull(changes.mirrorHost)
  if ('caPem' in changes) columns.ca_pem = toNull(changes.caPem)
  if (changes.passesTooLarge !== undefined) columns.passes_too_large = toFlag(changes.passesTooLarge)
  return columns
}
