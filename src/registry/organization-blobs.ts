/** One organization's blobs: from the store, from an ingest, or from the upstream in that repository. */
import { type Clock, monotonicMs } from '../base/clock.ts'
import { SingleFlight } from '../base/single-flight.ts'
import { RegistryError, toRegistryError, UpstreamError } from '../errors.ts'
import type { BlobLink } from '../metadata/blobs.ts'
import type { Digest } from '../oci/digest.ts'
import type { RequestedRange, Upstream } from '../oci/registry.ts'
import type { RepositoryName } from '../oci/repository-name.ts'
import { type SatisfiedRange, satisfyRange } from './blob-range.ts'
import { type ServedHead, serveReading, serveStored, whenOver } from './blob-served.ts'
import type { BlobShelf } from './blob-shelf.ts'
import type { Completion, CompletionEnd } from './completion.ts'
import type { Ingest, IngestRequest } from './ingest.ts'
import { INGEST_LIMITS } from './ingest-limits.ts'
import type { Ingests } from './ingests.ts'
import type { Outcome, Provenance, ServedBlob, ServedBlobDescriptor, UnsatisfiableRange } from './served.ts'
import type { Transfers } from './transfers.ts'

export type OrganizationBlobsDeps = {
  organizationId: number
  generation: number
  /** Undefined when only what is cached may be served: no proxy configuration, or frozen. */
  upstream: () => Upstream | undefined
  /** Whether another organization that holds the bytes uses the same upstream host over verified TLS. */
  mayReuse: (digest: Digest) => Promise<boolean>
  /** These are shared by all organizations. */
  shelf: BlobShelf
  ingests: Ingests
  transfers: Transfers
  clock: Clock
  /** Completes images in the background; undefined when that is turned off. */
  completion: Pick<Completion, 'askedFor'> | undefined
}

/** `name` is the upstream's; `id` is undefined when nothing of the repository is held. */
export type BlobRepository = { id: number | undefined; name: RepositoryName }

/** What is wanted and what is known of it. */
type Sought = { repository: BlobRepository; digest: Digest; link: BlobLink | undefined }

type Question = Sought & { range: RequestedRange | undefined; askedAtMs: number }

/** A `Range` upon a blob: none, honoured, or outside of it. */
type Part = { range: SatisfiedRange | undefined } | UnsatisfiableRange

export class OrganizationBlobs {
  readonly #deps: OrganizationBlobsDeps
  readonly #confirmations = new SingleFlight<boolean>()

  constructor(deps: OrganizationBlobsDeps) {
    this.#deps = deps
  }

  /** Size of a blob, downloading nothing. Errors: RegistryError. */
  async resolveBlob(repository: BlobRepository, digest: Digest): Promise<ServedBlobDescriptor> {
    const askedAtMs = monotonicMs()
    try {
      const link = await this.#findLink(repository, digest)
      if (isHeld(link)) return { digest, size: link.sizeBytes, provenance: this.#hit(link) }
      const upstream = this.#upstream()
      const size = (await this.#sizeOfRunning(repository, digest, link)) ?? (await ask(upstream))
      return { digest, size, provenance: this.#provenance(link?.isStored ? 'revalidated' : 'miss', askedAtMs) }

      async function ask(from: Upstream): Promise<number> {
        const { size: said } = await from.resolveBlob(repository.name, digest)
        if (link?.isNamed !== true || said === link.sizeBytes) return said
        throw new UpstreamError('protocol', from.host, `${from.host} says another size of a blob than its manifest`)
      }
    } catch (error) {
      throw toRegistryError(error, 'BLOB_UNKNOWN', repository.name)
    }
  }

  /** Open a blob or a part of it. Errors: RegistryError, all that can be known before the first byte. */
  async openBlob(
    repository: BlobRepository,
    digest: Digest,
    range: RequestedRange | undefined,
  ): Promise<ServedBlob | UnsatisfiableRange> {
    const { organizationId, transfers } = this.#deps
    const end = transfers.begin({ organizationId, repositoryId: repository.id, digest })
    try {
      const served = await this.#recallOrOpen({ repository, digest, range, askedAtMs: monotonicMs() })
      if ('pipe' in served) return whenOver(served, end)
      end()
      return served
    } catch (error) {
      end()
      throw toRegistryError(error, 'BLOB_UNKNOWN', repository.name)
    }
  }

  async #recallOrOpen(asked: Omit<Question, 'link'>): Promise<ServedBlob | UnsatisfiableRange> {
    const { organizationId, shelf } = this.#deps
    const repositoryId = asked.repository.id ?? 0
    const recalled = shelf.recallLink({ organizationId, repositoryId, digest: asked.digest })
    const served = recalled && (await this.#openStored({ ...asked, link: recalled }, recalled.sizeBytes, 'hit'))
    return served ?? this.#open(asked)
  }

  /** What is known of a blob may have changed. */
  forget(digest: Digest): void {
    this.#deps.shelf.forget(digest)
  }

  /** Receive a blob behind every client's request, joining what is running. Errors: as the upstream's, unmapped. */
  async complete(repository: BlobRepository & { id: number }, digest: Digest): Promise<CompletionEnd> {
    for (;;) {
      const publication = this.#deps.shelf.lastPublication(digest)
      const link = await this.#findLink(repository, digest)
      if (link?.isNamed !== true || link.hasUrls) return { kind: 'unwanted' }
      if (link.isStored) return { kind: 'held' }
      const question = { repository, digest, link }
      if ((await this.#findRight(question)) !== undefined) return { kind: 'held' }
      const ingest = this.#shareIngest(question, publication, 'background')
      if (ingest !== undefined) return ingest.ended
    }
  }

  async #open(asked: Omit<Question, 'link'>): Promise<ServedBlob | UnsatisfiableRange> {
    const { shelf, organizationId } = this.#deps
    const { repository, digest } = asked
    for (;;) {
      const publication = shelf.lastPublication(digest)
      const link = await this.#findLink(repository, digest)
      const question = { ...asked, link }
      if (repository.id !== undefined && link?.isNamed === true) {
        this.#deps.completion?.askedFor({ organizationId, repositoryId: repository.id, digest })
      }
      if (isHeld(link)) {
        const served = await this.#openStored(question, link.sizeBytes, 'hit')
        if (served !== undefined) return served
      }
      this.#upstream() // Without one, only what is held is served.
      const right = await this.#findRight(question)
      const served = right && (await this.#openStored(question, right.sizeBytes, right.outcome))
      if (served !== undefined) return served
      const ingest = this.#shareIngest(question, publication, 'client')
      if (ingest !== undefined && (await this.#mayJoin(ingest, question))) return this.#readIngest(question, ingest)
    }
  }

  /**
   * The ingest of the blob, begun if there is none. Undefined when it was published since we looked whether it is
   * stored: then we look again, and it is not fetched twice.
   */
  #shareIngest(question: Sought, publication: number, priority: IngestRequest['priority']): Ingest | undefined {
    const { ingests, shelf } = this.#deps
    const running = ingests.find(this.#deps, question.digest)
    if (running !== undefined) return running
    if (publication !== shelf.lastPublication(question.digest)) return undefined
    return ingests.start(this.#request(question, priority))
  }

  /** Bytes that are stored, to which the upstream's word gives a right: in this repository, to this organization. */
  async #findRight(question: Sought): Promise<{ sizeBytes: number; outcome: Outcome } | undefined> {
    const { shelf, ingests, mayReuse } = this.#deps
    const { repository, digest, link } = question
    // Held, yet here: it was just found to be damaged.
    if (isHeld(link) || ingests.find(this.#deps, digest) !== undefined) return undefined
    if (link?.isStored === true) {
      const { sizeBytes } = link
      const isConfirmed = await this.#confirm(repository.name, digest, sizeBytes)
      return isConfirmed ? { sizeBytes, outcome: 'revalidated' } : undefined
    }
    const stored = await shelf.findStored(digest)
    if (stored === undefined || !(await mayReuse(digest))) return undefined
    const { sizeBytes } = stored
    if (link !== undefined && link.sizeBytes !== sizeBytes) return undefined
    if (!(await this.#confirm(repository.name, digest, sizeBytes))) return undefined
    if (link?.isNamed === true && !(await shelf.grant(this.#deps, digest, sizeBytes))) return undefined
    return { sizeBytes, outcome: 'miss' }
  }

  /**
   * Whether the upstream has just said that this repository has the blob, with this size. Its refusals are errors;
   * when it cannot say, it is false.
   */
  #confirm(name: RepositoryName, digest: Digest, sizeBytes: number): Promise<boolean> {
    return this.#confirmations.run(`${name} ${digest}`, async () => {
      try {
        const { size } = await this.#upstream().resolveBlob(name, digest)
        return size === sizeBytes
      } catch (error) {
        if (!(error instanceof UpstreamError) || ['not_found', 'denied'].includes(error.failure)) throw error
        return false
      }
    })
  }

  /** Who asks in another repository than the ingest does must have a right of their own. False: it cannot be had so. */
  async #mayJoin(ingest: Ingest, question: Question): Promise<boolean> {
    const { repository, digest, link } = question
    const isOurs = link?.isNamed === true || ingest.request.repository.name === repository.name
    if (!isOurs) await this.#upstream().resolveBlob(repository.name, digest)
    return !ingest.isOver
  }

  async #openStored(
    question: Question,
    sizeBytes: number,
    outcome: Outcome,
  ): Promise<ServedBlob | UnsatisfiableRange | undefined> {
    const { shelf } = this.#deps
    const { digest, range, askedAtMs, link } = question
    const part = choosePart(range, sizeBytes)
    if ('kind' in part) return part
    const blob = await shelf.open(digest, sizeBytes)
    if (blob === undefined) return undefined
    const provenance = outcome === 'hit' ? this.#hit(link) : this.#provenance(outcome, askedAtMs)
    return serveStored({ digest, size: sizeBytes, range: part.range, provenance }, blob, shelf)
  }

  async #readIngest(question: Question, ingest: Ingest): Promise<ServedBlob | UnsatisfiableRange> {
    const { repository, link } = question
    if (repository.id !== undefined) ingest.repositoryIds.add(repository.id)
    const named = link?.isNamed === true ? link.sizeBytes : undefined
    const isOther = named !== undefined && ingest.sizeBytes !== undefined && ingest.sizeBytes !== named
    const shared = isOther ? this.#deps.ingests.startStraight(this.#request(question, 'client')) : ingest
    // Until its size is known nobody can say which bytes are wanted; yet somebody must want it.
    const hold = shared.sizeBytes === undefined ? shared.join(0, undefined) : undefined
    try {
      if (shared.sizeBytes === undefined) await shared.whenOpened
      const part = choosePart(question.range, shared.sizeBytes)
      if ('kind' in part) return part
      const { range } = part
      const isFar = range !== undefined && range.start > shared.arrivedBytes + INGEST_LIMITS.rangeAheadBytesMax
      const direct = isFar ? await this.#readDirectly(question, range) : undefined
      return direct ?? (await this.#readRange(question, shared, range))
    } finally {
      hold?.close()
    }
  }

  async #readRange(question: Question, shared: Ingest, range: SatisfiedRange | undefined): Promise<ServedBlob> {
    const start = range?.start ?? 0
    const isPart = range !== undefined && !(start === 0 && range.end + 1 === shared.sizeBytes)
    const stop = isPart ? range.end + 1 : undefined
    let ingest = shared
    let reader = ingest.join(start, stop)
    if (reader === undefined) {
      // The bytes from there are gone from memory and nothing is kept: a stream of its own.
      ingest = this.#deps.ingests.startStraight(this.#request(question, 'client'))
      reader = ingest.join(start, stop)
    }
    if (reader === undefined) throw ingest.failure ?? new RegistryError('OVERLOADED')
    try {
      await ingest.whenOpened
    } catch (error) {
      reader.close()
      throw error
    }
    return serveReading(this.#missHead(question, ingest.sizeBytes, range), reader)
  }

  async #readDirectly(question: Question, range: SatisfiedRange): Promise<ServedBlob | undefined> {
    const { repository, digest, link } = question
    const sizeBytes = link?.sizeBytes
    if (sizeBytes === undefined) return undefined
    const { organizationId, generation, ingests } = this.#deps
    const upstream = this.#upstream()
    const asked = { organizationId, generation, upstream, name: repository.name, digest, sizeBytes, range }
    const direct = await ingests.directRanges.open(asked)
    return direct && serveReading(this.#missHead(question, sizeBytes, range), direct)
  }

  #missHead(question: Question, size: number | undefined, range: SatisfiedRange | undefined): ServedHead {
    return { digest: question.digest, size, range, provenance: this.#provenance('miss', question.askedAtMs) }
  }

  /** The size of what is being received, if this repository may know of it. */
  async #sizeOfRunning(repository: BlobRepository, digest: Digest, link: BlobLink | undefined) {
    const ingest = this.#deps.ingests.find(this.#deps, digest)
    if (ingest === undefined) return undefined
    if (link?.isNamed !== true && ingest.request.repository.name !== repository.name) return undefined
    ingest.promote()
    await ingest.whenOpened
    return ingest.sizeBytes
  }

  #request(question: Sought, priority: IngestRequest['priority']): IngestRequest {
    const { repository, digest, link } = question
    const sizeBytes = link?.isNamed === true ? link.sizeBytes : undefined
    return {
      organizationId: this.#deps.organizationId,
      generation: this.#deps.generation,
      upstream: this.#upstream(),
      repository,
      digest,
      sizeBytes,
      priority,
    }
  }

  #findLink(repository: BlobRepository, digest: Digest): Promise<BlobLink | undefined> {
    // No row has the id 0: what is found then is only whether the organization has it stored.
    return this.#deps.shelf.findLink({
      organizationId: this.#deps.organizationId,
      repositoryId: repository.id ?? 0,
      digest,
    })
  }

  #upstream(): Upstream {
    const upstream = this.#deps.upstream()
    if (upstream === undefined) throw new RegistryError('BLOB_UNKNOWN')
    return upstream
  }

  /** Served without a question: as old as what the upstream gave. */
  #hit(link: BlobLink | undefined): Provenance {
    const confirmedAtMs = link?.storedAtMs ?? this.#deps.clock()
    return { outcome: 'hit', confirmedAtMs, staleReason: undefined, upstreamMs: 0 }
  }

  #provenance(outcome: Outcome, askedAtMs: number): Provenance {
    const upstreamMs = monotonicMs() - askedAtMs
    return { outcome, confirmedAtMs: this.#deps.clock(), staleReason: undefined, upstreamMs }
  }
}

/** Named in the repository and stored for the organization: served without asking anybody. */
function isHeld(link: BlobLink | undefined): link is BlobLink & { isNamed: true; isStored: true } {
  return link?.isNamed === true && link.isStored
}

function choosePart(range: RequestedRange | undefined, sizeBytes: number | undefined): Part {
  if (range === undefined || sizeBytes === undefined) return { range: undefined }
  const satisfied = satisfyRange(range, sizeBytes)
  return satisfied === undefined ? { kind: 'unsatisfiable', size: sizeBytes } : { range: satisfied }
}
