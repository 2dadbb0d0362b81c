/** DESIGN part 5, Healing: `entrepot verify` against a real server, its files damaged behind its back. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { openMetadata } from '../../src/metadata/open.ts'
import { blobsOf, type FakeManifest, image } from '../fakes/content.ts'
import { assertServed } from '../pull-through/assert-answer.ts'
import type { Cache } from '../pull-through/cache.ts'
import { type Entrepot, startEntrepot } from '../pull-through/start-entrepot.ts'
import { runCommand } from './run-command.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const path = '/api/v1/superuser/verification'

/** An organization that holds the whole image. */
async function cached(t: TestContext, content: FakeManifest): Promise<Cache> {
  const cache = await entrepot.cache(t, { app: { latest: content } })
  await pull(cache, content)
  return cache
}

async function pull(cache: Cache, content: FakeManifest): Promise<void> {
  assert.equal((await cache.get('app/manifests/latest')).status, 200)
  for (const { digest, bytes } of blobsOf(content)) assertServed(await cache.get(`app/blobs/${digest}`), { bytes })
  await entrepot.ingestsEnded()
}

function fileOf(digest: string): string {
  const [algorithm = '', hex = ''] = digest.split(':')
  return join(entrepot.folder, 'data', 'blobs', algorithm, hex.slice(0, 2), hex)
}

async function flipByte(digest: string): Promise<void> {
  const bytes = await readFile(fileOf(digest))
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  await writeFile(fileOf(digest), bytes)
}

/** Run `entrepot verify` as the superuser. */
function verify(...args: string[]) {
  return runCommand(entrepot.origin, ['verify', ...args])
}

async function verifyAsJson(...args: string[]) {
  const ran = await verify('--json', ...args)
  assert.notEqual(ran.out, '', ran.err)
  return { code: ran.code, seen: JSON.parse(ran.out) }
}

/** With the server stopped, since it holds the database. */
async function change(statement: (db: Awaited<ReturnType<typeof openMetadata>>['db']) => Promise<unknown>) {
  await entrepot.halt()
  const metadata = await openMetadata({ uri: undefined, dataFolder: join(entrepot.folder, 'data') })
  await statement(metadata.db)
  await metadata.close()
  await entrepot.start()
}

test('flipped, truncated and missing blobs are found and fetched again from the upstream', async (t) => {
  const content = image({ layers: 4, layerBytes: 700_000, seed: 'repaired' })
  const cache = await cached(t, content)
  const [flipped = '', short = '', missing = ''] = content.layers.map(({ digest }) => digest)
  await flipByte(flipped)
  await truncate(fileOf(short), 1000)
  await entrepot.removeBlob(missing)
  cache.upstream.transcript.take()
  const { code, seen } = await verifyAsJson()
  assert.equal(code, 3)
  assert.deepEqual(seen.damaged.map(({ digest }: { digest: string }) => digest).toSorted(), [flipped, short].toSorted())
  assert.deepEqual(seen.missing, [{ digest: missing }])
  assert.deepEqual(
    seen.repaired.map(({ digest }: { digest: string }) => digest).toSorted(),
    [flipped, short, missing].toSorted(),
  )
  assert.ok(seen.repaired.every(({ organization }: { organization: string }) => organization === cache.organization))
  assert.deepEqual(seen.drift, [])
  const asked = [flipped, short, missing].map((digest) => `GET /v2/app/blobs/${digest} 200`)
  assert.deepEqual(cache.upstream.transcript.take().toSorted(), asked.toSorted())
  await cache.upstream.refuse()
  for (const { digest, bytes } of blobsOf(content)) {
    assertServed(await cache.get(`app/blobs/${digest}`), { outcome: 'hit', bytes })
  }
  const again = await verify()
  assert.equal(again.code, 0, again.out)
  assert.match(again.out, /Found 0 damaged and 0 missing; 0 repaired, 0 not\./)
})

test('what the upstream lacks is named as not repaired, never served again, and comes back with it', async (t) => {
  const content = image({ layers: 2, layerBytes: 5000, seed: 'lost' })
  const cache = await cached(t, content)
  const [lost] = content.layers
  assert.ok(lost)
  cache.upstream.repository('app').blobs.delete(lost.digest)
  await flipByte(lost.digest)
  const { code, seen } = await verifyAsJson()
  assert.equal(code, 4)
  assert.equal(seen.not_repaired.length, 1)
  assert.equal(seen.not_repaired[0].digest, lost.digest)
  assert.match(seen.not_repaired[0].reason, /127\.0\.0\.1/)
  assert.equal((await cache.get(`app/blobs/${lost.digest}`)).status, 404)
  cache.upstream.repository('app').addBlob(lost)
  assertServed(await cache.get(`app/blobs/${lost.digest}`), { bytes: lost.bytes })
})

test('without repair damage is forgotten and nothing is fetched', async (t) => {
  const content = image({ layers: 1, layerBytes: 5000, seed: 'unrepaired' })
  const cache = await cached(t, content)
  const [layer] = content.layers
  assert.ok(layer)
  await entrepot.removeBlob(layer.digest)
  cache.upstream.transcript.take()
  const { code, seen } = await verifyAsJson('--no-repair')
  assert.deepEqual([code, seen.counts.missing, seen.counts.not_repaired], [4, 1, 1])
  assert.deepEqual(cache.upstream.transcript.take(), [])
  assertServed(await cache.get(`app/blobs/${layer.digest}`), { outcome: 'miss', bytes: layer.bytes })
})

test('each organization that had the bytes gets them from its own upstream', async (t) => {
  const content = image({ layers: 1, layerBytes: 5000, seed: 'shared' })
  const [one, other] = [await cached(t, content), await cached(t, content)]
  const [layer] = content.layers
  assert.ok(layer)
  await flipByte(layer.digest)
  const { code, seen } = await verifyAsJson()
  assert.equal(code, 3)
  assert.equal(seen.counts.damaged, 1)
  const organizations = seen.repaired.map(({ organization }: { organization: string }) => organization)
  assert.deepEqual(organizations.toSorted(), [one.organization, other.organization].toSorted())
})

test('a sample hashes as many as it says, and still looks at every file', async (t) => {
  const content = image({ layers: 9, layerBytes: 1000, seed: 'sampled' })
  const cache = await cached(t, content)
  await entrepot.removeBlob(content.layers[4]?.digest ?? '')
  const whole = (await verifyAsJson('--no-repair')).seen
  await pull(cache, content)
  await entrepot.removeBlob(content.layers[4]?.digest ?? '')
  const { code, seen } = await verifyAsJson('--sample', '10')
  assert.equal(seen.checked, Math.ceil(whole.checked / 10))
  assert.deepEqual([code, seen.counts.missing, seen.counts.repaired], [3, 1, 1])
})

test('a charge and a ledger that drifted are found, and corrected unless that is not wanted', async (t) => {
  const content = image({ layers: 2, layerBytes: 3000, seed: 'drift' })
  const cache = await cached(t, content)
  const whole = [...blobsOf(content).map(({ bytes }) => bytes), content.bytes]
  const bytes = whole.reduce((sum, part) => sum + part.byteLength, 0)
  await change(async (db) => {
    const { id } = await db
      .selectFrom('organization')
      .select('id')
      .where('name', '=', cache.organization)
      .executeTakeFirstOrThrow()
    await db.updateTable('usage').set({ charge_bytes: 7 }).where('organization_id', '=', id).execute()
    await db.deleteFrom('ledger').where('organization_id', '=', id).where('kind', '=', 'manifest').execute()
    const extra = { kind: 'blob', digest: `sha256:${'0'.repeat(64)}`, size_bytes: 5, stored_at: 1 } as const
    await db
      .insertInto('ledger')
      .values({ organization_id: id, ...extra })
      .execute()
  })
  const looked = await verifyAsJson('--no-repair')
  assert.equal(looked.code, 4)
  const drift = {
    organization: cache.organization,
    charge_bytes: 7,
    ledger_bytes: bytes - content.bytes.byteLength + 5,
    recount_bytes: bytes,
    roots: 0,
  }
  assert.deepEqual(looked.seen.drift, [{ ...drift, repaired: false }])
  const repaired = await verifyAsJson()
  assert.equal(repaired.code, 3)
  assert.deepEqual(repaired.seen.drift, [{ ...drift, repaired: true }])
  assert.equal((await verify()).code, 0)
})

test('roots that are not what their tags say are found and derived anew', async (t) => {
  const [kept, lost] = [image({ seed: 'kept root' }), image({ seed: 'lost root' })]
  const cache = await entrepot.cache(t, { app: { kept, lost } })
  for (const tag of ['kept', 'lost']) assert.equal((await cache.get(`app/manifests/${tag}`)).status, 200)
  await change(async (db) => {
    const ids = db.selectFrom('manifest').select('id')
    await db
      .updateTable('root')
      .set({ is_pinned: 1 })
      .where('manifest_id', 'in', ids.where('digest', '=', kept.digest))
      .execute()
    await db
      .deleteFrom('root')
      .where('manifest_id', 'in', ids.where('digest', '=', lost.digest))
      .execute()
  })
  const looked = await verifyAsJson('--no-repair')
  assert.deepEqual(
    [looked.code, looked.seen.drift[0].organization, looked.seen.drift[0].roots],
    [4, cache.organization, 2],
  )
  const repaired = await verifyAsJson()
  assert.deepEqual([repaired.code, repaired.seen.drift[0].roots, repaired.seen.drift[0].repaired], [3, 2, true])
  assert.equal((await verify()).code, 0)
})

test('a file that no row points at is counted and left to the collection', async () => {
  const digest = `sha256:${'ab'.repeat(32)}`
  const file = fileOf(digest)
  await mkdir(dirname(file), { recursive: true })
  const before = (await verifyAsJson()).seen.counts.files_without_row
  await writeFile(file, 'x')
  const ran = await verifyAsJson()
  assert.deepEqual([ran.code, ran.seen.counts.files_without_row], [0, before + 1])
  assert.equal(await readFile(file, 'utf8'), 'x')
})

test('only one runs at a time; it can be cancelled; a restart ends it', async () => {
  const idle = JSON.parse((await entrepot.api('GET', path)).body.toString())
  assert.equal(idle.state, 'done')
  const [first, second] = await Promise.all([entrepot.api('POST', path, '{}'), entrepot.api('POST', path, '{}')])
  assert.deepEqual([first.status, second.status].toSorted(), [202, 409])
  assert.equal((await entrepot.api('DELETE', path)).status, 204)
  assert.match(JSON.parse((await entrepot.api('GET', path)).body.toString()).state, /^(?:cancelled|done)$/)
  await entrepot.restart()
  const after = JSON.parse((await entrepot.api('GET', path)).body.toString())
  assert.equal(after.state, 'idle')
  assert.match(after.message, /restart/)
})

test('samples that are none are refused', async () => {
  for (const sample of [0, 101, -1, 'x', null]) {
    const answer = await entrepot.api('POST', path, JSON.stringify({ sample_percent: sample }))
    assert.equal(answer.status, 400, String(sample))
    assert.match(JSON.parse(answer.body.toString()).detail, /^sample_percent: /)
  }
  for (const sample of ['0', '101', 'x', '-1', '1e1', '']) {
    const ran = await verify('--sample', sample)
    assert.equal(ran.code, 2, sample)
  }
  assert.equal((await entrepot.api('POST', path, '{"repair":"yes"}')).status, 400)
})

test('a server that cannot be reached, and one that refuses, give 1', async () => {
  const ran = await verify('--server', 'http://127.0.0.1:1')
  assert.equal(ran.code, 1)
  assert.match(ran.err, /cannot reach/)
  const user = await entrepot.createUser()
  const refused = await verify('--user', user.username)
  assert.equal(refused.code, 1)
})

test('as a program of its own it waits for the verification to end', async (t) => {
  await cached(t, image({ layers: 1, layerBytes: 5000, seed: 'whole' }))
  const main = new URL('../../src/main.ts', import.meta.url).pathname
  const args = [main, 'verify', '--server', entrepot.origin, '--user', 'admin', '--json']
  const env = { ...process.env, ENTREPOT_PASSWORD: 'correct horse battery' }
  const { stdout } = await promisify(execFile)(process.execPath, args, { env })
  assert.equal(JSON.parse(stdout).state, 'done')
})
