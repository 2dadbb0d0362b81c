import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { CollectionRig, type RigImage } from '../../test/fakes/collection-rig.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../base/units.ts'
import { listLogEntries } from '../metadata/log-entries.ts'
import { listNotifications } from '../metadata/notifications.ts'
import type { Organization } from '../metadata/organizations.ts'
import { createQuota, createQuotaLimit, updateQuota } from '../metadata/quotas.ts'
import { refreshRoots } from '../metadata/roots.ts'

const WINDOW_S = (14 * DAY_MS) / 1000

/** Four images of 10 kB, each used an hour later than the one before; the last of them has expired. */
async function fill(rig: CollectionRig): Promise<{ organization: Organization; images: RigImage[] }> {
  const organization = await rig.organization({ windowSeconds: WINDOW_S })
  const images: RigImage[] = []
  for (const [tag, expiresInMs] of [
    ['a', DAY_MS],
    ['b', DAY_MS],
    ['c', DAY_MS],
    ['kept', 1],
  ] as const) {
    images.push(await rig.image(organization, tag, { layers: [randomBytes(10_000)], expiresInMs }))
    await rig.pass(HOUR_MS)
  }
  return { organization, images }
}

async function tagsOf(rig: CollectionRig): Promise<string[]> {
  const rows = await rig.metadata.db
    .selectFrom('tag')
    .select('name')
    .where('ended_at', 'is', null)
    .orderBy('name')
    .execute()
  return rows.map((row) => row.name)
}

async function setLimit(rig: CollectionRig, { id: organizationId }: Organization, limitBytes: number): Promise<number> {
  const quota = await createQuota(rig.metadata.db, { organizationId, limitBytes, nowMs: rig.nowMs })
  return quota?.id ?? 0
}

test('a limit below the charge evicts what is kept first, then by last use, step by step, until it fits', async (t) => {
  const rig = await CollectionRig.open(t)
  const { organization, images } = await fill(rig)
  const total = images.reduce((sum, image) => sum + image.bytes, 0)
  assert.equal(await rig.charge(organization), total)
  const quotaId = await setLimit(rig, organization, total)
  await rig.shrinker.shrinkAll()
  assert.equal(rig.evictions.length, 0, 'it fits to the byte')
  await updateQuota(rig.metadata.db, { organizationId: organization.id, id: quotaId, limitBytes: 25_000 })
  await rig.collector().run()
  assert.deepEqual(
    rig.evictions.map((removal) => removal.roots.map((root) => root.tags)),
    [[['kept']], [['a']]],
  )
  assert.deepEqual(await tagsOf(rig), ['b', 'c'])
  assert.ok((await rig.charge(organization)) <= 25_000)
  for (const [position, isThere] of [false, true, true, false].entries()) {
    assert.equal(await rig.isInStore(images[position]?.layers[0] ?? Buffer.alloc(0)), isThere)
  }
  const [entry] = await listLogEntries(rig.metadata.db, organization.id, { limit: 1 })
  assert.equal(entry?.kind, 'evict_image')
  assert.equal(entry?.metadata['freed_bytes'], images[0]?.bytes)
  const [notification] = await listNotifications(rig.metadata.db, organization.id, 1)
  assert.equal(notification?.kind, 'image_evicted')
})

test('a Reject percentage lowers the limit too', async (t) => {
  const rig = await CollectionRig.open(t)
  const { organization } = await fill(rig)
  const quotaId = await setLimit(rig, organization, 100_000)
  await createQuotaLimit(rig.metadata.db, quotaId, { type: 'Reject', percent: 15 })
  await rig.shrinker.shrinkAll()
  assert.deepEqual(await tagsOf(rig), ['c'])
})

test('pinned images and those being received stay, and what is too much is told once', async (t) => {
  const rig = await CollectionRig.open(t)
  const { organization, images } = await fill(rig)
  const [first] = images
  assert.ok(first !== undefined)
  const root = await rig.metadata.db
    .selectFrom('root')
    .select('repository_id')
    .where('manifest_id', '=', first.manifestId)
    .executeTakeFirstOrThrow()
  const pin = {
    organization_id: organization.id,
    repository_id: root.repository_id,
    kind: 'tag',
    created_at: 1,
  } as const
  await rig.metadata.db
    .insertInto('pin')
    .values({ ...pin, reference: 'a' })
    .execute()
  await rig.metadata.transaction((tx) => refreshRoots(tx, [first.manifestId]))
  await rig.image(organization, 'young', { layers: [randomBytes(10_000)], isReserved: true })
  await setLimit(rig, organization, 1)
  await rig.shrinker.shrink(organization.id)
  assert.deepEqual(await tagsOf(rig), ['a', 'young'])
  await rig.shrinker.shrink(organization.id)
  assert.deepEqual(
    rig.reports.filter(({ event }) => event === 'over_limit').map(({ fields }) => fields['organizationId']),
    [organization.id],
  )
  await rig.pass(MINUTE_MS)
  await rig.shrinker.shrinkAll()
  assert.deepEqual(await tagsOf(rig), ['a'])
})

test('who lowers the limit again while it shrinks is served, and others are left alone', async (t) => {
  const rig = await CollectionRig.open(t)
  const { organization } = await fill(rig)
  const other = await rig.organization()
  await rig.image(other, 'theirs', { layers: [randomBytes(50_000)] })
  const id = await setLimit(rig, organization, 35_000)
  let isLowered = false
  const again: Promise<void>[] = []
  rig.onPause = async () => {
    if (isLowered) return
    isLowered = true
    await updateQuota(rig.metadata.db, { organizationId: organization.id, id, limitBytes: 15_000 })
    again.push(rig.shrinker.shrink(organization.id))
  }
  await rig.shrinker.shrink(organization.id)
  await Promise.all(again)
  assert.deepEqual(await tagsOf(rig), ['c', 'theirs'])
  await rig.charge(organization)
})
