/** DESIGN part 4 and promise 7: a full disk or a failing store makes pulls slower, and never stops one. */
import assert from 'node:assert/strict'
import { chmod, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { blob, image } from '../fakes/content.ts'
import { Valve } from '../fakes/gate.ts'
import { assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import { eventually } from './eventually.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

const layer = blob('layer of a full disk', 300_000)
const content = image({ layers: [layer] })
const path = `app/blobs/${layer.digest}`
const GET = `GET /v2/${path} 200`
const noCompletion = { FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false }

async function named(t: Parameters<Entrepot['cache']>[0], entrepot: Entrepot): Promise<Cache> {
  const cache = await entrepot.cache(t, { app: { latest: content } })
  assertServed(await cache.get('app/manifests/latest'), { bytes: content.bytes })
  cache.upstream.transcript.take()
  return cache
}

async function storedFiles(entrepot: Entrepot): Promise<string[]> {
  const entries = await readdir(join(entrepot.folder, 'data', 'blobs'), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name)).map(({ name }) => name)
}

test('below MINIMUM_FREE_BYTES nothing is kept, and pulls stream through', async (t) => {
  const entrepot = await startEntrepot({ ...noCompletion, MINIMUM_FREE_BYTES: '1000000 GiB' })
  t.after(() => entrepot.stop())
  const cache = await named(t, entrepot)
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET, GET])
  assert.deepEqual(await storedFiles(entrepot), [])
})

test('streamed through, many clients at once still cost one request', async (t) => {
  const entrepot = await startEntrepot({ ...noCompletion, MINIMUM_FREE_BYTES: '1000000 GiB' })
  t.after(() => entrepot.stop())
  const cache = await named(t, entrepot)
  const valve = new Valve()
  cache.upstream.quirk('GET */blobs/*', { valve })
  const pulls = Array.from({ length: 5 }, () => cache.get(path))
  await entrepot.roundTrips()
  valve.open()
  for (const answer of await Promise.all(pulls)) assertServed(answer, { bytes: layer.bytes })
  assert.deepEqual(cache.upstream.transcript.take(), [GET])
})

test('streamed through, wrong bytes never complete either', async (t) => {
  const entrepot = await startEntrepot({ ...noCompletion, MINIMUM_FREE_BYTES: '1000000 GiB' })
  t.after(() => entrepot.stop())
  const cache = await named(t, entrepot)
  cache.upstream.quirk('GET */blobs/*', { wrongByteAt: 10 })
  assert.equal((await cache.get(path)).isWhole, false)
})

test('a store that cannot be written streams through, and keeps again when it can', async (t) => {
  const entrepot = await startEntrepot(noCompletion)
  t.after(() => entrepot.stop())
  const cache = await named(t, entrepot)
  const ingests = join(entrepot.folder, 'data', 'blobs', 'ingest')
  await rename(ingests, `${ingests}.away`)
  await writeFile(ingests, 'no folder')
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  await rm(ingests)
  await rename(`${ingests}.away`, ingests)
  assertServed(await cache.get(path), { outcome: 'miss', bytes: layer.bytes })
  await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
  assert.deepEqual(cache.upstream.transcript.take(), [GET, GET])
})

for (const [title, damage] of [
  ['other bytes of the same length', (bytes: Buffer) => Buffer.from(bytes).fill(0x21, 1000, 2000)],
  ['fewer bytes', (bytes: Buffer) => bytes.subarray(0, 1000)],
  ['no bytes', () => Buffer.alloc(0)],
] as const) {
  test(`a stored blob with ${title} never completes wrong, and heals`, async (t) => {
    const entrepot = await startEntrepot(noCompletion)
    t.after(() => entrepot.stop())
    const cache = await named(t, entrepot)
    await cache.get(path)
    await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
    const hex = layer.digest.split(':')[1] ?? ''
    const file = join(entrepot.folder, 'data', 'blobs', 'sha256', hex.slice(0, 2), hex)
    await chmod(file, 0o600)
    await writeFile(file, damage(await readFile(file)))
    const answer = await cache.get(path)
    assert.equal(answer.isWhole && answer.status === 200 && !answer.body.equals(layer.bytes), false)
    await eventually(async () => assertServed(await cache.get(path), { outcome: 'hit', bytes: layer.bytes }))
    assert.ok((await readFile(file)).equals(layer.bytes))
  })
}
