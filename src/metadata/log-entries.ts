/** Usage logs: what happened in an organization, or in the whole installation. */
import { KiB } from '../base/units.ts'
import type { Db } from './db.ts'
import { toNull } from './values.ts'

/** Quay's kinds where it has one, then ours. */
export const LOG_KINDS = [
  'org_create_quota',
  'org_change_quota',
  'org_delete_quota',
  'org_create_quota_limit',
  'org_change_quota_limit',
  'org_delete_quota_limit',
  'org_change_tag_expiration',
  'change_tag_expiration',
  'create_tag',
  'move_tag',
  'delete_tag',
  'revert_tag',
  'permanently_delete_tag',
  'org_delete',
  'org_change_name',
  'org_create_team',
  'org_delete_team',
  'org_set_team_role',
  'org_set_team_description',
  'org_add_team_member',
  'org_remove_team_member',
  'create_robot',
  'delete_robot',
  'regenerate_robot_token',
  'change_repo_permission',
  'delete_repo_permission',
  'change_repo_visibility',
  'create_prototype_permission',
  'modify_prototype_permission',
  'delete_prototype_permission',
  'user_create',
  'user_delete',
  'user_disable',
  'user_enable',
  'user_change_email',
  'user_change_password',
  'take_ownership',
  'create_app_specific_token',
  'revoke_app_specific_token',
  'create_application',
  'update_application',
  'delete_application',
  'reset_application_client_secret',
  'login_success',
  'login_failure',
  'logout_success',
  // Ours.
  'quota_warning',
  'evict_image',
  'expire_image',
  'purge_cache',
  'pin',
  'unpin',
  'create_application_token',
  'revoke_application_token',
] as const

export type LogKind = (typeof LOG_KINDS)[number]

/** What goes with an entry; formatted as JSON. */
export type EventMetadata = Readonly<Record<string, unknown>>

/** Of one entry's metadata: a list of tags can be long, and a reference hostile. */
export const EVENT_METADATA_LIMITS = {
  jsonCharactersMax: 8 * KiB,
  textCharactersMax: KiB,
  listEntriesMax: 50,
} as const

const addressCharactersMax = 64

export type NewLogEntry = {
  /** Undefined: it concerns the installation. */
  organizationId: number | undefined
  kind: LogKind
  nowMs: number
  /** Who did it; undefined for what nobody asked for. */
  accountId?: number | undefined
  address?: string | undefined
  metadata: EventMetadata
}

/** Add an entry. Metadata that is too large is shortened (`is_shortened`), never a reason to fail. */
export async function addLogEntry(tx: Db, entry: NewLogEntry): Promise<void> {
  await tx
    .insertInto('log_entry')
    .values({
      organization_id: toNull(entry.organizationId),
      kind: entry.kind,
      created_at: entry.nowMs,
      account_id: toNull(entry.accountId),
      address: toNull(entry.address?.slice(0, addressCharactersMax)),
      metadata: formatEventMetadata(entry.metadata),
    })
    .execute()
}

export type LogEntry = Required<Omit<NewLogEntry, 'nowMs' | 'kind'>> & { id: number; kind: string; createdAtMs: number }

/** An organization's entries, the newest first. */
export async function listLogEntries(
  db: Db,
  organizationId: number,
  page: { beforeId?: number | undefined; limit: number },
): Promise<LogEntry[]> {
  const query = db
    .selectFrom('log_entry')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .orderBy('id', 'desc')
    .limit(page.limit)
  const rows = await (page.beforeId === undefined ? query : query.where('id', '<', page.beforeId)).execute()
  return rows.map((row) => ({
    id: row.id,
    organizationId,
    kind: row.kind,
    createdAtMs: row.created_at,
    accountId: row.account_id ?? undefined,
    address: row.address ?? undefined,
    metadata: JSON.parse(row.metadata),
  }))
}

/**
 * Delete some of the oldest entries, if they are older than an instant. Numbers are given in the order of time, so the
 * oldest are found by them. Resolves to how many; fewer than `limit`: none is left that is known to be so old.
 */
export async function pruneOldLogEntries(db: Db, createdBeforeMs: number, limit: number): Promise<number> {
  const oldest = await db.selectFrom('log_entry').select(['id', 'created_at']).orderBy('id').limit(limit).execute()
  const ids = oldest.filter((row) => row.created_at < createdBeforeMs).map((row) => row.id)
  if (ids.length > 0) await db.deleteFrom('log_entry').where('id', 'in', ids).execute()
  return ids.length
}

/** Delete some of the oldest entries that an organization has beyond its newest `keep`; resolves to how many. */
export async function pruneManyLogEntries(
  db: Db,
  organizationId: number | undefined,
  page: { keep: number; limit: number },
): Promise<number> {
  const own = db
    .selectFrom('log_entry')
    .select('id')
    .where('organization_id', organizationId === undefined ? 'is' : '=', organizationId ?? null)
  const newest = await own.orderBy('id', 'desc').limit(1).offset(page.keep).executeTakeFirst()
  if (newest === undefined) return 0
  const surplus = await own.where('id', '<=', newest.id).orderBy('id').limit(page.limit).execute()
  const ids = surplus.map((row) => row.id)
  await db.deleteFrom('log_entry').where('id', 'in', ids).execute()
  return ids.length
}

/** The organization with entries that is next after this one, by number; undefined when there is none. */
export async function findNextLogged(db: Db, afterOrganizationId: number): Promise<number | undefined> {
  const row = await db
    .selectFrom('log_entry')
    .select('organization_id')
    .where('organization_id', '>', afterOrganizationId)
    .orderBy('organization_id')
    .limit(1)
    .executeTakeFirst()
  return row?.organization_id ?? undefined
}

/** JSON of at most `jsonCharactersMax`: long texts and lists are cut, and what does not fit then is left out. */
export function formatEventMetadata(metadata: EventMetadata): string {
  const { jsonCharactersMax } = EVENT_METADATA_LIMITS
  let isShortened = false
  const shorten = (_key: string, value: unknown): unknown => {
    const cut = shortened(value)
    if (cut !== value) isShortened = true
    return cut
  }
  const kept: Record<string, unknown> = {}
  // Room for `is_shortened` and the braces.
  let left = jsonCharactersMax - 32
  for (const [key, value] of Object.entries(metadata)) {
    const json = JSON.stringify(value, shorten)
    if (json === undefined) continue
    const characters = JSON.stringify(key).length + json.length + 2
    if (characters > left) {
      isShortened = true
      continue
    }
    left -= characters
    kept[key] = JSON.parse(json)
  }
  return JSON.stringify(isShortened ? { ...kept, is_shortened: true } : kept)
}

function shortened(value: unknown): unknown {
  const { textCharactersMax, listEntriesMax } = EVENT_METADATA_LIMITS
  if (typeof value === 'string' && value.length > textCharactersMax) return value.slice(0, textCharactersMax)
  if (Array.isArray(value) && value.length > listEntriesMax) return value.slice(0, listEntriesMax)
  return value
}
