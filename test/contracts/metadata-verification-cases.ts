/** What a verification asks of the metadata: ledger and roots put right, blobs and images listed page by page. */
import assert from 'node:assert/strict'
import { publishBlob } from '../../src/metadata/blobs.ts'
import { chargeItems, recountUsage } from '../../src/metadata/ledger.ts'
import { correctLedger, correctRoots } from '../../src/metadata/ledger-correction.ts'
import { storeManifest } from '../../src/metadata/manifests.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import { countRoots, describeRoots, listRoots } from '../../src/metadata/purge-roots.ts'
import { openReservation } from '../../src/metadata/reservations.ts'
import {
  countStoredBlobs,
  listNamingHolders,
  listStoredBlobs,
  listUnknownBlobs,
} from '../../src/metadata/stored-blobs.ts'
import { pointTag } from '../../src/metadata/tags.ts'
import { freshDigest, type MetadataCase, makeImage, NOW_MS, newOrganization, newRepository } from './metadata-case.ts'

/** An organization with a tagged image of one stored layer, whose config is still reserved. */
async function holdImage(metadata: Metadata) {
  const organization = await newOrganization(metadata.db)
  const repository = await newRepository(metadata, organization)
  const layer = freshDigest()
  const image = makeImage([{ mediaType: 'x', digest: layer, size: 100 }])
  const { id: organizationId } = organization
  const manifestId = await metadata.transaction(async (tx) => {
    const repositoryId = repository.id
    const fields = { repositoryId, ...image, nowMs: NOW_MS, isByDigest: false, expiresAtMs: undefined }
    const { id } = await storeManifest(tx, fields)
    const items = [
      { digest: layer, sizeBytes: 100 },
      { digest: image.config, sizeBytes: 7 },
    ]
    await chargeItems(
      tx,
      organizationId,
      items.map((item) => ({ kind: 'blob', ...item })),
      undefined,
    )
    await openReservation(tx, { organizationId, manifestId: id, nowMs: NOW_MS })
    await pointTag(tx, { repositoryId, name: 'latest', digest: image.digest, nowMs: NOW_MS, expiresAtMs: undefined })
    await publishBlob(tx, { organizationId, generation: 1, digest: layer, sizeBytes: 100, nowMs: NOW_MS })
    return id
  })
  return { organizationId, organizationName: organization.name, repository, image, layer, manifestId }
}

export const VERIFICATION_CASES: readonly MetadataCase[] = [
  {
    title: 'nothing is corrected where everything is right',
    async check(metadata) {
      const { organizationId, image } = await holdImage(metadata)
      const fields = { organizationId, nowMs: NOW_MS }
      const corrected = await metadata.transaction((tx) => correctLedger(tx, fields))
      const bytes = image.manifest.bytes.byteLength + 107
      assert.deepEqual(corrected, {
        before: { chargeBytes: bytes, ledgerBytes: bytes, trueBytes: bytes },
        rows: 0,
        garbage: [],
      })
      const page = { organizationId, afterManifestId: 0, limit: 10 }
      assert.equal((await metadata.transaction((tx) => correctRoots(tx, page))).wrong, 0)
    },
  },
  {
    title: 'a ledger with rows missing, superfluous and of a wrong size is put right, and the charge with it',
    async check(metadata) {
      const { db } = metadata
      const { organizationId, image, layer } = await holdImage(metadata)
      const right = await recountUsage(db, organizationId)
      const mine = db.updateTable('ledger').where('organization_id', '=', organizationId)
      await mine.set({ size_bytes: 99 }).where('digest', '=', layer).execute()
      await db
        .deleteFrom('ledger')
        .where('organization_id', '=', organizationId)
        .where('digest', '=', image.digest)
        .execute()
      const extra = freshDigest()
      await db.insertInto('blob').values({ digest: extra, size_bytes: 5, stored_at: 1 }).execute()
      const row = { organization_id: organizationId, kind: 'blob', digest: extra, size_bytes: 5, stored_at: 1 } as const
      await db.insertInto('ledger').values(row).execute()
      const fields = { organizationId, nowMs: NOW_MS }
      const corrected = await metadata.transaction((tx) => correctLedger(tx, fields))
      assert.equal(corrected?.rows, 3)
      assert.deepEqual(corrected.garbage, [extra])
      assert.deepEqual(await recountUsage(db, organizationId), right)
      assert.equal((await metadata.transaction((tx) => correctLedger(tx, fields)))?.rows, 0)
    },
  },
  {
    title: 'roots that are gone or other than their tags say are derived anew',
    async check(metadata) {
      const { organizationId, manifestId } = await holdImage(metadata)
      const page = { organizationId, afterManifestId: 0, limit: 10 }
      const correct = () => metadata.transaction((tx) => correctRoots(tx, page))
      await metadata.db.deleteFrom('root').where('manifest_id', '=', manifestId).execute()
      assert.deepEqual(await correct(), { wrong: 1, last: manifestId })
      await metadata.db.updateTable('root').set({ is_pinned: 1 }).where('manifest_id', '=', manifestId).execute()
      assert.equal((await correct()).wrong, 1)
      assert.equal((await correct()).wrong, 0)
      const after = { ...page, afterManifestId: manifestId }
      assert.deepEqual(await metadata.transaction((tx) => correctRoots(tx, after)), { wrong: 0, last: undefined })
    },
  },
  {
    title: 'stored blobs are listed page by page, with who names them, and files without rows are told',
    async check(metadata) {
      const { db } = metadata
      const { organizationId, organizationName, repository, layer, image } = await holdImage(metadata)
      const before = layer.slice(0, -1)
      assert.equal((await listStoredBlobs(db, before, 1)).length, 1)
      const { blobs } = await countStoredBlobs(db)
      assert.equal((await listStoredBlobs(db, '', blobs + 1)).length, blobs)
      const holder = { organizationId, organizationName, repositoryIds: [repository.id] }
      assert.deepEqual(await listNamingHolders(db, layer), [holder])
      assert.deepEqual(await listNamingHolders(db, image.config), [])
      const unknown = freshDigest()
      assert.deepEqual(await listUnknownBlobs(db, [layer, unknown]), [unknown])
    },
  },
  {
    title: 'images are listed within an organization and within a repository, with their tags',
    async check(metadata) {
      const { db } = metadata
      const { organizationId, repository, manifestId, image } = await holdImage(metadata)
      const other = await newRepository(metadata)
      const scope = { organizationId, repositoryId: undefined }
      assert.equal(await countRoots(db, scope), 1)
      assert.equal(await countRoots(db, { organizationId, repositoryId: other.id }), 0)
      const [root] = await listRoots(db, scope, 0, 10)
      assert.deepEqual([root?.manifestId, root?.repositoryName, root?.isPinned], [manifestId, repository.name, false])
      assert.deepEqual(await listRoots(db, scope, manifestId, 10), [])
      const described = (await describeRoots(db, [manifestId])).get(manifestId)
      assert.deepEqual([described?.digest, described?.tags], [image.digest, ['latest']])
    },
  },
]
