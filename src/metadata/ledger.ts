/**
 * What an organization is charged for (DESIGN part 5, the ledger): one row per digest, and their sum beside them. Every
 * change begins by locking the usage row, so that changes of one organization's charge come one after the other.
 */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import type { Db } from './db.ts'

export type LedgerItem = { kind: 'blob' | 'manifest'; digest: Digest; sizeBytes: number }

/** Rows of one statement: SQLite takes 32766 parameters, PostgreSQL 65535. */
const rowsPerStatement = 500

/** An organization under its lock. */
export type LockedUsage = { chargeBytes: number; generation: number }

/**
 * Lock the organization's usage row until the transaction ends. Undefined when the organization is being deleted or
 * is gone: then nothing may be charged to it.
 */
export async function lockUsage(tx: Db, organizationId: number): Promise<LockedUsage | undefined> {
  const usage = await tx
    .updateTable('usage') // An update locks on both databases.
    .set((eb) => ({ charge_bytes: eb.ref('charge_bytes') }))
    .where('organization_id', '=', organizationId)
    .returning('charge_bytes')
    .executeTakeFirst()
  if (usage === undefined) return undefined
  const organization = await tx
    .selectFrom('organization')
    .select(['generation', 'deleted_at'])
    .where('id', '=', organizationId)
    .executeTakeFirst()
  if (organization === undefined || organization.deleted_at !== null) return undefined
  return { chargeBytes: usage.charge_bytes, generation: organization.generation }
}

/** The charge as it stands, without a lock. */
export async function findChargeBytes(db: Db, organizationId: number): Promise<number> {
  const row = await db
    .selectFrom('usage')
    .select('charge_bytes')
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return row?.charge_bytes ?? 0
}

/** Those of the items, each digest once, that the ledger does not have: the need of DESIGN part 5, Admission. */
export async function listUnchargedItems(
  tx: Db,
  organizationId: number,
  items: readonly LedgerItem[],
): Promise<LedgerItem[]> {
  const missing = new Map<string, LedgerItem>()
  for (const item of items) {
    const key = `${item.kind} ${item.digest}`
    if (!missing.has(key)) missing.set(key, item)
  }
  const digests = [...new Set(items.map((item) => item.digest))]
  for (let from = 0; from < digests.length; from += rowsPerStatement) {
    const rows = await tx
      .selectFrom('ledger')
      .select(['kind', 'digest'])
      .where('organization_id', '=', organizationId)
      .where('kind', 'in', ['blob', 'manifest'])
      .where('digest', 'in', digests.slice(from, from + rowsPerStatement))
      .execute()
    for (const row of rows) missing.delete(`${row.kind} ${row.digest}`)
  }
  return [...missing.values()]
}

/**
 * Charge for the items that the ledger does not have yet; resolves to the bytes by which the charge grew. With no
 * `storedAtMs` they are reserved. Under the lock of `lockUsage`; the caller has found that they fit.
 */
export async function chargeItems(
  tx: Db,
  organizationId: number,
  items: readonly LedgerItem[],
  storedAtMs: number | undefined,
): Promise<number> {
  // In one order everywhere (DESIGN part 3, Concurrency).
  const rows = (await listUnchargedItems(tx, organizationId, items))
    .sort((left, right) => (left.digest < right.digest ? -1 : 1))
    .map((item) => ({
      organization_id: organizationId,
      kind: item.kind,
      digest: item.digest,
      size_bytes: item.sizeBytes,
      stored_at: storedAtMs ?? null,
    }))
  for (let from = 0; from < rows.length; from += rowsPerStatement) {
    await tx
      .insertInto('ledger')
      .values(rows.slice(from, from + rowsPerStatement))
      .execute()
  }
  const bytes = rows.reduce((sum, row) => sum + row.size_bytes, 0)
  await changeCharge(tx, organizationId, bytes)
  return bytes
}

/** Delete rows of the ledger; resolves to the bytes by which the charge fell. Under the lock of `lockUsage`. */
export async function dischargeItems(
  tx: Db,
  organizationId: number,
  kind: LedgerItem['kind'],
  digests: readonly string[],
): Promise<number> {
  let bytes = 0
  const sorted = [...digests].sort()
  for (let from = 0; from < sorted.length; from += rowsPerStatement) {
    const rows = await tx
      .deleteFrom('ledger')
      .where('organization_id', '=', organizationId)
      .where('kind', '=', kind)
      .where('digest', 'in', sorted.slice(from, from + rowsPerStatement))
      .returning('size_bytes')
      .execute()
    bytes += rows.reduce((sum, row) => sum + row.size_bytes, 0)
  }
  await changeCharge(tx, organizationId, -bytes)
  return bytes
}

/** The sum of the ledger, which the charge must equal at every instant. */
export async function recountChargeBytes(db: Db, organizationId: number): Promise<number> {
  const row = await db
    .selectFrom('ledger')
    .select((eb) => eb.fn.coalesce(eb.fn.sum<number>('size_bytes'), sql<number>`0`).as('bytes'))
    .where('organization_id', '=', organizationId)
    .executeTakeFirstOrThrow()
  return Number(row.bytes)
}

async function changeCharge(tx: Db, organizationId: number, bytes: number): Promise<void> {
  if (bytes === 0) return
  await tx
    .updateTable('usage')
    .set((eb) => ({ charge_bytes: eb('charge_bytes', '+', bytes) }))
    .where('organization_id', '=', organizationId)
    .execute()
}
