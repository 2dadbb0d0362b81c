import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { CollectionRig } from '../../test/fakes/collection-rig.ts'
import { GiB, MINUTE_MS, MiB } from '../base/units.ts'
import type { BlobStore } from '../blobs/blob-store.ts'
import { digestOf } from '../oci/digest.ts'
import { StoreRoom } from './store-room.ts'
import { StoreSpace } from './store-space.ts'

/** A store that holds two images, on a disk with so many bytes left of which a gibibyte is to stay free. */
async function openFull(t: TestContext, freeBytes: number, storageLimitBytes?: number) {
  const rig = await CollectionRig.open(t)
  const organization = await rig.organization()
  for (const tag of ['old', 'new']) {
    await rig.image(organization, tag)
    rig.nowMs += MINUTE_MS
  }
  const disk = { freeBytes }
  const capacity = async () => ({ freeBytes: disk.freeBytes, totalBytes: 100 * GiB })
  const room = new StoreRoom({ capacity } as unknown as BlobStore, GiB, rig.report)
  const { metadata, memory, shelf, transfers, uses } = rig
  const evicted: string[] = []
  const space = new StoreSpace({
    ...{ metadata, memory, shelf, transfers, uses, room, storageLimitBytes },
    clock: () => rig.nowMs,
    onEvicted: (removal) => {
      evicted.push(...removal.roots.flatMap((root) => root.tags))
      disk.freeBytes += removal.freedBytes
    },
  })
  const wanted = (sizeBytes: number) => [{ kind: 'blob' as const, digest: digestOf(Buffer.from('wanted')), sizeBytes }]
  const hasRoomFor = (sizeBytes: number) => space.hasRoomFor(organization.id, wanted(sizeBytes))
  return { evicted, hasRoomFor }
}

test('what is least recently used goes until there is room on the disk', async (t) => {
  const { evicted, hasRoomFor } = await openFull(t, GiB)
  assert.equal(await hasRoomFor(1), true)
  assert.deepEqual(evicted, ['old'])
})

test('nothing goes when something else fills the disk', async (t) => {
  const { evicted, hasRoomFor } = await openFull(t, GiB - MiB)
  assert.equal(await hasRoomFor(1), false)
  assert.deepEqual(evicted, [])
})

test('nothing goes for what is larger than the whole store may be', async (t) => {
  const { evicted, hasRoomFor } = await openFull(t, 50 * GiB, 1000)
  assert.equal(await hasRoomFor(GiB), false)
  assert.deepEqual(evicted, [])
})
