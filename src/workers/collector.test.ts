import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { CollectionRig } from '../../test/fakes/collection-rig.ts'
import { skipWithoutPostgres, startPostgres } from '../../test/real/postgres.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../base/units.ts'
import { countBacklog } from '../metadata/collection-backlog.ts'
import { acquireLease } from '../metadata/leases.ts'
import { listLogEntries } from '../metadata/log-entries.ts'
import { createQuota } from '../metadata/quotas.ts'
import { digestOf } from '../oci/digest.ts'
import { EXPIRY_LIMITS } from './expired-content.ts'

const WINDOW_S = (2 * DAY_MS) / 1000

test('an image is collected, rows and bytes, when its window has passed and not before', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization({ windowSeconds: WINDOW_S })
  const image = await rig.image(organization, 'v1')
  const collector = rig.collector()
  await rig.pass(3 * DAY_MS - 1)
  await collector.run()
  assert.equal(await rig.count('root'), 1, 'it is kept until the last millisecond of the window')
  assert.equal(await rig.charge(organization), image.bytes)
  await rig.pass(1)
  await collector.run()
  for (const table of ['root', 'manifest', 'manifest_blob', 'tag', 'ledger', 'blob', 'garbage'] as const) {
    assert.equal(await rig.count(table), 0, table)
  }
  assert.equal(await rig.charge(organization), 0)
  for (const layer of image.layers) assert.equal(await rig.isInStore(layer), false)
  const [entry] = await listLogEntries(rig.metadata.db, organization.id, { limit: 10 })
  assert.equal(entry?.kind, 'expire_image')
  assert.equal(entry?.metadata['freed_bytes'], image.bytes)
  assert.match(JSON.stringify(entry?.metadata), /"tags":\["v1"\]/)
})

test('a window of no seconds collects at once; what lives and what is shared stays', async (t) => {
  const rig = await CollectionRig.open(t)
  const [organization, other] = [await rig.organization(), await rig.organization()]
  const [shared, own] = [randomBytes(50), randomBytes(60)]
  await rig.image(organization, 'short', { layers: [shared, own], expiresInMs: HOUR_MS })
  await rig.image(organization, 'long', { layers: [shared] })
  await rig.image(other, 'theirs', { layers: [own] })
  await rig.pass(HOUR_MS)
  await rig.collector().run()
  assert.equal(await rig.count('root'), 2)
  assert.equal(await rig.isInStore(shared), true)
  assert.equal(await rig.isInStore(own), true, 'the other organization holds it')
  await rig.charge(organization)
  await rig.pass(DAY_MS)
  await rig.collector().run()
  assert.equal(await rig.count('blob'), 0)
  assert.equal(await rig.isInStore(own), false)
})

test('FEATURE_GARBAGE_COLLECTION off keeps what is expired', async (t) => {
  const rig = await CollectionRig.open(t)
  await rig.image(await rig.organization(), 'v1')
  await rig.pass(2 * DAY_MS)
  await rig.collector('one', { collectsExpired: false }).run()
  assert.equal(await rig.count('root'), 1)
})

test('an image of which something is being received or expected is not collected', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  const received = await rig.image(organization, 'received', { expiresInMs: MINUTE_MS })
  await rig.image(organization, 'expected', { isReserved: true, expiresInMs: MINUTE_MS })
  const layer = digestOf(received.layers[0] ?? Buffer.alloc(0))
  const { repository_id: repositoryId } = await rig.metadata.db
    .selectFrom('root')
    .select('repository_id')
    .executeTakeFirstOrThrow()
  const end = rig.transfers.begin({ organizationId: organization.id, repositoryId, digest: layer })
  await rig.pass(2 * MINUTE_MS)
  await rig.collector().run()
  assert.equal(await rig.count('root'), 2)
  end()
  await rig.collector().run()
  assert.equal(await rig.count('root'), 1)
  await rig.pass(15 * MINUTE_MS)
  await rig.collector().run()
  assert.equal(await rig.count('root'), 0, 'its reservation was idle')
  assert.equal(rig.counted.reservations, 1)
  assert.equal(await rig.charge(organization), 0)
})

test('an idle reservation of an image that lives releases its bytes, and nothing else', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  const layers = [randomBytes(1000)]
  const image = await rig.image(organization, 'v1', { layers, isReserved: true })
  assert.equal(await rig.charge(organization), image.bytes)
  await rig.pass(15 * MINUTE_MS)
  await rig.collector().run()
  assert.equal(await rig.charge(organization), image.bytes, 'fifteen minutes have not passed altogether')
  await rig.pass(1)
  await rig.collector().run()
  assert.equal(await rig.charge(organization), image.bytes - 1000)
  assert.equal(await rig.count('root'), 1)
  assert.equal(await rig.count('reservation'), 0)
})

test('history older than the window goes while its image lives on, and records of evictions with it', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization({ windowSeconds: WINDOW_S })
  const layers = [randomBytes(10)]
  await rig.image(organization, 'v1', { layers, expiresInMs: 100 * DAY_MS })
  const { id } = await rig.metadata.db.selectFrom('tag').select('id').executeTakeFirstOrThrow()
  const { repository_id: repositoryId, digest } = await rig.metadata.db
    .selectFrom('tag')
    .select(['repository_id', 'digest'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow()
  const old = { organization_id: organization.id, repository_id: repositoryId, started_at: 1, confirmed_at: 1 }
  const rest = { last_used_at: 1, expires_at: null, is_expiry_set: 0, is_restored: 0, ended_at: rig.nowMs } as const
  await rig.metadata.db
    .insertInto('tag')
    .values([
      { ...old, ...rest, name: 'former', digest, evicted_at: null },
      { ...old, ...rest, name: 'evicted', digest: digestOf(randomBytes(8)), evicted_at: rig.nowMs },
    ])
    .execute()
  await rig.pass(2 * DAY_MS - 1)
  await rig.collector().run()
  assert.equal(await rig.count('tag'), 3)
  await rig.pass(1)
  await rig.collector().run()
  assert.equal(await rig.count('tag'), 1)
  assert.equal(await rig.count('root'), 1)
  assert.equal(rig.counted.history, 2)
})

test('a clock that jumps holds the expired, but not garbage, for an hour', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  await rig.image(organization, 'v1')
  const collector = rig.collector()
  await rig.guard.tick()
  const stray = await rig.putFile(randomBytes(9), HOUR_MS)
  await rig.metadata.db.insertInto('garbage').values({ digest: stray, size_bytes: 9, created_at: 1 }).execute()
  rig.nowMs += 3 * DAY_MS
  await collector.run()
  assert.equal(await rig.count('root'), 1)
  assert.equal(await rig.count('garbage'), 0)
  assert.equal(await rig.store.find(stray), undefined)
  assert.equal(rig.reports.filter(({ event }) => event === 'collection_held').length, 1)
  await rig.pass(HOUR_MS)
  await collector.run()
  assert.equal(await rig.count('root'), 0)
})

test('a crash between the commit and the unlink leaves garbage, which the next run removes', async (t) => {
  const rig = await CollectionRig.open(t)
  const image = await rig.image(await rig.organization(), 'v1')
  await rig.pass(2 * DAY_MS)
  rig.diesAfterCommit = true
  rig.store.failDelete = true
  await rig.collector('dead').run()
  assert.equal(await rig.count('blob'), 0)
  assert.equal(await rig.count('garbage'), 2)
  for (const layer of image.layers) assert.equal(await rig.isInStore(layer), true)
  rig.store.failDelete = false
  await rig.collector('alive').run()
  assert.equal(await rig.count('garbage'), 0)
  for (const layer of image.layers) assert.equal(await rig.isInStore(layer), false)
})

test('bytes that are published again are never removed, however publishing and removing meet', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  for (let turn = 0; turn < 20; turn++) {
    const layers = [randomBytes(64)]
    const layer = layers[0] ?? Buffer.alloc(0)
    await rig.image(organization, `old${turn}`, { layers, expiresInMs: 1 })
    await rig.pass(1)
    rig.diesAfterCommit = true
    rig.store.failDelete = true
    await rig.collector().run()
    rig.store.failDelete = false
    assert.equal(await rig.count('garbage'), 1)
    await rig.image(organization, `new${turn}`, { layers, isReserved: true })
    const digests = [digestOf(layer)]
    const work = [
      () => rig.publish(organization, layer),
      () => rig.shelf.collect(digests),
      () => rig.shelf.collect(digests),
    ]
    if (turn % 2 === 1) work.reverse()
    await Promise.all(work.map((begin) => begin()))
    assert.equal(await rig.isInStore(layer), true)
    assert.equal(await rig.count('garbage'), 0)
  }
  assert.equal(await rig.count('blob'), 20)
})

test('a big backlog is done in bounded steps, between which others have their turn', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  for (let image = 0; image < 60; image++) await rig.image(organization, `v${image}`, { expiresInMs: MINUTE_MS })
  const lives = await rig.image(organization, 'lives')
  await rig.pass(2 * MINUTE_MS)
  let pauses = 0
  rig.onPause = () => {
    pauses += 1
  }
  await rig.collector().run()
  assert.equal(rig.removals.flatMap((removal) => removal.roots).length, 60)
  assert.ok(rig.removals.length > 1)
  assert.ok(pauses >= rig.removals.length)
  for (const removal of rig.removals) {
    const rows = removal.roots.length + removal.manifests.length + removal.blobs.length
    assert.ok(rows < EXPIRY_LIMITS.rowsPerStep + 10, `${rows} rows in one transaction`)
  }
  assert.equal(await rig.charge(organization), lives.bytes)
})

test('an image that is pulled while others are collected is not collected with them', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  for (let image = 0; image < 60; image++) await rig.image(organization, `v${image}`, { expiresInMs: 1000 + image })
  await rig.pass(MINUTE_MS)
  let isPulled = false
  rig.onPause = async () => {
    if (isPulled) return
    isPulled = true
    // What a revalidated pull writes.
    const expiresAt = rig.nowMs + DAY_MS
    await rig.metadata.db.updateTable('tag').set({ expires_at: expiresAt }).where('name', '=', 'v59').execute()
    await rig.metadata.db
      .updateTable('root')
      .set({ expires_at: expiresAt })
      .where('expires_at', '=', (eb) =>
        eb.selectFrom('root as latest').select((of) => of.fn.max('latest.expires_at').as('at')),
      )
      .execute()
  }
  await rig.collector().run()
  assert.equal(isPulled, true)
  assert.equal(await rig.count('root'), 1)
})

test('of several collectors one does it, and takes over when the other has ended', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  for (let image = 0; image < 20; image++) await rig.image(organization, `v${image}`, { expiresInMs: 1 })
  await rig.pass(MINUTE_MS)
  await Promise.all(['one', 'two', 'three'].map((leaseId) => rig.collector(leaseId).run()))
  assert.equal(rig.counted.done + rig.counted.elsewhere, 3)
  assert.ok(rig.counted.done >= 1)
  assert.equal(rig.counted.failed, 0)
  assert.equal(await rig.count('root'), 0)
  const held = { name: 'collector', leaseId: 'gone', holder: 'gone', nowMs: rig.realMs, staleAfterMs: MINUTE_MS }
  assert.equal((await acquireLease(rig.metadata.db, held)).acquired, true)
  await rig.image(organization, 'last', { expiresInMs: 1 })
  await rig.pass(MINUTE_MS)
  await rig.collector('four').run()
  assert.equal(await rig.count('root'), 1, 'another process holds the lease')
  rig.realMs += MINUTE_MS
  await rig.collector('four').run()
  assert.equal(await rig.count('root'), 0)
})

test('whoever asks during a run is served by the next', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  await rig.image(organization, 'first', { expiresInMs: 1 })
  await rig.pass(MINUTE_MS)
  const collector = rig.collector()
  const asked: Promise<void>[] = []
  rig.onPause = async () => {
    if (asked.length > 0) return
    asked.push(collector.run(), collector.run())
  }
  await collector.run()
  await rig.image(organization, 'second', { expiresInMs: 1 })
  await Promise.all(asked)
  assert.equal(rig.counted.done, 2, 'those who ask together share one run')
})

test('a collector that is stopped ends after its step, and never runs again', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  for (let image = 0; image < 60; image++) await rig.image(organization, `v${image}`, { expiresInMs: 1 })
  await rig.pass(MINUTE_MS)
  const collector = rig.collector()
  rig.onPause = () => {
    void collector.stop()
    throw new Error('aborted')
  }
  await collector.run()
  await collector.stop()
  const left = await rig.count('root')
  assert.ok(left > 0 && left < 60)
  await collector.run()
  assert.equal(await rig.count('root'), left)
  assert.deepEqual(
    rig.reports.filter(({ event }) => event === 'collection_failed'),
    [],
  )
})

test('a store that fails is told, keeps its garbage and stops nothing else', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  await rig.image(organization, 'v1', { expiresInMs: 1 })
  await rig.pass(MINUTE_MS)
  rig.store.failDelete = true
  await rig.collector().run()
  assert.equal(rig.counted.done, 1)
  assert.equal(await rig.count('garbage'), 2)
  assert.ok(rig.reports.some(({ event }) => event === 'store_failed'))
  assert.equal(await rig.charge(organization), 0)
})

test('PostgreSQL collects, forgets history and shrinks as SQLite does', { skip: skipWithoutPostgres() }, async (t) => {
  const postgres = await startPostgres()
  t.after(() => postgres.stop())
  const rig = await CollectionRig.open(t, await postgres.createDatabase())
  const organization = await rig.organization({ windowSeconds: WINDOW_S })
  await rig.image(organization, 'dead', { expiresInMs: 1 })
  await rig.image(organization, 'reserved', { isReserved: true, expiresInMs: 5 * DAY_MS })
  const lives = await rig.image(organization, 'lives', { layers: [randomBytes(5000)], expiresInMs: 9 * DAY_MS })
  await rig.image(organization, 'lives', { layers: [randomBytes(1000)], expiresInMs: 9 * DAY_MS })
  await rig.pass(2 * DAY_MS - 1)
  await rig.collector().run()
  assert.deepEqual(await countBacklog(rig.metadata.db, rig.nowMs + 2, 10), {
    expiredRoots: 2,
    garbageBytes: 0,
    openReservations: 0,
  })
  await rig.pass(2)
  await rig.collector().run()
  assert.equal(await rig.count('root'), 2, 'the former image of the tag went with the dead one')
  assert.equal(await rig.isInStore(lives.layers[0] ?? Buffer.alloc(0)), false)
  const quota = { organizationId: organization.id, limitBytes: 1400, nowMs: rig.nowMs }
  await createQuota(rig.metadata.db, quota)
  await rig.collector().run()
  assert.ok((await rig.charge(organization)) <= 1400)
  assert.equal(rig.evictions.length, 1)
  assert.equal(rig.counted.failed, 0)
  assert.deepEqual(
    rig.reports.filter(({ event }) => event !== 'blobs_removed'),
    [],
  )
})
