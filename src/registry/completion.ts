/**
 * Images whose first layer a client has asked for are completed in the background (DESIGN part 4): what is wanted is in
 * rows, so that it survives a restart, for at most 24 hours.
 */
import { BoundedMap } from '../base/bounded-map.ts'
import type { Clock } from '../base/clock.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../base/units.ts'
import { RegistryError, UpstreamError } from '../errors.ts'
import { listMissingBlobsBeside } from '../metadata/blobs.ts'
import {
  listDueIngests,
  postponeIngest,
  removeExpiredIngests,
  removeIngest,
  type Ingest as WantedIngest,
  wantBlobs,
} from '../metadata/ingests.ts'
import type { Metadata } from '../metadata/open.ts'
import type { Digest } from '../oci/digest.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import type { IngestEnd } from './ingest.ts'
import type { BlobEvents, Delay } from './ingest-limits.ts'

export const COMPLETION_LIMITS = {
  /** How long a blob is tried. */
  giveUpMs: DAY_MS,
  /** The pause after the first failure; it doubles with each, up to the longest. */
  retryMs: 30 * SECOND_MS,
  retryMsMax: HOUR_MS,
  /** How often due rows are looked for when nothing else says that there are some. */
  pollMs: 2 * SECOND_MS,
  /** Clients that ask for all layers at once come first, so that their requests are clients' requests. */
  headStartMs: SECOND_MS / 4,
  /** The same layer is not looked up again for this long. */
  askedAgainMs: MINUTE_MS,
  askedMax: 10_000,
  /** Lookups that wait for the database; more are dropped: the next request for a layer brings them again. */
  lookupsMax: 100,
  /** Rows that are looked at at once. */
  dueMax: 50,
} as const

export type CompletionDeps = {
  metadata: Metadata
  clock: Clock
  delayMs: Delay
  onEvent: BlobEvents
  /** Blobs that are received at a time. */
  concurrency: number
  findOrganization: (id: number) => Promise<CompletedOrganization | undefined>
}

/** What came of a completion. `unwanted`: no manifest names it any more, or it is not to be had from the upstream. */
export type CompletionEnd = IngestEnd | { kind: 'held' | 'unwanted' }

export interface CompletableBlobs {
  /** Receive a blob behind every client's request. Errors: as the upstream's, unmapped. */
  complete(repository: { id: number; name: RepositoryName }, digest: Digest): Promise<CompletionEnd>
}

export type CompletedOrganization = {
  blobs: CompletableBlobs
  /** The upstream's name of a repository; undefined when it is no longer ours. */
  repositoryName: (repositoryId: number) => Promise<RepositoryName | undefined>
}

type Layer = { organizationId: number; repositoryId: number; digest: Digest }

export class Completion {
  readonly #deps: CompletionDeps
  readonly #asked = new BoundedMap<string, number>(COMPLETION_LIMITS.askedMax)
  readonly #lookups = new Set<Promise<void>>()
  readonly #running = new Map<string, Promise<void>>()
  readonly #stop = new AbortController()
  readonly #stopped = Promise.withResolvers<void>()
  #wake = Promise.withResolvers<void>()
  #work: Promise<void> | undefined

  constructor(deps: CompletionDeps) {
    this.#deps = deps
  }

  /** A client has asked for a blob; if it is a layer, the rest of its images is wanted. Never throws, never waits. */
  askedFor(layer: Layer): void {
    const key = `${layer.repositoryId} ${layer.digest}`
    const nowMs = this.#deps.clock()
    const askedAtMs = this.#asked.peek(key)
    const isFresh = askedAtMs !== undefined && Math.abs(nowMs - askedAtMs) < COMPLETION_LIMITS.askedAgainMs
    if (isFresh || this.#lookups.size >= COMPLETION_LIMITS.lookupsMax || this.#stop.signal.aborted) return
    this.#asked.set(key, nowMs)
    const lookup = this.#want(layer)
      .catch((error: unknown) => {
        this.#asked.delete(key)
        this.#deps.onEvent('completion_failed', { ...layer, error })
      })
      .finally(() => this.#lookups.delete(lookup))
    this.#lookups.add(lookup)
  }

  /** Begin to work, with what an earlier process left. */
  start(): void {
    this.#work ??= this.#run()
  }

  /**
   * Start nothing new, and wait for what still asks the database. Not for blobs that are being received: they belong to
   * the ingests, and their rows stay due for the next process.
   */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#stopped.resolve()
    this.#wake.resolve()
    await this.#work
    await Promise.all([...this.#lookups, ...this.#running.values()])
  }

  async #want(layer: Layer): Promise<void> {
    const { metadata, clock } = this.#deps
    const { organizationId, repositoryId, digest } = layer
    const missing = await listMissingBlobsBeside(metadata.db, { organizationId, repositoryId, layerDigest: digest })
    const nowMs = clock()
    const wanted = missing
      .filter((blob) => blob.digest !== digest) // That one is the client's own request.
      .map((blob) => ({ organizationId, repositoryId, ...blob, nowMs, giveUpAtMs: nowMs + COMPLETION_LIMITS.giveUpMs }))
    if (wanted.length === 0) return
    await metadata.transaction((tx) => wantBlobs(tx, wanted))
    await this.#pause(COMPLETION_LIMITS.headStartMs)
    this.#wake.resolve()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers()
      try {
        await this.#fillSlots()
      } catch (error) {
        this.#deps.onEvent('completion_failed', { error }) // The database will be back at a later poll.
      }
      await Promise.race([this.#wake.promise, this.#pause(COMPLETION_LIMITS.pollMs)])
    }
  }

  /** Wait, or until it is stopped. */
  async #pause(ms: number): Promise<void> {
    await this.#deps.delayMs(ms, { signal: this.#stop.signal }).catch(() => {})
  }

  async #fillSlots(): Promise<void> {
    const { metadata, clock, concurrency, onEvent } = this.#deps
    if (this.#running.size >= concurrency) return
    const nowMs = clock()
    const givenUp = await removeExpiredIngests(metadata.db, nowMs)
    if (givenUp > 0) onEvent('completion_given_up', { blobs: givenUp })
    for (const wanted of await listDueIngests(metadata.db, nowMs, COMPLETION_LIMITS.dueMax)) {
      const key = `${wanted.organizationId} ${wanted.digest}`
      if (this.#stop.signal.aborted || this.#running.size >= concurrency) return
      if (this.#running.has(key)) continue
      const attempt = this.#attempt(wanted)
        .catch((error: unknown) => onEvent('completion_failed', { digest: wanted.digest, error }))
        .finally(() => {
          this.#running.delete(key)
          this.#wake.resolve()
        })
      this.#running.set(key, attempt)
    }
  }

  async #attempt(wanted: WantedIngest): Promise<void> {
    const { metadata } = this.#deps
    const { organizationId, repositoryId, digest } = wanted
    const organization = await this.#deps.findOrganization(organizationId)
    const name = await organization?.repositoryName(repositoryId)
    if (organization === undefined || name === undefined) {
      await removeIngest(metadata.db, { organizationId, digest })
      return
    }
    const completing = complete(organization.blobs, { id: repositoryId, name }, digest)
    const problem = await Promise.race([completing, this.#stopped.promise])
    if (this.#stop.signal.aborted) return
    if (problem === undefined) await removeIngest(metadata.db, { organizationId, digest })
    else await this.#postpone(wanted, problem)
  }

  async #postpone(wanted: WantedIngest, error: unknown): Promise<void> {
    const { organizationId, digest, attempts } = wanted
    const pauseMs = Math.min(COMPLETION_LIMITS.retryMs * 2 ** Math.min(attempts, 20), COMPLETION_LIMITS.retryMsMax)
    const nextAttemptAtMs = this.#deps.clock() + pauseMs
    this.#deps.onEvent('completion_failed', { organizationId, digest, attempts: attempts + 1, error })
    const fields = { organizationId, digest, nextAttemptAtMs, attempts: attempts + 1 }
    await postponeIngest(this.#deps.metadata.db, fields)
  }
}

/** Undefined when there is nothing more to do; else why it is to be tried again. */
async function complete(
  blobs: CompletedOrganization['blobs'],
  repository: { id: number; name: RepositoryName },
  digest: Digest,
): Promise<unknown> {
  try {
    const end = await blobs.complete(repository, digest)
    if (end.kind === 'failed') return isGone(end.error) ? undefined : end.error
    return end.kind === 'unstored' ? new Error('it could not be stored') : undefined
  } catch (error) {
    return isGone(error) ? undefined : (error ?? new Error('the completion failed'))
  }
}

/** The upstream does not have it. That there is no upstream now (frozen, no configuration) may pass. */
function isGone(error: unknown): boolean {
  return !(error instanceof RegistryError) && error instanceof UpstreamError && error.failure === 'not_found'
}
