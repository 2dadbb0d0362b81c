/**
 * Issue 3, Proof: 50 concurrent pulls of distinct images into an organization that holds three of them, with the charge
 * and the disk looked at from outside all the while. On both databases.
 */
import assert from 'node:assert/strict'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import { type FakeManifest, image } from '../fakes/content.ts'
import type { FakeTags } from '../fakes/fake-repository.ts'
import { assertServed } from '../pull-through/assert-answer.ts'
import type { Cache } from '../pull-through/cache.ts'
import { errorOf } from '../pull-through/registry-client.ts'
import { type Entrepot, startEntrepot } from '../pull-through/start-entrepot.ts'
import { type Postgres, skipWithoutPostgres, startPostgres } from '../real/postgres.ts'
import { sizeOf } from './space-rig.ts'

const pulls = 50
const sampleEveryMs = 10
/** Of each blob: so that pulls overlap. */
const bytesPerSecond = 2_000_000
/** Between the manifests: some are asked for when others are stored by then. */
const apartMs = 30

/** From 200 KB to 1 MB, in no order; every tenth is larger than the limit. */
function layerBytesOf(position: number): number {
  return position % 10 === 7 ? 3_500_000 : 200_000 + ((position * 7919) % 50) * 16_000
}

type Samples = { charges: number[]; disks: { bytes: number; between: [Charge, Charge] }[] }
/** The charge; and bytes that belong to nobody any more, from the commit that says so until they are unlinked. */
type Charge = { bytes: number; garbage: number }
type ReadCharge = () => Promise<Charge>

const CHARGE = `select (select coalesce(max(charge_bytes), 0) from usage) as bytes,
  (select coalesce(sum(size_bytes), 0) from garbage) as garbage`

const skip = skipWithoutPostgres()
let postgres: Postgres | undefined
before(async () => {
  if (skip === false) postgres = await startPostgres()
})
after(() => postgres?.stop())

test('50 concurrent pulls on SQLite: never above the limit, and right bytes for all', async (t) => {
  const entrepot = await startEntrepot()
  t.after(() => entrepot.stop())
  const db = new Sqlite(join(entrepot.folder, 'data', 'entrepot.db'), { readonly: true })
  const charge = db.prepare<[], Charge>(CHARGE)
  await proveWithPulls(t, entrepot, async () => charge.get() ?? { bytes: 0, garbage: 0 })
  const logged = db.prepare<[], { count: number }>(`select count(*) as count from log_entry where kind = 'evict_image'`)
  assert.ok((logged.get()?.count ?? 0) > 0, 'something was evicted')
  db.close()
})

test('50 concurrent pulls on PostgreSQL: never above the limit, and right bytes for all', { skip }, async (t) => {
  const uri = (await postgres?.createDatabase()) ?? ''
  const entrepot = await startEntrepot({ DB_URI: uri })
  t.after(() => entrepot.stop())
  const client = new pg.Client({ connectionString: uri })
  await client.connect()
  t.after(() => client.end())
  const ask = async (sql: string) => Number((await client.query(sql)).rows[0]?.number ?? 0)
  await proveWithPulls(t, entrepot, async () => {
    const [row] = (await client.query(CHARGE)).rows
    return { bytes: Number(row.bytes), garbage: Number(row.garbage) }
  })
  assert.ok((await ask(`select count(*) as number from log_entry where kind = 'evict_image'`)) > 0)
})

async function proveWithPulls(t: TestContext, entrepot: Entrepot, readCharge: ReadCharge): Promise<void> {
  const images = Array.from({ length: pulls }, (_, position) =>
    image({ seed: `concurrent ${position}`, layerBytes: layerBytesOf(position) }),
  )
  const tags: FakeTags = Object.fromEntries(images.map((content, position) => [`v${position}`, content]))
  const pinned = image({ seed: 'pinned', layerBytes: 300_000 })
  const cache = await entrepot.cache(t, { app: { ...tags, pinned } })
  const limit = sizeOf(pinned) + 3_030_000
  await pull(cache, 'pinned', pinned)
  await entrepot.ingestsEnded()
  const path = `/api/v1/repository/${cache.organization}/app/tag/pinned/pin`
  assert.equal((await entrepot.api('PUT', path)).status, 201)
  await entrepot.must('POST', `/api/v1/organization/${cache.organization}/quota`, { limit_bytes: limit })
  cache.upstream.quirk('GET /v2/app/blobs/*', { bytesPerSecond })
  for (let position = 0; position < pulls; position++) {
    cache.upstream.quirk(`GET /v2/app/manifests/v${position}`, { latencyMs: position * apartMs })
  }

  const stop = new AbortController()
  const sampling = sample(join(entrepot.folder, 'data', 'blobs'), readCharge, stop.signal)
  const available = limit - sizeOf(pinned)
  const ends = await Promise.all(
    images.map(async (content, position) => {
      if (sizeOf(content) <= available) return pull(cache, `v${position}`, content)
      return assertTooLarge(cache, `v${position}`, { needed: sizeOf(content), available, limit })
    }),
  )
  await entrepot.ingestsEnded()
  stop.abort()
  const samples = await sampling
  assert.equal(ends.length, pulls)
  assertWithin(samples, limit)
  await cache.upstream.refuse()
  await pull(cache, 'pinned', pinned)
  assert.ok(
    samples.charges.some((charge) => charge > limit / 2),
    'the organization was filled',
  )
}

async function pull(cache: Cache, tag: string, content: FakeManifest): Promise<void> {
  assertServed(await cache.get(`app/manifests/${tag}`), { bytes: content.bytes })
  const blobs = content.config === undefined ? content.layers : [content.config, ...content.layers]
  const answers = await Promise.all(blobs.map(({ digest }) => cache.get(`app/blobs/${digest}`)))
  for (const [position, { bytes }] of blobs.entries()) {
    const answer = answers[position]
    assert.ok(answer)
    assertServed(answer, { bytes })
  }
}

async function assertTooLarge(cache: Cache, tag: string, detail: Record<string, number>): Promise<void> {
  const answer = await cache.get(`app/manifests/${tag}`)
  assert.equal(answer.status, 403)
  assert.deepEqual(errorOf(answer), { code: 'DENIED', message: 'Quota has been exceeded on namespace', detail })
}

/** Look every 10 ms, until it is told to end. */
async function sample(folder: string, readCharge: ReadCharge, signal: AbortSignal): Promise<Samples> {
  const samples: Samples = { charges: [], disks: [] }
  let before = await readCharge()
  while (!signal.aborted) {
    // Nothing of the server runs while the folder is walked: it is in this process.
    const bytes = bytesBelow(folder)
    const after = await readCharge()
    samples.charges.push(after.bytes)
    samples.disks.push({ bytes, between: [before, after] })
    before = after
    await delay(sampleEveryMs)
  }
  return samples
}

/** Published blobs, and those that are being received. */
function bytesBelow(folder: string): number {
  let bytes = 0
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    // The folder itself has files that say what it is.
    if (!entry.isFile() || entry.parentPath === folder) continue
    // A file may be unlinked meanwhile by a thread of the pool.
    bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0
  }
  return bytes
}

function assertWithin({ charges, disks }: Samples, limit: number): void {
  assert.ok(charges.length > 50, `${charges.length} samples`)
  assert.deepEqual(
    charges.filter((charge) => charge > limit),
    [],
    'a charge above the limit',
  )
  assert.deepEqual(
    disks.filter(({ bytes, between }) => bytes > limit + garbageOf(between)),
    [],
    'more on the disk than the limit',
  )
  assert.deepEqual(
    disks.filter(({ bytes, between }) => bytes > Math.max(...between.map((at) => at.bytes)) + garbageOf(between)),
    [],
    'more on the disk than is charged for',
  )
}

function garbageOf(between: [Charge, Charge]): number {
  return Math.max(...between.map(({ garbage }) => garbage))
}
