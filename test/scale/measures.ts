/** What the space of a store costs, in milliseconds, of one that was filled. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { openFileBlobStore } from '../../src/blobs/file-blob-store.ts'
import { findChargeBytes, lockUsage } from '../../src/metadata/ledger.ts'
import { createQuota } from '../../src/metadata/quotas.ts'
import type { Removal } from '../../src/metadata/removal.ts'
import { refreshRootsOf } from '../../src/metadata/roots.ts'
import { endTag } from '../../src/metadata/tags.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { parseTag } from '../../src/oci/reference.ts'
import { previewEviction } from '../../src/registry/admission.ts'
import type { Image } from '../../src/registry/space.ts'
import { Transfers } from '../../src/registry/transfers.ts'
import { collectExpiredRoots, collectHistory } from '../../src/workers/expired-content.ts'
import { removeGarbageBytes } from '../../src/workers/garbage-removal.ts'
import { makeManifest } from '../contracts/metadata-case.ts'
import { openSpace } from '../fakes/open-space.ts'
import { BLOB_BYTES, type FilledStore, START_MS, WINDOW_SECONDS } from './filled-store.ts'

/** Tags that are expired, and images that are collected for it. */
const DEAD = 10_000
const TAGS_PER_STEP = 100
const REPEATS = 51
const ADMISSIONS = 51
const YEAR_MS = 365 * 86_400_000

/** By what was measured; milliseconds. */
export type Figures = Map<string, number>

export async function measure(filled: FilledStore): Promise<Figures> {
  const { metadata, organization, folder } = filled
  const figures: Figures = new Map()
  const { id: organizationId } = organization
  const transfers = new Transfers()
  const time = { nowMs: START_MS + YEAR_MS }
  const clock = () => time.nowMs
  const store = await openFileBlobStore({ folder: join(folder, 'blobs'), leaseId: 'scale' })
  const failures: unknown[] = []
  const onEvent = (event: string, fields: Record<string, unknown>) => {
    if (event === 'store_failed') failures.push(fields)
  }
  const { space, shelf } = openSpace({ metadata, store, clock, hasRoom: () => true, onEvent })
  const removals: Removal[] = []
  const deps = {
    metadata,
    clock,
    transfers,
    shelf,
    onCollected: async (removal: Removal) => void removals.push(removal),
  }
  const pause = () => Promise.resolve()

  figures.set(
    'plan one eviction (median)',
    await median(REPEATS, async () => {
      const fields = { organizationId, deficitBytes: BLOB_BYTES, nowMs: clock() }
      assert.equal((await previewEviction(metadata.db, fields, transfers)).roots.length, 1)
    }),
  )
  figures.set(
    'plan ten evictions (median)',
    await median(REPEATS, async () => {
      const fields = { organizationId, deficitBytes: 80 * BLOB_BYTES, nowMs: clock() }
      assert.equal((await previewEviction(metadata.db, fields, transfers)).roots.length, 10)
    }),
  )
  figures.set(
    'collect when nothing is dead (median)',
    await median(REPEATS, async () => {
      await collectExpiredRoots(deps, pause)
      assert.equal(await collectHistory(deps, pause), 0)
    }),
  )
  const limitBytes = await findChargeBytes(metadata.db, organizationId)
  await createQuota(metadata.db, { organizationId, limitBytes, nowMs: clock() })
  figures.set(
    'admit an image that evicts one (median)',
    await median(ADMISSIONS, async () => {
      time.nowMs += 11_000
      assert.ok(await space.keepImage(makeNewImage(filled, `new${time.nowMs}`)))
    }),
  )
  const tags = await listTags(filled)
  figures.set(`expire ${DEAD} tags`, await timed(() => expireTags(filled, tags, clock())))
  time.nowMs += WINDOW_SECONDS * 1000 + 1
  figures.set(`collect ${DEAD} dead images: rows`, await timed(() => collectExpiredRoots(deps, pause)))
  assert.equal(removals.flatMap(({ roots }) => roots).length, DEAD)
  figures.set(
    `collect ${DEAD} dead images: bytes`,
    await timed(async () => assert.ok((await removeGarbageBytes(deps, pause)) > DEAD)),
  )
  assert.deepEqual(failures, [])
  return figures
}

/** Of a little less than what is evicted for it. */
function makeNewImage({ organization }: FilledStore, name: string): Image {
  const layer = { mediaType: 'x', digest: digestOf(randomBytes(10)), size: 7 * BLOB_BYTES }
  const { manifest, parsed } = makeManifest({ layers: [layer] })
  const tag = parseTag(name)
  assert.ok(tag)
  const { id: organizationId, generation } = organization
  const holder = { organizationId, generation, passesTooLarge: false }
  return { organization: holder, repository: 'new', manifest, parsed, tags: [tag], expiresAtMs: undefined }
}

type TagRow = { repository_id: number; name: string }

/** The most recently used, so that what was evicted before are others. It walks all tags, and is not measured. */
async function listTags({ metadata }: FilledStore): Promise<TagRow[]> {
  const tags = await metadata.db
    .selectFrom('tag')
    .select(['repository_id', 'name'])
    .where('ended_at', 'is', null)
    .where('name', 'like', 'v%')
    .orderBy('last_used_at', 'desc')
    .limit(DEAD)
    .execute()
  assert.equal(tags.length, DEAD)
  return tags
}

/** As deleting a tag does it: now. */
async function expireTags({ metadata, organization }: FilledStore, tags: readonly TagRow[], nowMs: number) {
  for (let start = 0; start < tags.length; start += TAGS_PER_STEP) {
    await metadata.transaction(async (tx) => {
      await lockUsage(tx, organization.id)
      for (const { repository_id: repositoryId, name } of tags.slice(start, start + TAGS_PER_STEP)) {
        const digest = await endTag(tx, { repositoryId, name, nowMs })
        assert.ok(digest)
        await refreshRootsOf(tx, repositoryId, [digest])
      }
    })
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await work()
  return performance.now() - startedMs
}

async function median(times: number, work: () => Promise<unknown>): Promise<number> {
  const took: number[] = []
  for (let time = 0; time < times; time++) took.push(await timed(work))
  return took.sort((left, right) => left - right)[Math.floor(times / 2)] ?? Number.NaN
}
