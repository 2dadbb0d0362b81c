/** Last use and expiry never go back (DESIGN part 5, Clock); for ever, which is null, is the latest expiry of all. */
import { type RawBuilder, sql } from 'kysely'
import { tagIsPinned } from './pins.ts'

/** What `expires_at` becomes. Undefined or null is for ever. Written so that both databases understand it. */
export function laterExpiry(expiresAtMs: number | null | undefined): RawBuilder<number | null> {
  if (expiresAtMs === undefined || expiresAtMs === null) return sql<null>`null`
  return sql<number | null>`case when expires_at < ${expiresAtMs} then ${expiresAtMs} else expires_at end`
}

/** What an instant column becomes: the later of both. */
export function laterInstant(column: 'last_used_at' | 'confirmed_at' | 'touched_at', atMs: number): RawBuilder<number> {
  return sql<number>`case when ${sql.ref(column)} < ${atMs} then ${atMs} else ${sql.ref(column)} end`
}

/**
 * What a tag's `expires_at` becomes when it is pulled. A pin holds for ever, and what was set by hand gives way, be it
 * to an earlier instant (Quay: a pull resets it).
 */
export function renewedTagExpiry(expiresAtMs: number | null | undefined): RawBuilder<number | null> {
  return sql<number | null>`
    case when ${tagIsPinned()} then null
      when is_expiry_set = 1 then cast(${expiresAtMs ?? null} as bigint)
      else ${laterExpiry(expiresAtMs)} end
  `
}
