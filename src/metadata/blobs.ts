/** Stored bytes, which organization may have them, and which manifests name them. */
import { sql } from 'kysely'
import type { Digest } from '../oci/digest.ts'
import { inBatches } from './batches.ts'
import type { Db } from './db.ts'
import { HotStatement } from './hot-statement.ts'
import { changeCharge, chargeItems, dischargeItems, lockCharge, lockUsage } from './ledger.ts'
import { endFulfilledReservations, openReservation } from './reservations.ts'
import { fromFlag } from './values.ts'

/** What is known of a digest in one repository. */
export type BlobLink = {
  /** Of the stored bytes; else what the manifest says. */
  sizeBytes: number
  /** A manifest of the repository names it. */
  isNamed: boolean
  /** The organization has a right to stored bytes. */
  isStored: boolean
  /** Since when: its upstream gave or confirmed them then. */
  storedAtMs: number | undefined
  /** The manifest gives `urls` for it. */
  hasUrls: boolean
}

type BlobLinkRow = {
  stored_bytes: number | null
  stored_at: number | null
  named_bytes: number | null
  has_urls: number | null
}

/** Scalar subqueries: with a join for the manifest's two columns SQLite takes four times as long. */
const blobLink = new HotStatement(
  'find_blob_link',
  (
    organizationId: number,
    stored: string,
    sameOrganizationId: number,
    sameStored: string,
    repositoryId: number,
    named: string,
    sameRepositoryId: number,
    sameNamed: string,
  ) => sql<BlobLinkRow>`
    select
      (select size_bytes from ledger where organization_id = ${organizationId} and kind = 'blob'
        and digest = ${stored} and stored_at is not null) as stored_bytes,
      (select stored_at from ledger where organization_id = ${sameOrganizationId} and kind = 'blob'
        and digest = ${sameStored}) as stored_at,
      (select size_bytes from manifest_blob
        where repository_id = ${repositoryId} and digest = ${named} limit 1) as named_bytes,
      (select has_urls from manifest_blob
        where repository_id = ${sameRepositoryId} and digest = ${sameNamed} limit 1) as has_urls
  `,
)

/** Organizations that can be asked for a copy. */
const holdersMax = 1000
/** Each time that one loses the race for a row, another has forgotten it. */
const insertTriesMax = 10
/** As many descriptors as one manifest may have. */
const missingMax = 10_000

/** One statement; undefined when the digest is neither named in the repository nor stored for the organization. */
export async function findBlobLink(
  db: Db,
  key: { organizationId: number; repositoryId: number; digest: string },
): Promise<BlobLink | undefined> {
  const { organizationId, repositoryId, digest } = key
  const [stored, named] = [[organizationId, digest] as const, [repositoryId, digest] as const]
  const row = await blobLink.runFirst(db, ...stored, ...stored, ...named, ...named)
  const sizeBytes = row?.stored_bytes ?? row?.named_bytes
  if (row === undefined || sizeBytes === undefined || sizeBytes === null) return undefined
  return {
    sizeBytes,
    isNamed: row.named_bytes !== null,
    isStored: row.stored_bytes !== null,
    storedAtMs: row.stored_at ?? undefined,
    hasUrls: fromFlag(row.has_urls ?? 0),
  }
}

/** Whether the store holds these bytes, for whomever. */
export async function findStoredBlob(db: Db, digest: string): Promise<{ sizeBytes: number } | undefined> {
  const row = await db.selectFrom('blob').select('size_bytes').where('digest', '=', digest).executeTakeFirst()
  return row && { sizeBytes: row.size_bytes }
}

/** The organizations that have a right to it. */
export async function listBlobHolders(db: Db, digest: string): Promise<{ organizationId: number }[]> {
  const rows = await db
    .selectFrom('ledger')
    .select('organization_id')
    .where('digest', '=', digest)
    .where('kind', '=', sql.lit('blob'))
    .where('stored_at', 'is not', null)
    .orderBy('organization_id')
    .limit(holdersMax)
    .execute()
  return rows.map((row) => ({ organizationId: row.organization_id }))
}

export type Publication = {
  organizationId: number
  /** Whose upstream gave the bytes: what a former upstream gave is no right. */
  generation: number
  digest: Digest
  sizeBytes: number
  nowMs: number
  /** What the charge may not exceed when nothing was reserved for the blob; undefined is no limit. */
  limitBytes?: number | undefined
  /** How many reservations were fulfilled by it; called before the commit, and again when the transaction is. */
  onFulfilled?: (reservations: number) => void
}

/**
 * The store holds it (bytes-before-rows), and the organization may have it and wants it no longer: what was reserved
 * is stored. Idempotent. False, and nothing changes, when the organization is of another generation by now or gone,
 * when no manifest of it names the blob (any more), or when nothing was reserved and it does not fit.
 */
export async function publishBlob(tx: Db, fields: Publication): Promise<boolean> {
  const { organizationId, digest } = fields
  const usage = await lockUsage(tx, organizationId)
  if (usage === undefined || usage.generation !== fields.generation) return false
  if (!(await isNamed(tx, organizationId, digest))) return false
  if (!(await storeCharged(tx, fields, usage.chargeBytes))) return false
  const fulfilled = await endFulfilledReservations(tx, organizationId, digest)
  fields.onFulfilled?.(fulfilled)
  await insertBlob(tx, fields)
  await tx.deleteFrom('garbage').where('digest', '=', digest).execute()
  await tx.deleteFrom('ingest').where('organization_id', '=', organizationId).where('digest', '=', digest).execute()
  return true
}

/** Turn what was reserved to stored, or charge for it if it fits. */
async function storeCharged(tx: Db, fields: Publication, chargeBytes: number): Promise<boolean> {
  const { organizationId, digest, sizeBytes, nowMs, limitBytes = Number.POSITIVE_INFINITY } = fields
  const row = await tx
    .selectFrom('ledger')
    .select(['size_bytes', 'stored_at'])
    .where('organization_id', '=', organizationId)
    .where('kind', '=', 'blob')
    .where('digest', '=', digest)
    .executeTakeFirst()
  if (row === undefined || row.size_bytes !== sizeBytes) {
    // A manifest that lies about the size reserved another.
    if (chargeBytes - (row?.size_bytes ?? 0) + sizeBytes > limitBytes) return false
    await dischargeItems(tx, organizationId, 'blob', [digest])
    await chargeItems(tx, organizationId, [{ kind: 'blob', digest, sizeBytes }], nowMs)
    return true
  }
  await tx
    .updateTable('ledger')
    .set({ stored_at: row.stored_at ?? nowMs })
    .where('organization_id', '=', organizationId)
    .where('kind', '=', 'blob')
    .where('digest', '=', digest)
    .execute()
  return true
}

/** Insert the row of stored bytes, or lock it: it cannot be forgotten before all see the row of the ledger. */
async function insertBlob(tx: Db, fields: { digest: string; sizeBytes: number; nowMs: number }): Promise<void> {
  const { digest, sizeBytes, nowMs } = fields
  for (let tries = 1; tries <= insertTriesMax; tries++) {
    const inserted = await tx
      .insertInto('blob')
      .values({ digest, size_bytes: sizeBytes, stored_at: nowMs })
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .returning('digest')
      .executeTakeFirst()
    if (inserted !== undefined) return changeStoreUsage(tx, sizeBytes)
    if (await lockBlob(tx, digest)) return
  }
  throw new Error(`cannot publish ${digest}: it keeps being forgotten`)
}

/** Lock the row until the transaction ends; false when there is none. */
async function lockBlob(tx: Db, digest: string): Promise<boolean> {
  const locked = await tx
    .updateTable('blob')
    .set((eb) => ({ stored_at: eb.ref('stored_at') }))
    .where('digest', '=', digest)
    .executeTakeFirst()
  return locked.numUpdatedRows > 0n
}

async function changeStoreUsage(tx: Db, bytes: number): Promise<void> {
  await tx
    .updateTable('store_usage')
    .set((eb) => ({ blob_bytes: eb('blob_bytes', '+', bytes) }))
    .execute()
}

async function isNamed(db: Db, organizationId: number, digest: string): Promise<boolean> {
  const row = await db
    .selectFrom('manifest_blob')
    .select('position')
    .where('organization_id', '=', organizationId)
    .where('digest', '=', digest)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

/**
 * Take from an organization its right to every blob, and all that is reserved and wanted for it: its upstream has
 * become another. The charge falls at once; rows in `blob` that nobody holds then are abandoned with the manifests of
 * the former generation, which name them.
 */
export async function revokeBlobs(tx: Db, organizationId: number): Promise<void> {
  await lockCharge(tx, organizationId)
  const sum = await tx
    .selectFrom('ledger')
    .select((eb) => eb.fn.sum<number | string | null>('size_bytes').as('bytes'))
    .where('organization_id', '=', organizationId)
    .where('kind', '=', 'blob')
    .executeTakeFirstOrThrow()
  await tx.deleteFrom('reservation').where('organization_id', '=', organizationId).execute()
  await tx.deleteFrom('ledger').where('organization_id', '=', organizationId).where('kind', '=', 'blob').execute()
  await changeCharge(tx, organizationId, -Number(sum.bytes ?? 0))
  await tx.deleteFrom('ingest').where('organization_id', '=', organizationId).execute()
}

/**
 * The stored bytes are damaged or gone: nobody has them any more, and whoever had them has their place reserved until
 * they are fetched again. Rows go before their bytes.
 */
export async function forgetBlob(tx: Db, digest: string, nowMs: number): Promise<void> {
  const locked = new Set<number>()
  const lockHolders = async () => {
    for (const { organizationId } of await listBlobHolders(tx, digest)) {
      if (!locked.has(organizationId)) await lockCharge(tx, organizationId)
      locked.add(organizationId)
    }
  }
  await lockHolders()
  if (!(await lockBlob(tx, digest))) return
  await lockHolders() // Those that came while we waited for the row; none can come now.
  await tx
    .updateTable('ledger')
    .set({ stored_at: null })
    .where('digest', '=', digest)
    .where('kind', '=', sql.lit('blob'))
    .execute()
  for (const organizationId of locked) await reserveAgain(tx, organizationId, digest, nowMs)
  const row = await tx.deleteFrom('blob').where('digest', '=', digest).returning('size_bytes').executeTakeFirst()
  if (row !== undefined) await changeStoreUsage(tx, -row.size_bytes)
}

/** Through a manifest that names it, the youngest; what only manifests with `urls` name is not reserved. */
async function reserveAgain(tx: Db, organizationId: number, digest: string, nowMs: number): Promise<void> {
  const row = await tx
    .selectFrom('manifest_blob')
    .select((eb) => eb.fn.max('manifest_id').as('manifest_id'))
    .where('organization_id', '=', organizationId)
    .where('digest', '=', digest)
    .where('has_urls', '=', 0)
    .executeTakeFirst()
  const manifestId = row?.manifest_id ?? undefined
  if (manifestId === undefined) await dischargeItems(tx, organizationId, 'blob', [digest])
  else await openReservation(tx, { organizationId, manifestId, nowMs })
}

/**
 * Holders of these blobs have gone: those that nobody holds any more become garbage. Resolves to them, for the caller
 * to unlink after the commit. Blobs that are held, or not stored, are passed over.
 */
export async function abandonBlobs(tx: Db, digests: readonly string[], nowMs: number): Promise<Digest[]> {
  const garbage: { digest: string; size_bytes: number; created_at: number }[] = []
  for (const batch of inBatches([...new Set(digests)].sort())) {
    const locked = await tx
      .updateTable('blob') // An update locks on both databases.
      .set((eb) => ({ stored_at: eb.ref('stored_at') }))
      .where('digest', 'in', batch)
      .returning(['digest', 'size_bytes'])
      .execute()
    if (locked.length === 0) continue
    // Asked when the rows are locked: who publishes meanwhile waits for us, and then begins a new row.
    const held = await tx
      .selectFrom('ledger')
      .select('digest')
      .distinct()
      .where('kind', '=', sql.lit('blob'))
      .where('stored_at', 'is not', null)
      .where(
        'digest',
        'in',
        locked.map((row) => row.digest),
      )
      .execute()
    const heldDigests = new Set(held.map((row) => row.digest))
    const free = locked.filter((row) => !heldDigests.has(row.digest))
    garbage.push(...free.map((row) => ({ ...row, created_at: nowMs })))
  }
  for (const batch of inBatches(garbage)) {
    await tx
      .deleteFrom('blob')
      .where(
        'digest',
        'in',
        batch.map((row) => row.digest),
      )
      .execute()
    await tx
      .insertInto('garbage')
      .values(batch)
      .onConflict((conflict) => conflict.column('digest').doNothing())
      .execute()
  }
  const bytes = garbage.reduce((sum, row) => sum + row.size_bytes, 0)
  if (bytes > 0) await changeStoreUsage(tx, -bytes)
  return garbage.map((row) => row.digest as Digest)
}

/** What is to be removed from the store, in the order of digests. */
export async function listGarbage(
  db: Db,
  limit: number,
): Promise<{ digest: Digest; sizeBytes: number; createdAtMs: number }[]> {
  const rows = await db.selectFrom('garbage').selectAll().orderBy('digest').limit(limit).execute()
  return rows.map((row) => ({
    digest: row.digest as Digest,
    sizeBytes: row.size_bytes,
    createdAtMs: row.created_at,
  }))
}

/** Whether it is still to be removed: nobody has published it again. */
export async function isGarbage(db: Db, digest: string): Promise<boolean> {
  const row = await db.selectFrom('garbage').select('digest').where('digest', '=', digest).executeTakeFirst()
  return row !== undefined
}

/** Its bytes are gone. */
export async function removeGarbage(tx: Db, digest: string): Promise<void> {
  await tx.deleteFrom('garbage').where('digest', '=', digest).execute()
}

/** Bytes of all stored blobs, and what all organizations have reserved beside them. */
export async function findStoreUsage(db: Db): Promise<{ blobBytes: number; reservedBytes: number }> {
  const { rows } = await sql<{ blob_bytes: number | null; reserved_bytes: number | string | null }>`
    select (select blob_bytes from store_usage where id = 1) as blob_bytes,
      (select sum(size_bytes) from ledger where stored_at is null) as reserved_bytes
  `.execute(db)
  return { blobBytes: Number(rows[0]?.blob_bytes ?? 0), reservedBytes: Number(rows[0]?.reserved_bytes ?? 0) }
}

/**
 * If the digest is a layer of manifests of the repository: all blobs of those manifests that are not stored for the
 * organization, without those that carry `urls`.
 */
export async function listMissingBlobsBeside(
  db: Db,
  key: { organizationId: number; repositoryId: number; layerDigest: string },
): Promise<{ digest: Digest; sizeBytes: number }[]> {
  const rows = await db
    .selectFrom('manifest_blob as layer')
    .innerJoin('manifest_blob as beside', 'beside.manifest_id', 'layer.manifest_id')
    .leftJoin('ledger as stored', (join) =>
      join
        .onRef('stored.digest', '=', 'beside.digest')
        .on('stored.organization_id', '=', key.organizationId)
        .on('stored.kind', '=', 'blob')
        .on('stored.stored_at', 'is not', null),
    )
    .select((eb) => ['beside.digest', eb.fn.max('beside.size_bytes').as('size_bytes')])
    .where('layer.repository_id', '=', key.repositoryId)
    .where('layer.digest', '=', key.layerDigest)
    .where('layer.kind', '=', 'layer')
    .where('beside.has_urls', '=', 0)
    .where('stored.digest', 'is', null)
    .groupBy('beside.digest')
    .limit(missingMax)
    .execute()
  return rows.map((row) => ({ digest: row.digest as Digest, sizeBytes: row.size_bytes }))
}
