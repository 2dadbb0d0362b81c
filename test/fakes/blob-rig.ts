/**
 * The byte side of the cache with real files and a real database, an upstream in the process, and time in the test's
 * hand.
 */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { monotonicMs } from '../../src/base/clock.ts'
import { SECOND_MS } from '../../src/base/units.ts'
import { openFileBlobStore } from '../../src/blobs/file-blob-store.ts'
import { findBlobLink } from '../../src/metadata/blobs.ts'
import { storeManifest } from '../../src/metadata/manifests.ts'
import { type Metadata, openMetadata } from '../../src/metadata/open.ts'
import { createOrganization } from '../../src/metadata/organizations.ts'
import { ensureRepository } from '../../src/metadata/repositories.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { isNotAManifest, parseManifest } from '../../src/oci/manifest.ts'
import { OCI_MANIFEST } from '../../src/oci/media-type.ts'
import type { RequestedRange, Upstream } from '../../src/oci/registry.ts'
import type { RepositoryName } from '../../src/oci/repository-name.ts'
import type { BlobShelf } from '../../src/registry/blob-shelf.ts'
import { INGEST_LIMITS } from '../../src/registry/ingest-limits.ts'
import { Ingests } from '../../src/registry/ingests.ts'
import { type BlobRepository, OrganizationBlobs } from '../../src/registry/organization-blobs.ts'
import type { BlobSink, ServedBlob, UnsatisfiableRange } from '../../src/registry/served.ts'
import type { Transfers } from '../../src/registry/transfers.ts'
import { BlobUpstream } from './blob-upstream.ts'
import { FaultyBlobStore } from './faulty-blob-store.ts'
import { openSpace } from './open-space.ts'

export class BlobRig {
  readonly folder: string
  readonly metadata: Metadata
  readonly store: FaultyBlobStore
  readonly upstream = new BlobUpstream()
  readonly events: { event: string; fields: Record<string, unknown> }[] = []
  /** Pauses that were asked for; all but that of a stalled reader end at once. */
  readonly delays: number[] = []
  hasRoom = true
  nowMs = 1_000_000
  /** Whoever looks whether a blob is stored goes on, with what it found, only after it. */
  afterLook: Promise<void> | undefined
  /** Who has looked. */
  looks = 0
  shelf: BlobShelf
  ingests: Ingests
  readonly transfers: Transfers
  #stalls: (() => void)[] = []

  private constructor(folder: string, metadata: Metadata, store: FaultyBlobStore) {
    this.folder = folder
    this.metadata = metadata
    this.store = store
    const onEvent = (event: string, fields: Record<string, unknown>) => {
      this.events.push({ event, fields })
    }
    const clock = () => this.nowMs
    const space = openSpace({ metadata, store, clock, onEvent, hasRoom: () => this.hasRoom })
    this.shelf = space.shelf
    this.transfers = space.transfers
    const findLink = this.shelf.findLink.bind(this.shelf)
    this.shelf.findLink = async (key) => {
      const link = await findLink(key)
      this.looks += 1
      await this.afterLook
      return link
    }
    this.ingests = new Ingests({
      ...space,
      hasRoom: () => Promise.resolve(this.hasRoom),
      delayMs: (ms, options) => this.delay(ms, options),
      onEvent,
    })
  }

  static async open(t: TestContext): Promise<BlobRig> {
    const folder = await mkdtemp(join(tmpdir(), 'blob-rig-'))
    const metadata = await openMetadata({ uri: undefined, dataFolder: folder })
    const inner = await openFileBlobStore({ folder: join(folder, 'blobs'), leaseId: 'test' })
    const rig = new BlobRig(folder, metadata, new FaultyBlobStore(inner))
    t.after(async () => {
      await rig.ingests.stop()
      await rig.shelf.drain()
      await metadata.close()
      await rm(folder, { recursive: true })
    })
    return rig
  }

  delay(ms: number, options: { signal?: AbortSignal } = {}): Promise<void> {
    this.delays.push(ms)
    if (ms !== INGEST_LIMITS.stallMsMax) return new Promise((resolve) => setImmediate(resolve))
    return new Promise((resolve, reject) => {
      this.#stalls.push(resolve)
      options.signal?.addEventListener('abort', () => reject(options.signal?.reason))
    })
  }

  /** The time after which a stalled reader is cut has passed. */
  endStalls(): void {
    for (const end of this.#stalls.splice(0)) end()
  }

  count(event: string): number {
    return this.events.filter((entry) => entry.event === event).length
  }

  async organization(name: string, options: Partial<OrganizationOptions> = {}): Promise<RigOrganization> {
    const { id } = await createOrganization(this.metadata.db, { name, nowMs: 0, tagExpirationSeconds: 0 })
    const upstream = options.upstream ?? this.upstream
    const blobs = new OrganizationBlobs({
      organizationId: id,
      generation: options.generation ?? 1,
      upstream: options.isFrozen === true ? () => undefined : () => upstream,
      mayReuse: () => Promise.resolve(options.mayReuse ?? false),
      shelf: this.shelf,
      ingests: this.ingests,
      transfers: this.transfers,
      clock: () => this.nowMs,
      completion: options.completion,
    })
    return new RigOrganization(this, id, blobs)
  }

  /** Names of drafts in the folder. */
  drafts(): Promise<string[]> {
    return readdir(join(this.folder, 'blobs', 'ingest'))
  }
}

type OrganizationOptions = {
  generation: number
  upstream: Upstream
  mayReuse: boolean
  isFrozen: boolean
  completion: { askedFor(layer: { organizationId: number; repositoryId: number; digest: Digest }): void }
}

export type Layer = { digest: string; size: number; urls?: string[] }

export class RigOrganization {
  readonly id: number
  readonly blobs: OrganizationBlobs
  readonly #rig: BlobRig

  constructor(rig: BlobRig, id: number, blobs: OrganizationBlobs) {
    this.#rig = rig
    this.id = id
    this.blobs = blobs
  }

  /** A repository that holds a manifest of these layers. */
  async repository(name: string, layers: readonly Layer[] = []): Promise<BlobRepository & { id: number }> {
    const { metadata } = this.#rig
    const fields = { organizationId: this.id, generation: 1, name, nowMs: 0 }
    const { id } = await metadata.transaction((tx) => ensureRepository(tx, fields))
    if (layers.length > 0) await this.name(id, layers)
    return { id, name: name as RepositoryName }
  }

  async name(repositoryId: number, layers: readonly Layer[]): Promise<void> {
    const document = { schemaVersion: 2, layers: layers.map((layer) => ({ mediaType: 'x', ...layer })) }
    const bytes = Buffer.from(JSON.stringify(document))
    const parsed = parseManifest(bytes, OCI_MANIFEST)
    assert.ok(!isNotAManifest(parsed))
    const descriptor = { mediaType: OCI_MANIFEST, digest: digestOf(bytes), size: bytes.byteLength }
    const manifest = { descriptor, bytes }
    const fields = { repositoryId, manifest, parsed, nowMs: 0, isByDigest: false, expiresAtMs: undefined }
    await this.#rig.metadata.transaction((tx) => storeManifest(tx, fields))
  }

  async open(repository: BlobRepository, digest: Digest, range?: RequestedRange): Promise<ServedBlob> {
    const served = await this.blobs.openBlob(repository, digest, range)
    assert.ok(!('kind' in served), 'the range is unsatisfiable')
    return served
  }

  openPart(
    repository: BlobRepository,
    digest: Digest,
    range: RequestedRange,
  ): Promise<ServedBlob | UnsatisfiableRange> {
    return this.blobs.openBlob(repository, digest, range)
  }

  /** All bytes, and how they came about. */
  async get(repository: BlobRepository, digest: Digest, range?: RequestedRange) {
    const served = await this.open(repository, digest, range)
    const sink = new Collector()
    await served.pipe(sink)
    return { bytes: sink.bytes(), outcome: served.provenance.outcome, served }
  }

  async isStored(repository: { id: number }, digest: Digest): Promise<boolean> {
    const key = { organizationId: this.id, repositoryId: repository.id, digest }
    return (await findBlobLink(this.#rig.metadata.db, key))?.isStored === true
  }
}

/** A client that takes everything, or waits when told to. */
export class Collector implements BlobSink {
  readonly #chunks: Buffer[] = []
  readonly #watchers: { bytes: number; resolve: () => void }[] = []
  length = 0
  /** While set, the client takes nothing. */
  stalled: Promise<void> | undefined
  isGone = false

  async write(block: Uint8Array): Promise<boolean> {
    this.#chunks.push(Buffer.from(block))
    this.length += block.byteLength
    for (const watcher of this.#watchers) if (this.length >= watcher.bytes) watcher.resolve()
    await this.stalled
    return !this.isGone
  }

  /** Resolves when so many bytes have come. */
  async until(bytes: number): Promise<void> {
    if (this.length < bytes) await new Promise<void>((resolve) => this.#watchers.push({ bytes, resolve }))
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }
}

/** Let everything that can go on without outside help go on. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

/** Go on when `isTrue`. Errors: when it has not come about after 10 s, which no machine needs for it. */
export async function until(isTrue: () => boolean): Promise<void> {
  const deadlineMs = monotonicMs() + 10 * SECOND_MS
  while (!isTrue()) {
    if (monotonicMs() > deadlineMs) throw new Error(`it never came about: ${isTrue}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
