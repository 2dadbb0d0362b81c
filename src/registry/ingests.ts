/** All running ingests: one per organization, generation of its content, and digest. */
import { RegistryError, UpstreamError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { DirectRanges } from './blob-direct-range.ts'
import type { BlobHolder, BlobShelf } from './blob-shelf.ts'
import { Ingest, type IngestDeps, type IngestRequest } from './ingest.ts'
import type { BlobEvents, Delay } from './ingest-limits.ts'
import type { Space } from './space.ts'
import type { Transfers } from './transfers.ts'

export type IngestsDeps = {
  shelf: BlobShelf
  /** Whether the disk has room; asked now and then. */
  hasRoom: () => Promise<boolean>
  space: Pick<Space, 'admitBlob' | 'upstreamRefused'>
  transfers: Transfers
  delayMs: Delay
  onEvent: BlobEvents
}

export class Ingests {
  readonly directRanges: DirectRanges
  readonly #deps: IngestsDeps
  readonly #shared = new Map<string, Ingest>()
  readonly #running = new Set<Ingest>()
  #isStopped = false

  constructor(deps: IngestsDeps) {
    this.#deps = deps
    this.directRanges = new DirectRanges(deps.onEvent)
  }

  /** How many are running, those of late readers included. */
  get running(): number {
    return this.#running.size
  }

  find(holder: BlobHolder, digest: Digest): Ingest | undefined {
    const ingest = this.#shared.get(keyOf(holder, digest))
    return ingest?.isOver === false ? ingest : undefined
  }

  /** Begin to receive a blob that all who ask share. The caller has found that nobody else is at it. */
  start(request: IngestRequest): Ingest {
    const { digest } = request
    const { shelf } = this.#deps
    const ingest: Ingest = new Ingest(request, {
      ...this.#deps,
      createDraft: (sizeBytes) => this.#createDraft(ingest, sizeBytes),
      publish: async (draft, sizeBytes) => {
        if (!(await shelf.isNamed(request, ingest.repositoryIds, digest))) return false
        return shelf.publish(request, digest, draft, sizeBytes)
      },
    })
    const key = keyOf(request, digest)
    this.#shared.set(key, ingest)
    const endTransfer = this.#deps.transfers.begin({ ...request, repositoryId: request.repository.id })
    this.#follow(ingest, () => {
      endTransfer()
      if (this.#shared.get(key) === ingest) this.#shared.delete(key)
    })
    return ingest
  }

  /** A stream of its own for one reader: verified as it passes, and not kept. */
  startStraight(request: IngestRequest): Ingest {
    const straight: Omit<IngestDeps, 'delayMs' | 'onEvent'> = {
      hasRoom: () => Promise.resolve(false),
      createDraft: () => Promise.resolve(undefined),
      publish: () => Promise.resolve(false),
    }
    const ingest = new Ingest(request, { ...this.#deps, ...straight })
    this.#follow(ingest, () => {})
    return ingest
  }

  /** Resolves when every ingest that is running now is over. */
  async drain(): Promise<void> {
    await Promise.all([...this.#running].map((ingest) => ingest.ended))
  }

  /** End all: readers are cut, drafts are removed; verified ones are still published. No new one gets far. */
  async stop(): Promise<void> {
    this.#isStopped = true
    for (const ingest of this.#running) ingest.stop(new RegistryError('OVERLOADED'))
    await this.drain()
  }

  /** Nothing is written that the organization is not charged for: a blob that no manifest names is streamed. */
  async #createDraft(ingest: Ingest, sizeBytes: number | undefined) {
    const { organizationId, generation, digest } = ingest.request
    if (ingest.request.sizeBytes === undefined || sizeBytes === undefined) return undefined
    const { repositoryIds } = ingest
    try {
      const wanted = { organizationId, generation, repositoryIds, digest, sizeBytes }
      if (await this.#deps.space.admitBlob(wanted)) return await this.#deps.shelf.createDraft()
    } catch (error) {
      this.#deps.onEvent('store_failed', { digest, error })
    }
    return undefined
  }

  #follow(ingest: Ingest, onOver: () => void): void {
    this.#running.add(ingest)
    void ingest.ended.then(async (end) => {
      this.#running.delete(ingest)
      onOver()
      if (end.kind === 'failed' && isRefusal(end.error)) await this.#release(ingest)
    })
    if (this.#isStopped) ingest.stop(new RegistryError('OVERLOADED'))
  }

  /** What was reserved for images with this blob will not come. */
  async #release({ request: { organizationId, digest } }: Ingest): Promise<void> {
    try {
      await this.#deps.space.upstreamRefused(organizationId, digest)
    } catch (error) {
      this.#deps.onEvent('store_failed', { organizationId, digest, error })
    }
  }
}

/** For good, as far as anybody can tell. */
function isRefusal(error: Error): boolean {
  return error instanceof UpstreamError && (error.failure === 'not_found' || error.failure === 'denied')
}

/** Who pulls through another upstream must not join what was asked of the former one. */
function keyOf({ organizationId, generation }: BlobHolder, digest: Digest): string {
  return `${organizationId}.${generation} ${digest}`
}
