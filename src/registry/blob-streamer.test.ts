import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Collector } from '../../test/fakes/blob-rig.ts'
import { pseudoRandomBytes } from '../../test/fakes/pseudo-random.ts'
import type { BlobReader } from '../blobs/blob-store.ts'
import { digestOf } from '../oci/digest.ts'
import { nextVerifiedRead, streamBlob, streamBlobVerifying, streamBufferBytes } from './blob-streamer.ts'
import { INGEST_LIMITS } from './ingest-limits.ts'

const HELD_BACK = INGEST_LIMITS.heldBackBytes

/** A file that gives at most `readMax` bytes at a time. */
function readerOf(bytes: Buffer, readMax = Number.POSITIVE_INFINITY): BlobReader {
  return {
    sizeBytes: bytes.byteLength,
    fingerprint: 'x',
    read: async (buffer, position) => bytes.copy(buffer, 0, position, position + Math.min(readMax, buffer.byteLength)),
    close: async () => {},
  }
}

test('the last read holds all that is held back, whatever the size', () => {
  for (let size = 1; size < 3 * streamBufferBytes; size += 7919) {
    let last = 0
    for (let left = size; left > 0; left -= last) {
      last = nextVerifiedRead(left, Math.min(size, streamBufferBytes))
      assert.ok(last > 0 && last <= left && last <= streamBufferBytes)
    }
    assert.ok(last >= Math.min(size, HELD_BACK), `${size}: ${last}`)
  }
})

test('short reads are put together, and sizes are exact', async () => {
  const bytes = pseudoRandomBytes('streamed', 3 * streamBufferBytes + 17)
  for (const readMax of [99_991, Number.POSITIVE_INFINITY]) {
    const [plain, verified] = [new Collector(), new Collector()]
    assert.equal(await streamBlob(readerOf(bytes, readMax), 5, bytes.byteLength - 5, plain), true)
    assert.ok(plain.bytes().equals(bytes.subarray(5, -5)))
    assert.equal(await streamBlobVerifying(readerOf(bytes, readMax), digestOf(bytes), verified), true)
    assert.ok(verified.bytes().equals(bytes))
  }
})

test('wrong bytes are found before the last 64 KiB are sent', async () => {
  for (const size of [0, 1, HELD_BACK, streamBufferBytes, streamBufferBytes + 1, streamBufferBytes + HELD_BACK]) {
    const sink = new Collector()
    const wrong = digestOf(Buffer.from('something else'))
    await assert.rejects(streamBlobVerifying(readerOf(Buffer.alloc(size)), wrong, sink), /do not match/)
    assert.ok(sink.length <= Math.max(0, size - HELD_BACK), `${size}: ${sink.length}`)
  }
})

test('a file that became shorter is damaged, and a client that has gone is not', async () => {
  const reader = readerOf(Buffer.alloc(10))
  await assert.rejects(streamBlob(reader, 0, 11, new Collector()), /shorter/)
  const gone = new Collector()
  gone.isGone = true
  assert.equal(await streamBlob(readerOf(Buffer.alloc(10)), 0, 10, gone), false)
})
