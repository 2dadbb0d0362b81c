import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { blobStoreContract, listAll } from '../../test/contracts/blob-store-contract.ts'
import { digestOf } from '../oci/digest.ts'
import type { PublishStep } from './file-blob-draft.ts'
import { openFileBlobStore } from './file-blob-store.ts'
import { blobPath } from './layout.ts'

blobStoreContract('file store', async () => {
  const data = await mkdtemp(join(tmpdir(), 'blobs-'))
  const folder = join(data, 'blobs')
  return {
    store: await openFileBlobStore({ folder, leaseId: 'lease-1' }),
    leftovers: () => readdir(join(folder, 'ingest')),
    remove: () => rm(data, { recursive: true }),
  }
})

async function makeFolder(t: TestContext): Promise<string> {
  const data = await mkdtemp(join(tmpdir(), 'blobs-'))
  t.after(() => rm(data, { recursive: true }))
  return join(data, 'blobs')
}

const BYTES = Buffer.from('bytes that must survive')
const DIGEST = digestOf(BYTES)

for (const last of ['synced', 'folder_made', 'renamed', 'folder_synced'] as const satisfies PublishStep[]) {
  test(`a process killed after "${last}" leaves the whole blob or none, and the next one publishes it`, async (t) => {
    const folder = await makeFolder(t)
    const stopped = Promise.withResolvers<void>()
    const dying = await openFileBlobStore({
      folder,
      leaseId: 'dead',
      afterPublishStep: (step) => {
        if (step !== last) return Promise.resolve()
        stopped.resolve()
        return new Promise(() => {}) // Never goes on: what the files say now is what a kill leaves.
      },
    })
    const draft = await dying.create()
    t.after(() => draft.close())
    await draft.write(BYTES, 0)
    void draft.publish(DIGEST)
    await stopped.promise

    const store = await openFileBlobStore({ folder, leaseId: 'alive' })
    const isThere = last === 'renamed' || last === 'folder_synced'
    assert.deepEqual(await store.find(DIGEST), isThere ? { digest: DIGEST, sizeBytes: BYTES.byteLength } : undefined)
    assert.equal(await store.sweep((leaseId) => leaseId === 'dead'), isThere ? 0 : 1)
    assert.deepEqual(await readdir(join(folder, 'ingest')), [])

    const again = await store.create()
    await again.write(BYTES, 0)
    await again.publish(DIGEST)
    await again.close()
    assert.deepEqual(await readFile(blobPath(folder, DIGEST)), BYTES)
  })
}

test('a sweep removes drafts of ended leases and nothing else', async (t) => {
  const folder = await makeFolder(t)
  const ended = await openFileBlobStore({ folder, leaseId: 'ended-lease' })
  const living = await openFileBlobStore({ folder, leaseId: 'living-lease' })
  for (const draft of [await ended.create(), await ended.create(), await living.create()]) await draft.close()
  await writeFile(join(folder, 'ingest', 'not a draft'), '')
  const store = await openFileBlobStore({ folder, leaseId: 'third' })
  assert.equal(await store.sweep((leaseId) => leaseId === 'ended-lease'), 2)
  const left = await readdir(join(folder, 'ingest'))
  assert.equal(left.length, 2)
  assert.ok(left.includes('not a draft'))
})

test('files are for their owner alone, and the folder says what it is', async (t) => {
  const folder = await makeFolder(t)
  const store = await openFileBlobStore({ folder, leaseId: 'a' })
  const draft = await store.create()
  await draft.write(BYTES, 0)
  await draft.publish(DIGEST)
  await draft.close()
  assert.equal((await stat(blobPath(folder, DIGEST))).mode & 0o777, 0o600)
  assert.equal((await stat(folder)).mode & 0o777, 0o700)
  assert.equal(await readFile(join(folder, 'VERSION'), 'utf8'), '1\n')
  assert.match(await readFile(join(folder, 'CACHEDIR.TAG'), 'utf8'), /^Signature: 8a477f597d28d172789f06886806bc55\n/)
})

test('a layout of another version refuses to open', async (t) => {
  const folder = await makeFolder(t)
  await openFileBlobStore({ folder, leaseId: 'a' })
  await openFileBlobStore({ folder, leaseId: 'a' })
  await writeFile(join(folder, 'VERSION'), '2\n')
  await assert.rejects(openFileBlobStore({ folder, leaseId: 'a' }), /layout version "2", expected 1/)
})

test('a lease id that would leave the folder is refused', async (t) => {
  const folder = await makeFolder(t)
  for (const leaseId of ['../x', '', 'a/b', 'a\0b']) {
    await assert.rejects(openFileBlobStore({ folder, leaseId }), /lease id/)
  }
})

test('a truncated file is replaced by the next publication, a whole one is kept', async (t) => {
  const folder = await makeFolder(t)
  const store = await openFileBlobStore({ folder, leaseId: 'a' })
  async function publish(): Promise<void> {
    const draft = await store.create()
    await draft.write(BYTES, 0)
    await draft.publish(DIGEST)
    await draft.close()
  }
  await publish()
  const { ino } = await stat(blobPath(folder, DIGEST))
  await publish()
  assert.equal((await stat(blobPath(folder, DIGEST))).ino, ino)
  await writeFile(blobPath(folder, DIGEST), 'short')
  await publish()
  assert.deepEqual(await readFile(blobPath(folder, DIGEST)), BYTES)
})

test('a symbolic link in the place of a blob is not followed', async (t) => {
  const folder = await makeFolder(t)
  const store = await openFileBlobStore({ folder, leaseId: 'a' })
  await mkdir(join(folder, 'sha256', DIGEST.slice(7, 9)))
  await symlink('/etc/passwd', blobPath(folder, DIGEST))
  await assert.rejects(store.open(DIGEST), { code: 'ELOOP' })
  assert.deepEqual(await listAll(store), [])
})

test('a write that fails is the last one', async (t) => {
  const folder = await makeFolder(t)
  const store = await openFileBlobStore({ folder, leaseId: 'a' })
  const draft = await store.create()
  await assert.rejects(draft.write(Buffer.from('x'), Number.MAX_SAFE_INTEGER)) // Beyond what any file may hold.
  await assert.rejects(draft.write(Buffer.from('x'), 0), /it is broken/)
  await assert.rejects(draft.publish(DIGEST), /it is broken/)
  await draft.discard()
  await draft.close()
  assert.deepEqual(await readdir(join(folder, 'ingest')), [])
})
