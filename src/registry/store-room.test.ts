import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GiB, MiB } from '../base/units.ts'
import type { BlobStore } from '../blobs/blob-store.ts'
import { StoreRoom } from './store-room.ts'

function open(totalBytes: number, minimumFreeBytes?: number) {
  const disk = { freeBytes: totalBytes, fails: false }
  const capacity = async () => {
    if (disk.fails) throw new Error('EIO')
    return { freeBytes: disk.freeBytes, totalBytes }
  }
  const events: string[] = []
  const room = new StoreRoom({ capacity } as unknown as BlobStore, minimumFreeBytes, (event) => void events.push(event))
  return { disk, room, events }
}

test('by default a twentieth of the disk stays free, and at least a gibibyte', async () => {
  const large = open(100 * GiB)
  large.disk.freeBytes = 5 * GiB
  assert.equal(await large.room.hasRoomFor(0), true)
  assert.equal(await large.room.hasRoomFor(1), false)
  const small = open(2 * GiB)
  small.disk.freeBytes = GiB - 1
  assert.equal(await small.room.hasRoomFor(0), false)
})

test('what is nearly full is said once, and again when there is room', async () => {
  const { disk, room, events } = open(GiB, 10 * MiB)
  disk.freeBytes = 10 * MiB - 1
  await room.hasRoomFor(0)
  await room.hasRoomFor(0)
  assert.equal(room.hasRoom, false)
  disk.freeBytes = 20 * MiB
  assert.equal(await room.hasRoomFor(MiB), true)
  assert.deepEqual(events, ['store_nearly_full', 'store_has_room_again'])
})

test('one blob that is too large does not make the store full for others', async () => {
  const { disk, room } = open(GiB, 10 * MiB)
  disk.freeBytes = 20 * MiB
  assert.equal(await room.hasRoomFor(11 * MiB), false)
  assert.equal(room.hasRoom, true)
})

test('a store that cannot tell is treated as full', async () => {
  const { disk, room } = open(GiB, 0)
  disk.fails = true
  assert.equal(await room.hasRoomFor(0), false)
  assert.equal(room.hasRoom, false)
})
