/**
 * A blob being received: one request upstream, one draft, any number of readers.
 *
 * Storing: the disk sets the pace, never a client; readers that lag read the draft. Straight-through, when there is no
 * room or a write has failed: nothing is kept, and the slowest reader sets the pace.
 */
import type { Hash } from 'node:crypto'
import type { BlobDraft } from '../blobs/blob-store.ts'
import { UpstreamError } from '../errors.ts'
import { createDigestHash, type Digest, digestHex } from '../oci/digest.ts'
import type { Upstream } from '../oci/registry.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { IngestDraft } from './ingest-draft.ts'
import { type BlobEvent, type BlobEvents, type Delay, INGEST_LIMITS } from './ingest-limits.ts'
import { IngestReader, type ReadableIngest } from './ingest-reader.ts'
import { IngestRing } from './ingest-ring.ts'
import { IngestSource, type Intake } from './ingest-source.ts'

const { blockBytes, ringBlocksMax } = INGEST_LIMITS

export type IngestRequest = {
  organizationId: number
  /** Of the organization's content: it changes with the upstream, and the blob is of no use to another. */
  generation: number
  upstream: Upstream
  /** Where the upstream is asked, with its name there; without id when we hold nothing of it. */
  repository: { id: number | undefined; name: RepositoryName }
  digest: Digest
  /** As a manifest's descriptor says; undefined when none names it. */
  sizeBytes: number | undefined
  priority: 'client' | 'background'
}

export type IngestDeps = {
  /** A draft to write to; undefined when the blob is not to be kept: no room, or the store cannot be written. */
  createDraft(sizeBytes: number | undefined): Promise<BlobDraft | undefined>
  /** Whether there is still room; asked now and then. */
  hasRoom(): Promise<boolean>
  /** Make verified bytes visible; false when nobody is to keep them. Then, and when it throws, they are discarded. */
  publish(draft: IngestDraft, sizeBytes: number): Promise<boolean>
  delayMs: Delay
  onEvent: BlobEvents
}

export type IngestEnd = { kind: 'published' | 'unstored' } | { kind: 'failed'; error: Error }

export class Ingest implements ReadableIngest, Intake {
  readonly request: IngestRequest
  /** Repositories whose clients asked for it: it is kept if a manifest of one of them names it in the end. */
  readonly repositoryIds = new Set<number>()
  /** Resolves when the upstream has answered 200; rejects with its error. */
  readonly whenOpened: Promise<void>
  /** Resolves when all is over, publication included. */
  readonly ended: Promise<IngestEnd>
  readonly #deps: IngestDeps
  readonly #source: IngestSource
  readonly #hash: Hash
  readonly #ring = new IngestRing()
  readonly #readers = new Set<IngestReader>()
  readonly #opening = Promise.withResolvers<void>()
  readonly #stopStalls = new AbortController()
  #sizeBytes: number | undefined
  #draft: IngestDraft | undefined
  #isStraight = false
  #isVerified = false
  #isOver = false
  #failure: Error | undefined
  #isPaused = false
  #isWatching = false
  #change: PromiseWithResolvers<void> | undefined
  #isWaking = false

  constructor(request: IngestRequest, deps: IngestDeps) {
    this.request = request
    this.#deps = deps
    this.#sizeBytes = request.sizeBytes
    if (request.repository.id !== undefined) this.repositoryIds.add(request.repository.id)
    this.#hash = createDigestHash(request.digest)
    const { upstream, repository, digest, sizeBytes, priority } = request
    const { delayMs, onEvent } = deps
    const asked = { upstream, name: repository.name, digest, sizeBytes, priority }
    this.#source = new IngestSource({ ...asked, intake: this, delayMs, onEvent })
    this.whenOpened = this.#opening.promise
    this.whenOpened.catch(() => {}) // Perhaps nobody waits for it.
    this.ended = this.#run()
  }

  /** Of the whole blob; undefined as long as nobody has said it. */
  get sizeBytes(): number | undefined {
    return this.#sizeBytes
  }

  get arrivedBytes(): number {
    return this.#ring.arrivedBytes
  }

  /** Whether nobody may join any more: it failed, or what it brought is published or given up. */
  get isOver(): boolean {
    return this.#isOver
  }

  get failure(): Error | undefined {
    return this.#failure
  }

  get isVerified(): boolean {
    return this.#isVerified
  }

  get readableEnd(): number {
    const arrived = this.#ring.arrivedBytes
    if (this.#isVerified) return arrived
    return Math.max(0, Math.min(arrived, (this.#sizeBytes ?? arrived) - INGEST_LIMITS.heldBackBytes))
  }

  /** Read from `start`, `stop` excluded; undefined when bytes from there on are gone. */
  join(start: number, stop: number | undefined): IngestReader | undefined {
    if (this.#isOver || !this.#canRead(start)) return undefined
    this.promote()
    const reader = new IngestReader(this, start, stop)
    this.#readers.add(reader)
    return reader
  }

  /** A client waits for it: it is no longer background work. Idempotent. */
  promote(): void {
    this.#source.promote()
  }

  /** End it: readers are cut, nothing is kept. Nothing happens once it is verified. */
  stop(reason: Error): void {
    if (!this.#isVerified) this.#source.stop(reason)
  }

  // What the source calls.

  async opened(sizeBytes: number | undefined): Promise<void> {
    this.#sizeBytes = sizeBytes
    const draft = await this.#deps.createDraft(sizeBytes)
    if (draft === undefined) this.#goStraight('no draft')
    else {
      const onBroken = (error: unknown) => this.#goStraight('a write failed', error)
      this.#draft = new IngestDraft(draft, () => this.#makeWay(), onBroken)
    }
    this.#opening.resolve()
  }

  take(chunk: Uint8Array): boolean {
    this.#ring.append(chunk, this.#sizeBytes, (index, block) => this.#keep(index, block))
    this.#trim()
    if (this.#change !== undefined && !this.#isWaking) {
      // Once for all chunks of this turn of the event loop.
      this.#isWaking = true
      setImmediate(() => this.#wake())
    }
    this.#isPaused = this.#mustPause()
    if (this.#isPaused && this.#isStraight) this.#watchStalls()
    return !this.#isPaused
  }

  // What the readers call.

  get isStraightThrough(): boolean {
    return this.#isStraight
  }

  sliceAt(position: number, end: number): Uint8Array | undefined {
    return this.#ring.slice(position, end)
  }

  async readDraft(buffer: Uint8Array, position: number, end: number): Promise<Uint8Array> {
    const readableEnd = Math.min(end, this.#draft?.readableBytes ?? 0)
    if (this.#draft === undefined || position >= readableEnd) throw new Error('the bytes of this ingest are gone')
    const bytes = await this.#draft.read(buffer.subarray(0, readableEnd - position), position)
    if (bytes === 0) throw new Error('the draft of this ingest is shorter than what was written')
    return buffer.subarray(0, bytes)
  }

  changed(): Promise<void> {
    this.#change ??= Promise.withResolvers()
    return this.#change.promise
  }

  advanced(): void {
    if (this.#isStraight) this.#makeWay()
  }

  leave(reader: IngestReader): void {
    this.#readers.delete(reader)
    if (this.#isStraight) this.#makeWay()
    this.#stopWhenUseless()
    this.#closeUnreadDraft()
  }

  async #run(): Promise<IngestEnd> {
    this.#report('ingest_started')
    try {
      await this.#source.run()
      this.#verify()
    } catch (error) {
      return this.#fail(error instanceof Error ? error : new Error('the ingest failed', { cause: error }))
    }
    const isPublished = await this.#publish()
    this.#isOver = true
    this.#stopStalls.abort()
    this.#closeUnreadDraft()
    return { kind: isPublished ? 'published' : 'unstored' }
  }

  #keep(index: number, block: Buffer): void {
    this.#hash.update(block)
    if (this.#isStraight) return
    this.#draft?.write(index, block)
    if ((index + 1) % (INGEST_LIMITS.roomCheckBytes / blockBytes) !== 0) return
    this.#deps.hasRoom().then(
      (hasRoom) => hasRoom || this.#isVerified || this.#goStraight('no room'),
      () => {}, // That nobody knows is no reason to keep nothing.
    )
  }

  /** Nobody gets the last bytes before this. */
  #verify(): void {
    const tail = this.#ring.tail()
    if (tail !== undefined) {
      this.#hash.update(tail.block)
      if (!this.#isStraight) this.#draft?.write(tail.index, tail.block)
    }
    const { digest, upstream } = this.request
    if (this.#hash.digest('hex') !== digestHex(digest)) {
      this.#report('digest_mismatch', { host: upstream.host })
      throw new UpstreamError('protocol', upstream.host, `${upstream.host} sent bytes that do not match ${digest}`)
    }
    this.#sizeBytes = this.#ring.arrivedBytes
    this.#isVerified = true
    this.#report('ingest_verified', { sizeBytes: this.#sizeBytes, isStored: !this.#isStraight })
    this.#wake()
  }

  async #publish(): Promise<boolean> {
    const draft = this.#draft
    await draft?.settled()
    if (draft === undefined || this.#isStraight) return false
    try {
      if (await this.#deps.publish(draft, this.#ring.arrivedBytes)) {
        this.#report('ingest_published')
        return true
      }
    } catch (error) {
      this.#report('publish_failed', { error })
    }
    await this.#discard(draft)
    return false
  }

  async #fail(error: Error): Promise<IngestEnd> {
    this.#failure = error
    this.#isOver = true
    this.#stopStalls.abort()
    this.#report('ingest_failed', { error })
    this.#opening.reject(error)
    for (const reader of [...this.#readers]) reader.cut(error)
    if (this.#draft !== undefined) {
      this.#draft.abandon()
      await this.#discard(this.#draft)
      await this.#close(this.#draft)
    }
    return { kind: 'failed', error }
  }

  /** Keep nothing from now on. What was written stays readable for those who lag. */
  #goStraight(reason: string, error?: unknown): void {
    if (this.#isStraight) return
    this.#isStraight = true
    this.#report('ingest_straight_through', { reason, error })
    if (this.#draft !== undefined) {
      this.#draft.abandon()
      void this.#discard(this.#draft)
    }
    this.#makeWay()
    this.#stopWhenUseless()
    this.#closeUnreadDraft()
  }

  #stopWhenUseless(): void {
    if (this.#isStraight && this.#readers.size === 0) this.stop(new Error('nobody reads it and it cannot be kept'))
  }

  #canRead(start: number): boolean {
    const firstInMemory = this.#ring.firstIndex * blockBytes
    if (start >= firstInMemory) return true
    return (this.#draft?.readableBytes ?? 0) >= firstInMemory
  }

  #trim(): void {
    if (this.#isStraight) this.#ring.trim(ringBlocksMax - 1, (index) => this.#isAwaited(index))
    else this.#ring.trim(ringBlocksMax, (index) => index >= (this.#draft?.writtenBlocks ?? 0))
  }

  #isAwaited(index: number): boolean {
    for (const reader of this.#readers) {
      if (reader.needs(index * blockBytes, (index + 1) * blockBytes)) return true
    }
    return false
  }

  #mustPause(): boolean {
    if (!this.#isStraight) return this.#draft?.isFull ?? false
    return this.#ring.blocks >= ringBlocksMax && this.#isAwaited(this.#ring.firstIndex)
  }

  #makeWay(): void {
    this.#trim()
    if (this.#isPaused && !this.#mustPause()) {
      this.#isPaused = false
      this.#source.resume()
    } else if (this.#isPaused && this.#isStraight) this.#watchStalls()
    if (this.#isStraight) this.#closeUnreadDraft()
  }

  /** While all wait for the slowest: cut whoever takes nothing for `stallMsMax`. */
  #watchStalls(): void {
    if (this.#isWatching) return
    this.#isWatching = true
    for (const reader of this.#readers) reader.hasTaken = false
    this.#deps.delayMs(INGEST_LIMITS.stallMsMax, { signal: this.#stopStalls.signal }).then(
      () => {
        this.#isWatching = false
        if (this.#isPaused) this.#cutStalled()
        if (this.#isPaused) this.#watchStalls()
      },
      () => {}, // It is over.
    )
  }

  #cutStalled(): void {
    const start = this.#ring.firstIndex * blockBytes
    for (const reader of [...this.#readers]) {
      if (reader.hasTaken || !reader.needs(start, start + blockBytes)) continue
      this.#report('reader_cut', { position: reader.position })
      reader.cut(new Error('the client took nothing for too long while others waited for it'))
    }
  }

  #wake(): void {
    this.#isWaking = false
    this.#change?.resolve()
    this.#change = undefined
  }

  #closeUnreadDraft(): void {
    const draft = this.#draft
    if (draft === undefined || !(this.#isOver || this.#isStraight)) return
    const end = this.#ring.firstIndex * blockBytes
    for (const reader of this.#readers) if (reader.needs(0, end)) return
    void this.#close(draft)
  }

  async #discard(draft: IngestDraft): Promise<void> {
    await draft.discard().catch((error: unknown) => this.#report('store_failed', { error }))
  }

  async #close(draft: IngestDraft): Promise<void> {
    await draft.close().catch((error: unknown) => this.#report('store_failed', { error }))
  }

  #report(event: BlobEvent, fields: Record<string, unknown> = {}): void {
    const { organizationId, digest } = this.request
    this.#deps.onEvent(event, { organizationId, digest, ...fields })
  }
}
