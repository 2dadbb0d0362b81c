/** The started server as a test of space sees it: pulls and charges over HTTP, rows and files from behind its back. */
import assert from 'node:assert/strict'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Sqlite from 'better-sqlite3'
import { SECOND_MS } from '../../src/base/units.ts'
import { blobsOf, type FakeManifest } from '../fakes/content.ts'
import { Gate } from '../fakes/gate.ts'
import { assertServed } from '../pull-through/assert-answer.ts'
import type { Cache } from '../pull-through/cache.ts'
import { eventually } from '../pull-through/eventually.ts'
import type { ClientAnswer, OpenAnswer } from '../pull-through/registry-client.ts'
import { type Entrepot, startEntrepot } from '../pull-through/start-entrepot.ts'

/** After so long a reservation is no longer young, and one pull is later than another. */
const apartMs = 11 * SECOND_MS
const minuteMs = 60 * SECOND_MS
const askEveryMs = 20

/** A blob of this size is given in part before it has been verified. */
export const HELD_BYTES = 300_000

/** Background completion would fetch what a test has not asked for. */
export async function startRig(settings: Readonly<Record<string, unknown>> = {}): Promise<SpaceRig> {
  return new SpaceRig(
    await startEntrepot({ FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: false, GARBAGE_COLLECTION_FREQUENCY: 1, ...settings }),
  )
}

export class SpaceRig {
  readonly entrepot: Entrepot

  constructor(entrepot: Entrepot) {
    this.entrepot = entrepot
  }

  stop(): Promise<void> {
    return this.entrepot.stop()
  }

  /** Pull as podman does: the manifest, then every blob, all of which must be right; then it is later. */
  async pull(cache: Cache, repository: string, reference: string, content: FakeManifest): Promise<void> {
    await this.ask(cache, repository, reference, content)
    await this.pullBlobs(cache, repository, content)
    await this.entrepot.ingestsEnded()
    await this.entrepot.clock.advance(apartMs)
  }

  /** The manifest alone, which must be this one. */
  async ask(cache: Cache, repository: string, reference: string, content: FakeManifest): Promise<void> {
    assertServed(await cache.get(`${repository}/manifests/${reference}`), { bytes: content.bytes })
  }

  /** Every blob that it names, from a client that holds the manifest. */
  async pullBlobs(cache: Cache, repository: string, content: FakeManifest): Promise<void> {
    for (const { digest, bytes } of blobsOf(content)) {
      assertServed(await cache.get(`${repository}/blobs/${digest}`), { bytes })
    }
  }

  /** As `pull`, beside other pulls that do not end: it is over when this image is stored. */
  async pullBeside(cache: Cache, repository: string, reference: string, content: FakeManifest): Promise<void> {
    await this.ask(cache, repository, reference, content)
    await this.pullBlobs(cache, repository, content)
    const sql = `select 1 from reservation join manifest on manifest.id = reservation.manifest_id
      where manifest.organization_id = ? and manifest.digest = ?`
    await eventually(async () => assert.deepEqual(this.rows(sql, this.idOf(cache), content.digest), []))
    await this.entrepot.roundTrips() // The last transfer ends.
    await this.entrepot.clock.advance(apartMs)
  }

  /** A client that receives a blob and does not get its end until the gate opens. */
  async receive(cache: Cache, repository: string, digest: string): Promise<{ gate: Gate; answer: OpenAnswer }> {
    const gate = new Gate()
    const heldAt = { bytes: HELD_BYTES / 2, gate }
    cache.upstream.quirk(`GET /v2/${repository}/blobs/${digest}`, { hangMidBodyAt: heldAt }, 1)
    const answer = await cache.open(`${repository}/blobs/${digest}`)
    assert.ok((await answer.read(1)) > 0)
    return { gate, answer }
  }

  /** By API, for the first time or anew. */
  async setQuota(cache: Cache, bytes: number): Promise<void> {
    const path = `/api/v1/organization/${cache.organization}/quota`
    const [quota] = JSON.parse((await this.entrepot.api('GET', path)).body.toString())
    if (typeof quota?.id !== 'number') await this.entrepot.must('POST', path, { limit_bytes: bytes })
    else await this.entrepot.must('PUT', `${path}/${quota.id}`, { limit_bytes: bytes })
  }

  /** A threshold of the quota. */
  async addLimit(cache: Cache, type: 'Warning' | 'Reject', percent: number): Promise<void> {
    const path = `/api/v1/organization/${cache.organization}/quota`
    const [quota] = JSON.parse((await this.entrepot.api('GET', path)).body.toString())
    await this.entrepot.must('POST', `${path}/${quota.id}/limit`, { type, threshold_percent: percent })
  }

  /** As the API says it; it must be what the rows and the files come to. */
  async charge(cache: Cache): Promise<number> {
    const answer = await this.entrepot.api('GET', `/api/v1/organization/${cache.organization}`)
    const { quota_bytes: charge } = JSON.parse(answer.body.toString()).quota_report
    const [ledger] = this.rows<{ bytes: number }>(
      'select coalesce(sum(size_bytes), 0) as bytes from ledger where organization_id = ?',
      this.idOf(cache),
    )
    assert.equal(ledger?.bytes, charge, 'the charge is the sum of the ledger')
    return charge
  }

  /** Names of tags that are listed now. */
  async tags(cache: Cache, repository: string): Promise<string[]> {
    const listed = await this.history(cache, repository, 'onlyActiveTags=true')
    return listed.map((tag) => tag.name).toSorted()
  }

  /** Rows of the tag history, as the API has them. */
  async history(cache: Cache, repository: string, query = ''): Promise<HistoryRow[]> {
    const path = `/api/v1/repository/${cache.organization}/${repository}/tag/?limit=100&${query}`
    const answer = await this.entrepot.api('GET', path)
    assert.equal(answer.status, 200, answer.body.toString())
    return JSON.parse(answer.body.toString()).tags
  }

  /** A change of a tag: `PUT pin`, `POST restore`, `DELETE`. */
  changeTag(cache: Cache, tag: string, change: string, document?: unknown): Promise<ClientAnswer> {
    const [method = '', action] = change.split(' ')
    const [repository = '', name = ''] = tag.split(':')
    const path = `/api/v1/repository/${cache.organization}/${repository}/tag/${name}`
    const body = document === undefined ? undefined : JSON.stringify(document)
    return this.entrepot.api(method, action === undefined ? path : `${path}/${action}`, body)
  }

  async pin(cache: Cache, tag: string): Promise<void> {
    const answer = await this.changeTag(cache, tag, 'PUT pin')
    assert.equal(answer.status, 201, answer.body.toString())
  }

  /** Whether the bytes lie in the blobs folder. */
  async isInStore(digest: string): Promise<boolean> {
    const [algorithm = '', hex = ''] = digest.split(':')
    const file = join(this.entrepot.folder, 'data', 'blobs', algorithm, hex.slice(0, 2), hex)
    return stat(file).then(
      () => true,
      () => false,
    )
  }

  /** Of these blobs, those whose bytes are in the store, by position. */
  async stored(contents: readonly FakeManifest[]): Promise<boolean[]> {
    return Promise.all(
      contents.map(async (content) => {
        const seen = await Promise.all(content.layers.map(({ digest }) => this.isInStore(digest)))
        return seen.every((isThere) => isThere)
      }),
    )
  }

  /** Digests of the files in the blobs folder, which must be those of the rows. */
  async files(): Promise<string[]> {
    const folder = join(this.entrepot.folder, 'data', 'blobs', 'sha256')
    const names = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
    const files = names.filter((entry) => entry.isFile()).map((entry) => `sha256:${entry.name}`)
    const rows = this.rows<{ digest: string }>('select digest from blob')
    assert.deepEqual(files.toSorted(), rows.map((row) => row.digest).toSorted(), 'a file for each row')
    return files
  }

  /** What the database file says, in the order of the rows. */
  rows<Row>(sql: string, ...values: unknown[]): Row[] {
    const db = new Sqlite(join(this.entrepot.folder, 'data', 'entrepot.db'), { readonly: true })
    try {
      return db.prepare(sql).all(...values) as Row[]
    } finally {
      db.close()
    }
  }

  /** Usage log entries of one kind. */
  log(cache: Cache, kind: string): Record<string, unknown>[] {
    return this.#events('log_entry', cache, kind)
  }

  notifications(cache: Cache, kind: string): Record<string, unknown>[] {
    return this.#events('notification', cache, kind)
  }

  /** How many images of the organization are still expected. */
  reservations(cache: Cache): number {
    return this.rows('select 1 from reservation where organization_id = ?', this.idOf(cache)).length
  }

  idOf(cache: Cache): number {
    const [row] = this.rows<{ id: number }>('select id from organization where name = ?', cache.organization)
    assert.ok(row)
    return row.id
  }

  /** Let the collector run once more, to its end; a start begins a run. */
  async collect(): Promise<void> {
    await this.entrepot.restart()
    await eventually(async () =>
      assert.ok((await this.entrepot.metric('entrepot_collector_runs_total{result="done"}')) >= 1),
    )
  }

  /** The same without a restart, as it happens beside running pulls. */
  async runInPlace(): Promise<void> {
    const name = 'entrepot_collector_runs_total{result="done"}'
    // One run may have begun before the clock was set.
    const wanted = (await this.entrepot.metric(name)) + 2
    while ((await this.entrepot.metric(name)) < wanted) await delay(askEveryMs)
  }

  /** So much time passes, in which the collector runs as it would: a jump holds it for an hour of the clock. */
  async passTime(ms: number): Promise<void> {
    await this.entrepot.clock.advance(ms)
    await this.collect()
    if (ms <= 60 * minuteMs) return
    for (let minutes = 0; minutes < 80; minutes += 40) {
      await this.entrepot.clock.advance(40 * minuteMs)
      await this.collect()
    }
  }

  #events(table: 'log_entry' | 'notification', cache: Cache, kind: string): Record<string, unknown>[] {
    const sql = `select metadata from ${table} where organization_id = ? and kind = ? order by id`
    return this.rows<{ metadata: string }>(sql, this.idOf(cache), kind).map((row) => JSON.parse(row.metadata))
  }
}

export type HistoryRow = { name: string; manifest_digest: string; end_ts?: number; expiration?: string }

/** What the organization is charged for these: each manifest and blob once. */
export function sizeOf(...contents: readonly FakeManifest[]): number {
  const parts = new Map<string, number>()
  const add = (content: FakeManifest) => {
    parts.set(content.digest, content.bytes.byteLength)
    for (const { digest, bytes } of blobsOf(content)) parts.set(digest, bytes.byteLength)
    for (const child of content.children) add(child)
  }
  for (const content of contents) add(content)
  return [...parts.values()].reduce((sum, bytes) => sum + bytes, 0)
}
