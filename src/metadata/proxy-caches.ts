/** What an organization caches: its upstream and credentials. */
import type { Selectable } from 'kysely'
import type { Db } from './db.ts'
import type { ProxyCacheTable } from './schema.ts'
import { fromFlag, fromNull, toFlag, toNull } from './values.ts'

export type ProxyCache = {
  organizationId: number
  /** As it was given: `host[:port][/namespace]`. */
  upstreamRegistry: string
  usernameEncrypted: string | undefined
  passwordEncrypted: string | undefined
  expirationSeconds: number
  insecure: boolean
  createdAtMs: number
}

export async function findProxyCache(db: Db, organizationId: number): Promise<ProxyCache | undefined> {
  const row = await db
    .selectFrom('proxy_cache')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return row && toProxyCache(row)
}

/** False when the organization has one already; it is left as it is. */
export async function insertProxyCache(db: Db, proxyCache: ProxyCache): Promise<boolean> {
  const row = await db
    .insertInto('proxy_cache')
    .values({
      organization_id: proxyCache.organizationId,
      upstream_registry: proxyCache.upstreamRegistry,
      username_encrypted: toNull(proxyCache.usernameEncrypted),
      password_encrypted: toNull(proxyCache.passwordEncrypted),
      expiration_s: proxyCache.expirationSeconds,
      insecure: toFlag(proxyCache.insecure),
      created_at: proxyCache.createdAtMs,
    })
    .onConflict((conflict) => conflict.column('organization_id').doNothing())
    .returning('organization_id')
    .executeTakeFirst()
  return row !== undefined
}

/** Only the fields that are there change; credentials that are there and undefined are removed. False: no row. */
export async function updateProxyCache(
  db: Db,
  organizationId: number,
  changes: Partial<Omit<ProxyCache, 'organizationId' | 'createdAtMs'>>,
): Promise<boolean> {
  const result = await db
    .updateTable('proxy_cache')
    .set({
      // Never empty, so that the answer is always whether there is one.
      organization_id: organizationId,
      ...(changes.upstreamRegistry !== undefined && { upstream_registry: changes.upstreamRegistry }),
      ...('usernameEncrypted' in changes && { username_encrypted: toNull(changes.usernameEncrypted) }),
      ...('passwordEncrypted' in changes && { password_encrypted: toNull(changes.passwordEncrypted) }),
      ...(changes.expirationSeconds !== undefined && { expiration_s: changes.expirationSeconds }),
      ...(changes.insecure !== undefined && { insecure: toFlag(changes.insecure) }),
    })
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return result.numUpdatedRows > 0n
}

/** False when there was none. */
export async function deleteProxyCache(db: Db, organizationId: number): Promise<boolean> {
  const result = await db.deleteFrom('proxy_cache').where('organization_id', '=', organizationId).executeTakeFirst()
  return result.numDeletedRows > 0n
}

function toProxyCache(row: Selectable<ProxyCacheTable>): ProxyCache {
  return {
    organizationId: row.organization_id,
    upstreamRegistry: row.upstream_registry,
    usernameEncrypted: fromNull(row.username_encrypted),
    passwordEncrypted: fromNull(row.password_encrypted),
    expirationSeconds: row.expiration_s,
    insecure: fromFlag(row.insecure),
    createdAtMs: row.created_at,
  }
}
