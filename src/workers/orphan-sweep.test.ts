import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { CollectionRig } from '../../test/fakes/collection-rig.ts'
import { DAY_MS, HOUR_MS } from '../base/units.ts'
import { blobPath } from '../blobs/layout.ts'
import { digestOf } from '../oci/digest.ts'
import { OrphanSweep, SWEEP_LIMITS } from './orphan-sweep.ts'

const noPause = () => Promise.resolve()

function sweepOf(rig: CollectionRig): OrphanSweep {
  const { metadata, store, shelf, report } = rig
  return new OrphanSweep({ metadata, store, shelf, realClock: () => rig.realMs, report })
}

test('a file that no row names goes after a day; young and foreign ones, drafts and what rows name stay', async (t) => {
  const rig = await CollectionRig.open(t)
  const image = await rig.image(await rig.organization(), 'v1')
  for (const layer of image.layers) await rig.putFile(layer, 9 * DAY_MS)
  const old = await rig.putFile(randomBytes(9), DAY_MS)
  const young = await rig.putFile(randomBytes(9), 23 * HOUR_MS)
  const garbage = await rig.putFile(randomBytes(9), 2 * DAY_MS)
  await rig.metadata.db.insertInto('garbage').values({ digest: garbage, size_bytes: 9, created_at: 1 }).execute()
  await writeFile(join(rig.folder, 'blobs', 'sha256', 'README'), 'not ours')
  const draft = await rig.store.create()
  await draft.write(randomBytes(9), 0)
  assert.equal(await sweepOf(rig).run(noPause), 1)
  assert.equal(await rig.store.find(old), undefined)
  assert.notEqual(await rig.store.find(young), undefined)
  assert.notEqual(await rig.store.find(garbage), undefined, 'it goes with its row')
  for (const layer of image.layers) assert.equal(await rig.isInStore(layer), true)
  await draft.publish(digestOf(randomBytes(1)))
  await draft.close()
})

test('the store is walked once a day', async (t) => {
  const rig = await CollectionRig.open(t)
  const sweep = sweepOf(rig)
  await sweep.run(noPause)
  const late = await rig.putFile(randomBytes(9), 2 * DAY_MS)
  assert.equal(await sweepOf(rig).run(noPause), 0, 'also after a restart')
  rig.realMs += DAY_MS
  assert.equal(await sweep.run(noPause), 1)
  assert.equal(await rig.store.find(late), undefined)
})

test('a walk goes on where it was, also after a restart', async (t) => {
  const rig = await CollectionRig.open(t)
  const files = SWEEP_LIMITS.blobsPerStep * 2 + 7
  for (let file = 0; file < files; file++) await rig.putFile(randomBytes(9), 2 * DAY_MS)
  let steps = 0
  const crash = () => {
    steps += 1
    throw new Error('crashed')
  }
  await assert.rejects(sweepOf(rig).run(crash as () => never), /crashed/)
  let left = 0
  for await (const _ of rig.store.list()) left += 1
  assert.equal(left, files - SWEEP_LIMITS.blobsPerStep)
  assert.equal(await sweepOf(rig).run(noPause), left)
  assert.equal(steps, 1)
})

test('an orphan that is published while it is being removed stays', async (t) => {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  for (let turn = 0; turn < 10; turn++) {
    const layer = randomBytes(64)
    await rig.putFile(layer, 2 * DAY_MS)
    await rig.image(organization, `v${turn}`, { layers: [layer], isReserved: true })
    const work = [() => rig.publish(organization, layer), () => rig.shelf.removeOrphan(digestOf(layer))]
    if (turn % 2 === 1) work.reverse()
    await Promise.all(work.map((begin) => begin()))
    assert.equal(await rig.isInStore(layer), true)
  }
  assert.equal(await rig.count('blob'), 10)
})

test('a row whose file is missing is reported and left to verify', async (t) => {
  const rig = await CollectionRig.open(t)
  const image = await rig.image(await rig.organization(), 'v1')
  const lost = digestOf(image.layers[0] ?? Buffer.alloc(0))
  await rm(blobPath(join(rig.folder, 'blobs'), lost))
  await sweepOf(rig).run(noPause)
  assert.deepEqual(
    rig.reports.map(({ event, fields }) => [event, fields['count'], fields['digests']]),
    [['blobs_missing', 1, [lost]]],
  )
  assert.equal(await rig.count('blob'), 2)
})
