/** DESIGN part 9, promise 6: `kill -9` at any moment loses nothing that was acknowledged, and needs no repair. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import { blobsOf, image, index } from '../fakes/content.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { Valve } from '../fakes/gate.ts'
import { assertServed } from '../pull-through/assert-answer.ts'
import { eventually } from '../pull-through/eventually.ts'
import { startServer } from './server-process.ts'

const MiB = 1024 * 1024
const content = image({ layers: 3, layerBytes: 4 * MiB, seed: 'crash' })
const list = index([content])
const repository = '/v2/cache/app'

/** Every file below `folder`; none when there is no such folder. */
async function filesIn(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return []
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

/** Re-hash every published blob; resolves to their digests. */
async function verifyStore(dataFolder: string): Promise<Set<string>> {
  const digests = new Set<string>()
  for (const file of await filesIn(join(dataFolder, 'blobs', 'sha256'))) {
    const hash = createHash('sha256')
    await pipeline(createReadStream(file), hash)
    assert.equal(hash.digest('hex'), basename(file), file)
    digests.add(`sha256:${basename(file)}`)
  }
  return digests
}

function drafts(dataFolder: string): Promise<string[]> {
  return filesIn(join(dataFolder, 'blobs', 'ingest'))
}

for (const allowed of [0, 1, 70_000, 4 * MiB - 1]) {
  test(`killed ${allowed} bytes into a cold layer: started again, all is served and the store is whole`, async (t) => {
    const upstream = await startFakeUpstream(t, { app: { latest: list } })
    const server = await startServer(t, upstream)
    assertServed(await server.client.get(`${repository}/manifests/latest`), { outcome: 'miss', bytes: list.bytes })
    const byDigest = `${repository}/manifests/${content.digest}`
    assertServed(await server.client.get(byDigest), { outcome: 'miss', bytes: content.bytes })
    const [, first = { digest: '', bytes: Buffer.alloc(0) }] = blobsOf(content)
    const valve = new Valve()
    upstream.quirk('GET */blobs/*', { valve })
    valve.allow(allowed)
    const pull = server.client.get(`${repository}/blobs/${first.digest}`).catch(() => undefined)
    await upstream.transcript.until(({ entries }) => {
      const entry = entries.find(({ target }) => target.endsWith(first.digest))
      return entry !== undefined && entry.bodyBytes >= allowed
    })
    await server.kill()
    assert.notEqual((await pull)?.isWhole, true)
    valve.open()

    assert.equal((await verifyStore(server.dataFolder)).has(first.digest), false)
    const left = await drafts(server.dataFolder)
    upstream.transcript.take()
    await server.start()
    const still = await drafts(server.dataFolder)
    assert.deepEqual(
      left.filter((file) => still.includes(file)),
      [],
    )

    assertServed(await server.client.get(`${repository}/manifests/latest`), {
      outcome: 'revalidated',
      bytes: list.bytes,
    })
    assertServed(await server.client.get(byDigest), { outcome: 'hit', bytes: content.bytes })
    for (const { digest, bytes } of blobsOf(content)) {
      assertServed(await server.client.get(`${repository}/blobs/${digest}`), { bytes })
    }
    await eventually(async () => {
      const stored = await verifyStore(server.dataFolder)
      for (const { digest } of blobsOf(content)) assert.ok(stored.has(digest), `${digest} is stored`)
    })
    const gets = upstream.transcript.lines().filter((line) => line.includes('/blobs/'))
    assert.equal(new Set(gets).size, gets.length, gets.join('\n'))
  })
}

test('killed while it completes an image in the background: completion goes on by itself after the start', async (t) => {
  const upstream = await startFakeUpstream(t, { app: { latest: content } })
  const server = await startServer(t, upstream)
  await server.client.get(`${repository}/manifests/latest`)
  const [config, first, ...others] = blobsOf(content)
  const valve = new Valve()
  for (const { digest } of others) upstream.quirk(`GET */blobs/${digest}`, { valve })
  valve.allow(1000)
  const answer = await server.client.get(`${repository}/blobs/${first?.digest}`)
  assert.equal(answer.isWhole, true)
  await upstream.transcript.until(({ entries }) =>
    others.some(({ digest }) => entries.some(({ target }) => target.endsWith(digest))),
  )
  await server.kill()
  valve.open()
  upstream.transcript.take()
  await server.start()
  await upstream.transcript.until(({ entries }) =>
    others.every(({ digest }) => entries.some((entry) => entry.target.endsWith(digest) && entry.isOver)),
  )
  await eventually(async () => {
    const stored = await verifyStore(server.dataFolder)
    for (const blob of [config, first, ...others]) assert.ok(blob === undefined || stored.has(blob.digest))
  })
  await upstream.refuse()
  for (const { digest, bytes } of blobsOf(content)) {
    // The row follows the bytes.
    await eventually(async () =>
      assertServed(await server.client.get(`${repository}/blobs/${digest}`), { outcome: 'hit', bytes }),
    )
  }
})

test('what was acknowledged before the kill is there after it', async (t) => {
  const upstream = await startFakeUpstream(t, { app: { latest: content } })
  const server = await startServer(t, upstream)
  const created = await server.api('POST', '/api/v1/organization/', { name: 'acknowledged', email: 'a@example.com' })
  assert.equal(created.status, 201)
  await server.kill()
  await server.start()
  assert.equal((await server.api('GET', '/api/v1/organization/acknowledged')).status, 200)
})

test('a server under test does not outlive the test that started it', async (t) => {
  const server = await startServer(t, await startFakeUpstream(t))
  assert.equal(await server.orphan(), 'SIGKILL')
})
