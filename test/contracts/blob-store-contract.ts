/** What every blob store must do. An implementation's test file hands in how to make one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../src/base/clock.ts'
import { HOUR_MS } from '../../src/base/units.ts'
import type { BlobDraft, BlobReader, BlobStore, ListedBlob } from '../../src/blobs/blob-store.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'

export type MadeBlobStore = {
  store: BlobStore
  /** Names of drafts and other temporary things that are left; the suite fails when there are any. */
  leftovers(): Promise<string[]>
  /** Remove everything. */
  remove(): Promise<void>
}

export function blobStoreContract(name: string, make: () => Promise<MadeBlobStore>): void {
  function contract(title: string, check: (store: BlobStore) => Promise<void>): void {
    test(`${name}: ${title}`, async () => {
      const made = await make()
      try {
        await check(made.store)
        assert.deepEqual(await made.leftovers(), [], 'something is left behind')
      } finally {
        await made.remove()
      }
    })
  }

  contract('what was published is found, listed and read back', async (store) => {
    const bytes = Buffer.from('some bytes of a layer')
    for (const algorithm of ['sha256', 'sha512'] as const) {
      const digest = await publish(store, bytes, algorithm)
      assert.deepEqual(await store.find(digest), { digest, sizeBytes: bytes.byteLength })
      const reader = await openOf(store, digest)
      assert.equal(reader.sizeBytes, bytes.byteLength)
      assert.deepEqual(await readAll(reader), bytes)
      await reader.close()
    }
    const listed = (await listAll(store)).map((blob) => blob.digest).sort()
    assert.deepEqual(listed, [digestOf(bytes), digestOf(bytes, 'sha512')].sort())
  })

  contract('a list is in the order of digests, says how old each is, and goes on behind any of them', async (store) => {
    for (const text of ['one', 'two', 'three', 'four']) await publish(store, Buffer.from(text))
    await publish(store, Buffer.from('five'), 'sha512')
    const all = await listAll(store)
    const digests = all.map((blob) => blob.digest)
    assert.equal(digests.length, 5)
    assert.deepEqual(digests, digests.toSorted())
    for (const blob of all) assert.ok(Math.abs(blob.modifiedAtMs - systemClock()) < HOUR_MS)
    for (const [position, digest] of digests.entries()) {
      const rest = (await listAll(store, digest)).map((blob) => blob.digest)
      assert.deepEqual(rest, digests.slice(position + 1))
    }
  })

  contract('a blob nobody published is not there', async (store) => {
    const digest = digestOf(Buffer.from('absent'))
    assert.equal(await store.find(digest), undefined)
    assert.equal(await store.open(digest), undefined)
    assert.equal(await store.delete(digest), false)
    assert.deepEqual(await listAll(store), [])
  })

  contract('an empty blob is a blob', async (store) => {
    const digest = await publish(store, Buffer.alloc(0))
    assert.deepEqual(await store.find(digest), { digest, sizeBytes: 0 })
  })

  contract('blocks written in any order stand at their positions, readable before publication', async (store) => {
    const draft = await store.create()
    await draft.write(Buffer.from('world'), 6)
    await draft.write(Buffer.from('hello '), 0)
    assert.deepEqual(await readAll(draft), Buffer.from('hello world'))
    assert.deepEqual(await listAll(store), [], 'a draft is nobody else’s to see')
    const digest = digestOf(Buffer.from('hello world'))
    assert.equal(await store.find(digest), undefined)
    await draft.publish(digest)
    assert.deepEqual(await readAll(draft), Buffer.from('hello world'), 'reading goes on after publication')
    await draft.discard()
    await draft.close()
    await draft.close()
    assert.notEqual(await store.find(digest), undefined, 'discarding what was published removes nothing')
  })

  contract('publishing what is there already is no error and keeps one copy', async (store) => {
    const bytes = Buffer.from('twice')
    const digest = await publish(store, bytes)
    await publish(store, bytes)
    assert.equal((await listAll(store)).length, 1)
    const reader = await openOf(store, digest)
    assert.deepEqual(await readAll(reader), bytes)
    await reader.close()
  })

  contract('two that publish the same digest at once both succeed', async (store) => {
    const bytes = Buffer.from('raced')
    await Promise.all([publish(store, bytes), publish(store, bytes), publish(store, bytes)])
    assert.deepEqual(await store.find(digestOf(bytes)), { digest: digestOf(bytes), sizeBytes: 5 })
  })

  contract('a discarded draft leaves nothing, and can be read until it is closed', async (store) => {
    const draft = await store.create()
    await draft.write(Buffer.from('unwanted'), 0)
    await draft.discard()
    await draft.discard()
    assert.deepEqual(await readAll(draft), Buffer.from('unwanted'))
    await assert.rejects(draft.write(Buffer.from('more'), 8))
    await assert.rejects(draft.publish(digestOf(Buffer.from('unwanted'))))
    await draft.close()
    assert.deepEqual(await listAll(store), [])
  })

  contract('a deleted blob is gone, yet stays whole for whoever is reading it', async (store) => {
    const digest = await publish(store, Buffer.from('being read'))
    const reader = await openOf(store, digest)
    assert.equal(await store.delete(digest), true)
    assert.equal(await store.find(digest), undefined)
    assert.deepEqual(await readAll(reader), Buffer.from('being read'))
    await reader.close()
  })

  contract('a fingerprint stays with the bytes and changes with a new copy', async (store) => {
    const digest = await publish(store, Buffer.from('fingerprinted'))
    const first = await fingerprintOf(store, digest)
    assert.equal(await fingerprintOf(store, digest), first)
    await store.delete(digest)
    await publish(store, Buffer.from('fingerprinted'))
    assert.notEqual(await fingerprintOf(store, digest), first)
  })

  contract('reading stops at the end', async (store) => {
    const digest = await publish(store, Buffer.from('0123456789'))
    const reader = await openOf(store, digest)
    const buffer = Buffer.alloc(8)
    assert.equal(await reader.read(buffer, 6), 4)
    assert.equal(buffer.toString('latin1', 0, 4), '6789')
    assert.equal(await reader.read(buffer, 10), 0)
    await reader.close()
  })

  contract('the sweep leaves the drafts of living leases alone', async (store) => {
    const draft = await store.create()
    assert.equal(await store.sweep(() => false), 0)
    assert.equal(await store.sweep(() => true), 0, 'one’s own lease is alive')
    await draft.write(Buffer.from('kept'), 0)
    await draft.publish(digestOf(Buffer.from('kept')))
    await draft.close()
  })

  contract('a known capacity is a plausible one', async (store) => {
    const capacity = await store.capacity()
    if (capacity === undefined) return
    assert.ok(capacity.freeBytes >= 0 && capacity.freeBytes <= capacity.totalBytes)
  })
}

export async function listAll(store: BlobStore, after?: string): Promise<ListedBlob[]> {
  const blobs: ListedBlob[] = []
  for await (const blob of store.list(after)) blobs.push(blob)
  return blobs
}

async function publish(store: BlobStore, bytes: Buffer, algorithm: 'sha256' | 'sha512' = 'sha256'): Promise<Digest> {
  const digest = digestOf(bytes, algorithm)
  const draft = await store.create()
  await draft.write(bytes, 0)
  await draft.publish(digest)
  await draft.close()
  return digest
}

async function openOf(store: BlobStore, digest: Digest): Promise<BlobReader> {
  const reader = await store.open(digest)
  assert.ok(reader !== undefined)
  return reader
}

async function fingerprintOf(store: BlobStore, digest: Digest): Promise<string> {
  const reader = await openOf(store, digest)
  await reader.close()
  return reader.fingerprint
}

async function readAll(source: BlobReader | BlobDraft): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (let position = 0; ; ) {
    const buffer = Buffer.alloc(4)
    const length = await source.read(buffer, position)
    if (length === 0) return Buffer.concat(chunks)
    chunks.push(buffer.subarray(0, length))
    position += length
  }
}
