/** Collection with a real database and real files: images of random layers, and time in the test's hand. */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { systemClock } from '../../src/base/clock.ts'
import { DAY_MS, SECOND_MS } from '../../src/base/units.ts'
import { openFileBlobStore } from '../../src/blobs/file-blob-store.ts'
import { blobPath } from '../../src/blobs/layout.ts'
import { chargeItems, type LedgerItem, lockUsage, recountUsage } from '../../src/metadata/ledger.ts'
import { storeManifest } from '../../src/metadata/manifests.ts'
import { type Metadata, openMetadata } from '../../src/metadata/open.ts'
import { createOrganization, type Organization } from '../../src/metadata/organizations.ts'
import type { Removal } from '../../src/metadata/removal.ts'
import { ensureRepository } from '../../src/metadata/repositories.ts'
import { openReservation } from '../../src/metadata/reservations.ts'
import { pointTag } from '../../src/metadata/tags.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { BlobShelf } from '../../src/registry/blob-shelf.ts'
import { forgetRemoved } from '../../src/registry/evictions.ts'
import { LastUses } from '../../src/registry/last-uses.ts'
import { ManifestMemory } from '../../src/registry/manifest-memory.ts'
import { Transfers } from '../../src/registry/transfers.ts'
import { ClockGuard } from '../../src/workers/clock-guard.ts'
import { Collector } from '../../src/workers/collector.ts'
import { OrphanSweep } from '../../src/workers/orphan-sweep.ts'
import { Shrinker } from '../../src/workers/shrinker.ts'
import { makeManifest } from '../contracts/metadata-case.ts'
import { FaultyBlobStore } from './faulty-blob-store.ts'

export type RigImage = {
  organization: Organization
  manifestId: number
  digest: Digest
  layers: Buffer[]
  bytes: number
}

export class CollectionRig {
  readonly folder: string
  readonly metadata: Metadata
  readonly store: FaultyBlobStore
  readonly shelf: BlobShelf
  readonly memory = new ManifestMemory()
  readonly uses: LastUses
  readonly transfers = new Transfers()
  readonly limits = { hasQuotaManagement: true, systemRejectBytes: undefined }
  readonly reports: { event: string; fields: Record<string, unknown> }[] = []
  readonly removals: Removal[] = []
  readonly evictions: Removal[] = []
  readonly counted = { done: 0, failed: 0, elsewhere: 0, reservations: 0, history: 0 }
  readonly guard: ClockGuard
  readonly shrinker: Shrinker
  nowMs = 1_800_000_000_000
  realMs = systemClock()
  /** Called between steps. */
  onPause: () => Promise<void> | void = () => {}
  /** The process dies after the next commit: the bytes stay. */
  diesAfterCommit = false

  private constructor(folder: string, metadata: Metadata, store: FaultyBlobStore) {
    this.folder = folder
    this.metadata = metadata
    this.store = store
    const clock = () => this.nowMs
    const report = this.report
    this.shelf = new BlobShelf({ metadata, store, clock, limits: this.limits, onEvent: report })
    this.uses = new LastUses(metadata, () => {}, report)
    this.guard = new ClockGuard({ metadata, clock, report })
    const { memory, shelf, transfers, uses, limits } = this
    const pause = async () => this.onPause()
    const onEvicted = (removal: Removal) => this.evictions.push(removal)
    this.shrinker = new Shrinker({
      ...{ metadata, clock, memory, shelf, transfers, uses, limits, pause, onEvicted, report },
    })
  }

  readonly report = (event: string, fields: Record<string, unknown>) => {
    this.reports.push({ event, fields })
  }

  static async open(t: TestContext, uri?: string): Promise<CollectionRig> {
    const folder = await mkdtemp(join(tmpdir(), 'collection-'))
    const metadata = await openMetadata({ uri, dataFolder: folder })
    const store = new FaultyBlobStore(await openFileBlobStore({ folder: join(folder, 'blobs'), leaseId: 'test' }))
    t.after(async () => {
      await metadata.close()
      await rm(folder, { recursive: true })
    })
    return new CollectionRig(folder, metadata, store)
  }

  /** Of a process of its own. */
  collector(leaseId = 'one', options: { collectsExpired?: boolean } = {}): Collector {
    const { metadata, guard, shrinker, transfers, uses, shelf, memory, store, report } = this
    const realClock = () => this.realMs
    const orphans = new OrphanSweep({ metadata, store, shelf, realClock, report })
    return new Collector({
      ...{ metadata, guard, shrinker, transfers, uses, shelf, orphans, realClock, leaseId, report },
      clock: () => this.nowMs,
      holder: leaseId,
      collectsExpired: options.collectsExpired ?? true,
      delayMs: async () => this.onPause(),
      runJobs: () => Promise.resolve(),
      touchActive: () => Promise.resolve(),
      onCollected: async (removal) => {
        this.removals.push(removal)
        if (!this.diesAfterCommit) await forgetRemoved({ memory, shelf }, [removal])
      },
      events: {
        ran: (result) => {
          this.counted[result] += 1
        },
        reservationsEnded: (_reason, count) => {
          this.counted.reservations += count
        },
        historyRemoved: (rows) => {
          this.counted.history += rows
        },
      },
    })
  }

  /** Time passes as clocks do: the guard sees it go by. */
  async pass(ms: number): Promise<void> {
    const step = 30 * 60 * SECOND_MS
    for (let left = ms; left > 0; left -= step) {
      this.nowMs += Math.min(step, left)
      await this.guard.tick()
    }
  }

  organization(options: { windowSeconds?: number; name?: string } = {}): Promise<Organization> {
    const name = options.name ?? `org${randomBytes(4).toString('hex')}`
    const tagExpirationSeconds = options.windowSeconds ?? 0
    return createOrganization(this.metadata.db, { name, nowMs: this.nowMs, tagExpirationSeconds })
  }

  /** An image that a tag names, all of it stored (unless `isReserved`); it expires after a day. */
  async image(
    organization: Organization,
    tag: string,
    options: { layers?: Buffer[]; isReserved?: boolean; expiresInMs?: number; repository?: string } = {},
  ): Promise<RigImage> {
    const layers = options.layers ?? [randomBytes(100), randomBytes(200)]
    const descriptors = layers.map((layer) => ({ mediaType: 'x', digest: digestOf(layer), size: layer.byteLength }))
    const { manifest, parsed, digest } = makeManifest({ layers: descriptors, annotations: { tag } })
    const { id: organizationId, generation } = organization
    const nowMs = this.nowMs
    const expiresAtMs = nowMs + (options.expiresInMs ?? DAY_MS)
    const name = options.repository ?? 'library/image'
    const items: LedgerItem[] = layers.map((layer) => ({
      kind: 'blob',
      digest: digestOf(layer),
      sizeBytes: layer.byteLength,
    }))
    const manifestId = await this.metadata.transaction(async (tx) => {
      await lockUsage(tx, organizationId)
      const { id: repositoryId } = await ensureRepository(tx, { organizationId, generation, name, nowMs })
      const fields = { repositoryId, manifest, parsed, nowMs, isByDigest: false, expiresAtMs: undefined }
      const { id } = await storeManifest(tx, fields)
      await chargeItems(tx, organizationId, items, undefined)
      await openReservation(tx, { organizationId, manifestId: id, nowMs })
      await pointTag(tx, { repositoryId, name: tag, digest, nowMs, expiresAtMs })
      return id
    })
    if (options.isReserved !== true) for (const layer of layers) await this.publish(organization, layer)
    const bytes = manifest.bytes.byteLength + layers.reduce((sum, layer) => sum + layer.byteLength, 0)
    return { organization, manifestId, digest, layers, bytes }
  }

  async publish({ id: organizationId, generation }: Organization, bytes: Buffer): Promise<boolean> {
    const draft = await this.store.create()
    try {
      await draft.write(bytes, 0)
      return await this.shelf.publish({ organizationId, generation }, digestOf(bytes), draft, bytes.byteLength)
    } finally {
      await draft.close()
    }
  }

  /** A file that somebody put there, so old by real time. */
  async putFile(bytes: Buffer, ageMs: number): Promise<Digest> {
    const digest = digestOf(bytes)
    const path = blobPath(join(this.folder, 'blobs'), digest)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, bytes)
    const seconds = (this.realMs - ageMs) / SECOND_MS
    await utimes(path, seconds, seconds)
    return digest
  }

  async isInStore(layer: Buffer): Promise<boolean> {
    return (await this.store.find(digestOf(layer))) !== undefined
  }

  /** The charge, which must be what a recount says. */
  async charge({ id }: Organization): Promise<number> {
    const { chargeBytes, ledgerBytes, trueBytes } = await recountUsage(this.metadata.db, id)
    if (chargeBytes !== trueBytes || chargeBytes !== ledgerBytes) {
      throw new Error(`the charge is ${chargeBytes}, the ledger ${ledgerBytes}, a recount ${trueBytes}`)
    }
    return chargeBytes
  }

  async count(table: 'manifest' | 'manifest_blob' | 'tag' | 'root' | 'ledger' | 'blob' | 'garbage' | 'reservation') {
    const row = await this.metadata.db
      .selectFrom(table)
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    return Number(row.count)
  }
}
