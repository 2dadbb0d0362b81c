/** What is stored, for all organizations: links in memory, verification of files, healing, publication. */

import { BoundedMap } from '../base/bounded-map.ts'
import type { Clock } from '../base/clock.ts'
import type { BlobDraft, BlobReader, BlobStore } from '../blobs/blob-store.ts'
import {
  type BlobLink,
  findBlobLink,
  findStoredBlob,
  forgetBlob,
  isGarbage,
  publishBlob,
  removeGarbage,
} from '../metadata/blobs.ts'
import type { Metadata } from '../metadata/open.ts'
import { findOrganizationById } from '../metadata/organizations.ts'
import { findLimit, type LimitSettings } from '../metadata/quotas.ts'
import type { Digest } from '../oci/digest.ts'
import { BlobLock } from './blob-lock.ts'
import { BlobDamagedError, streamBlobVerifying } from './blob-streamer.ts'
import type { BlobEvents } from './ingest-limits.ts'

export const SHELF_LIMITS = {
  /** Blobs whose links are in memory, and how many repositories of each. */
  linksMax: 50_000,
  linksPerBlobMax: 64,
  /** Files that were read whole and found right in this process's life. */
  verifiedMax: 200_000,
  /** Blobs that were published lately; one request takes less time than so many publications. */
  publishedMax: 10_000,
  /** Files that wait to be verified because a range of them was read. */
  verificationsMax: 100,
} as const

export type BlobShelfDeps = {
  metadata: Metadata
  store: BlobStore
  clock: Clock
  limits: LimitSettings
  onEvent: BlobEvents
  onReservationsEnded?: ReservationsEnded | undefined
}

/** For metrics; what was removed is told by `Removal.reservations`. */
export type ReservationsEnded = (reason: 'fulfilled' | 'refused', count: number) => void

/** Who may have bytes: an organization, as long as its upstream is the one that gave them. */
export type BlobHolder = { organizationId: number; generation: number }

type LinkKey = { organizationId: number; repositoryId: number; digest: Digest }

/** Published bytes, opened. `isVerified`: this very file has been read whole and was right. */
export type ShelvedBlob = { reader: BlobReader; isVerified: boolean }

export class BlobShelf {
  readonly #deps: BlobShelfDeps
  readonly #links = new BoundedMap<Digest, Map<string, BlobLink>>(SHELF_LIMITS.linksMax)
  readonly #verified = new BoundedMap<string, true>(SHELF_LIMITS.verifiedMax)
  readonly #lock = new BlobLock()
  readonly #waiting = new Set<Digest>()
  #verifying: Promise<void> | undefined
  readonly #published = new BoundedMap<Digest, number>(SHELF_LIMITS.publishedMax)
  #publications = 0
  #epoch = 0

  constructor(deps: BlobShelfDeps) {
    this.#deps = deps
  }

  /** Changes when the blob is published: who found nothing and sees it changed looks again. */
  lastPublication(digest: Digest): number {
    return this.#published.peek(digest) ?? 0
  }

  /** A link that is known without asking: named and stored. Memory only. */
  recallLink(key: LinkKey): BlobLink | undefined {
    return this.#links.peek(key.digest)?.get(`${key.organizationId}/${key.repositoryId}`)
  }

  async findLink(key: LinkKey): Promise<BlobLink | undefined> {
    const epoch = this.#epoch
    const link = await findBlobLink(this.#deps.metadata.db, key)
    if (link?.isNamed === true && link.isStored && epoch === this.#epoch) this.#rememberLink(key, link)
    return link
  }

  /** Links of a blob may have changed: a manifest that names it went, or the blob itself did. */
  forget(digest: Digest): void {
    this.#epoch += 1
    this.#links.delete(digest)
  }

  /** Any link may have changed. */
  forgetAll(): void {
    this.#epoch += 1
    this.#links.clear()
  }

  /** Whether the store holds it, for whichever organization. */
  async findStored(digest: Digest): Promise<{ sizeBytes: number } | undefined> {
    return findStoredBlob(this.#deps.metadata.db, digest)
  }

  /** Whether a manifest of one of the repositories names it, and the holder is not of a former generation. */
  async isNamed(holder: BlobHolder, repositoryIds: Iterable<number>, digest: Digest): Promise<boolean> {
    const { organizationId, generation } = holder
    const organization = await findOrganizationById(this.#deps.metadata.db, organizationId)
    if (organization?.generation !== generation) return false
    for (const repositoryId of repositoryIds) {
      const link = await findBlobLink(this.#deps.metadata.db, { organizationId, repositoryId, digest })
      if (link?.isNamed === true) return true
    }
    return false
  }

  /** A draft of the store. */
  createDraft(): Promise<BlobDraft> {
    return this.#deps.store.create()
  }

  /**
   * Bytes before rows: make a verified draft durable and visible, then say that the organization may have it; false
   * when its upstream has just become another.
   */
  publish(holder: BlobHolder, digest: Digest, draft: Pick<BlobDraft, 'publish'>, sizeBytes: number): Promise<boolean> {
    return this.#lock.run(digest, async () => {
      await draft.publish(digest)
      if (await this.#grant(holder, digest, sizeBytes)) return true
      // No row points at it, and none will: it would lie there for ever.
      if ((await this.findStored(digest)) === undefined) await this.#deps.store.delete(digest)
      return false
    })
  }

  /** Give the organization a right to bytes that are stored already; false when they or its upstream have just gone. */
  grant(holder: BlobHolder, digest: Digest, sizeBytes: number): Promise<boolean> {
    return this.#lock.run(digest, async () => {
      const stored = await this.#deps.store.find(digest)
      if (stored?.sizeBytes !== sizeBytes) return false
      if (!(await this.#grant(holder, digest, sizeBytes))) return false
      this.#deps.onEvent('blob_reused', { organizationId: holder.organizationId, digest })
      return true
    })
  }

  /**
   * Open a blob that rows say is stored. Undefined when it cannot be had from the store: then it is to be fetched
   * again.
   * A missing or truncated file is forgotten at once.
   */
  async open(digest: Digest, sizeBytes: number): Promise<ShelvedBlob | undefined> {
    let reader: BlobReader | undefined
    try {
      reader = await this.#deps.store.open(digest)
    } catch (error) {
      // Perhaps it is the store that fails, and the blob is whole: it is asked of the upstream and not forgotten.
      this.#deps.onEvent('store_failed', { digest, error })
      return undefined
    }
    if (reader?.sizeBytes === sizeBytes) return { reader, isVerified: this.#isVerified(digest, reader) }
    await reader?.close()
    await this.heal(digest, sizeBytes, reader?.fingerprint)
    return undefined
  }

  /** The file that `reader` reads is what its digest says. */
  markVerified(digest: Digest, reader: BlobReader): void {
    this.#verified.set(`${digest} ${reader.fingerprint}`, true)
  }

  /**
   * Forget a blob whose file is missing or damaged, and remove the file: rows go before their bytes. Not if another
   * file has come in its place meanwhile. Never throws: the request that met the damage goes on.
   */
  async heal(digest: Digest, sizeBytes: number, badFingerprint: string | undefined): Promise<void> {
    try {
      await this.#lock.run(digest, async () => {
        const now = await this.#deps.store.open(digest).catch(() => undefined)
        await now?.close()
        if (now !== undefined && now.fingerprint !== badFingerprint && now.sizeBytes === sizeBytes) return
        this.#deps.onEvent('blob_damaged', { digest, isMissing: now === undefined })
        this.forget(digest)
        await this.#deps.metadata.transaction((tx) => forgetBlob(tx, digest, this.#deps.clock()))
        this.forget(digest)
        await this.#deps.store.delete(digest)
      })
    } catch (error) {
      this.#deps.onEvent('store_failed', { digest, error })
    }
  }

  /**
   * Remove the bytes of rows of garbage, and then the rows: bytes that were published again meanwhile stay. Resolves
   * to the digests whose row is gone by now. Never rejects: what cannot be removed keeps its row and is tried again.
   */
  async collect(digests: Iterable<Digest>): Promise<Digest[]> {
    const gone: Digest[] = []
    const removed = { count: 0, sizeBytes: 0 }
    for (const digest of digests) {
      try {
        const sizeBytes = await this.#lock.run(digest, () => this.#removeGarbage(digest))
        gone.push(digest)
        if (sizeBytes === undefined) continue
        removed.count += 1
        removed.sizeBytes += sizeBytes
      } catch (error) {
        this.#deps.onEvent('store_failed', { digest, error })
      }
    }
    if (removed.count > 0) this.#deps.onEvent('blobs_removed', removed)
    return gone
  }

  /** Remove a file that no row names; false when one does by now. Errors: the store's and the database's. */
  removeOrphan(digest: Digest): Promise<boolean> {
    const { metadata, store } = this.#deps
    return this.#lock.run(digest, async () => {
      if ((await this.findStored(digest)) !== undefined || (await isGarbage(metadata.db, digest))) return false
      return store.delete(digest)
    })
  }

  /** Under the lock of the digest. Undefined when nothing was removed. */
  async #removeGarbage(digest: Digest): Promise<number | undefined> {
    const { metadata, store } = this.#deps
    if (!(await isGarbage(metadata.db, digest))) return undefined
    const stored = await store.find(digest)
    if (stored !== undefined) await store.delete(digest)
    await removeGarbage(metadata.db, digest)
    return stored?.sizeBytes
  }

  /** Verify a file beside the traffic, one at a time, because a part of it was read unverified. */
  verifyLater(digest: Digest): void {
    if (this.#waiting.size >= SHELF_LIMITS.verificationsMax) return
    this.#waiting.add(digest)
    this.#verifying ??= this.#verifyWaiting().finally(() => {
      this.#verifying = undefined
    })
  }

  /** Resolves when no verification is under way. */
  async drain(): Promise<void> {
    await this.#verifying
  }

  async #verifyWaiting(): Promise<void> {
    for (const digest of this.#waiting) {
      await this.#verify(digest).catch((error: unknown) => this.#deps.onEvent('store_failed', { digest, error }))
      this.#waiting.delete(digest)
    }
  }

  async #verify(digest: Digest): Promise<void> {
    const reader = await this.#deps.store.open(digest)
    if (reader === undefined) return
    try {
      if (this.#isVerified(digest, reader)) return
      await streamBlobVerifying(reader, digest, { write: () => Promise.resolve(true) })
      this.markVerified(digest, reader)
    } catch (error) {
      if (!(error instanceof BlobDamagedError)) throw error
      await this.heal(digest, reader.sizeBytes, reader.fingerprint)
    } finally {
      await reader.close()
    }
  }

  #isVerified(digest: Digest, reader: BlobReader): boolean {
    return this.#verified.peek(`${digest} ${reader.fingerprint}`) === true
  }

  async #grant(holder: BlobHolder, digest: Digest, sizeBytes: number): Promise<boolean> {
    const { organizationId, generation } = holder
    const fields = { organizationId, generation, digest, sizeBytes, nowMs: this.#deps.clock() }
    let fulfilled = 0
    const onFulfilled = (reservations: number) => {
      fulfilled = reservations
    }
    const isGranted = await this.#deps.metadata.transaction(async (tx) => {
      const { limitBytes } = await findLimit(tx, organizationId, this.#deps.limits)
      return publishBlob(tx, { ...fields, limitBytes, onFulfilled })
    })
    if (!isGranted) return false
    this.#deps.onReservationsEnded?.('fulfilled', fulfilled)
    this.#publications += 1
    this.#published.set(digest, this.#publications)
    return true
  }

  #rememberLink(key: LinkKey, link: BlobLink): void {
    const known = this.#links.get(key.digest) ?? new Map<string, BlobLink>()
    if (known.size >= SHELF_LIMITS.linksPerBlobMax) known.clear()
    known.set(`${key.organizationId}/${key.repositoryId}`, link)
    this.#links.set(key.digest, known)
  }
}
