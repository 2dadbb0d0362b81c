/** Manifests of one organization, by tag and by digest: DESIGN part 4, the table *By tag* and *By digest*. */
import { BoundedMap } from '../base/bounded-map.ts'
import { monotonicMs } from '../base/clock.ts'
import { RegistryError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Reference, Tag } from '../oci/reference.ts'
import type { HeldManifest, HeldTag } from './manifest-memory.ts'
import { ManifestShelf, type NamedRepository, type ShelfDeps, type TagWithManifest } from './manifest-shelf.ts'
import { askableUpstream, type OrganizationView } from './organization-view.ts'
import { findRefusal } from './repository-rules.ts'
import type { Outcome, Provenance, ServedDescriptor, ServedManifest, StaleReason } from './served.ts'
import { copyState, firstStep, staleReasonAfter } from './tag-decision.ts'
import { type Failed, QUESTION_LIMITS, type QuestionTimes, UpstreamManifests } from './upstream-manifests.ts'

/** Beyond this the rules are asked again. */
const admittedMax = 10_000

export type ManifestsDeps = ShelfDeps & {
  /** Resolves after `ms`; the question races it. */
  delayMs: (ms: number, signal?: AbortSignal) => Promise<void>
  /** Default: those of QUESTION_LIMITS. */
  questionTimes?: QuestionTimes
}

export class OrganizationManifests {
  readonly shelf: ManifestShelf
  readonly #view: OrganizationView
  readonly #deps: ManifestsDeps
  readonly #questions: UpstreamManifests | undefined
  /** Repositories that the rules let through; rules never change in the life of a view. */
  readonly #admitted = new BoundedMap<string, true>(admittedMax)

  constructor(view: OrganizationView, deps: ManifestsDeps) {
    this.#view = view
    this.#deps = deps
    this.shelf = new ManifestShelf(view, deps)
    const upstream = askableUpstream(view)
    this.#questions = upstream && new UpstreamManifests(upstream, this.shelf, deps.clock, deps.questionTimes)
  }

  /** The repository that a request names, if the organization's rules let it through. Errors: DENIED, NAME_INVALID. */
  async enter(name: string): Promise<NamedRepository> {
    const repository = await this.shelf.nameRepository(name)
    const { stored } = repository.names
    if (!this.#admitted.has(stored)) {
      const refusal = findRefusal(this.#view.rules, stored)
      if (refusal !== undefined) throw refusal
      this.#admitted.set(stored, true)
    }
    return repository
  }

  /** Errors: DENIED while the upstream refuses the repository and the organization's policy is to refuse with it. */
  refuseWhenDenied(repository: NamedRepository): void {
    if (repository.held?.deniedAtMs === undefined || !this.#view.policy.refuseWhenDenied) return
    const host = this.#view.upstream?.client.host ?? 'the upstream'
    throw new RegistryError('DENIED', {
      message: `${host} refuses ${repository.names.upstream} to this organization, whose policy is to refuse it too`,
    })
  }

  async getManifest(name: string, reference: Reference): Promise<ServedManifest> {
    const repository = await this.enter(name)
    if (reference.kind === 'tag') return this.#getByTag(repository, reference.tag)
    return this.#getByDigest(repository, reference.digest)
  }

  async resolveManifest(name: string, reference: Reference): Promise<ServedDescriptor> {
    const repository = await this.enter(name)
    if (reference.kind === 'tag') return this.#checkByTag(repository, reference.tag)
    return this.#checkByDigest(repository, reference.digest)
  }

  async #getByTag(repository: NamedRepository, tag: Tag): Promise<ServedManifest> {
    const copy = await this.shelf.findCopy(repository, tag)
    const answered = await this.#answerFromCopy(repository, tag, copy)
    if (answered !== undefined) return answered
    const startedMs = monotonicMs()
    const isPatient = this.#decide(copy).kind === 'ask' && this.#isPatient(copy)
    const answer = await this.#within(this.#ask().askTag(repository, tag, this.#usable(copy)), isPatient)
    const upstreamMs = monotonicMs() - startedMs
    if (answer === undefined) return this.#serveStale(copy, 'timeout', upstreamMs)
    if (answer.kind === 'failed') return this.#afterFailure(copy, answer, upstreamMs)
    if (answer.kind === 'moved') return this.#serve(answer.manifest, 'miss', this.#deps.clock(), upstreamMs)
    if (copy === undefined) throw new Error('a tag without a copy cannot be the same')
    this.shelf.useTag(copy.tag, true)
    return this.#serve(copy.manifest, 'revalidated', copy.tag.confirmedAtMs, upstreamMs)
  }

  async #checkByTag(repository: NamedRepository, tag: Tag): Promise<ServedDescriptor> {
    const copy = await this.shelf.findCopy(repository, tag)
    const answered = await this.#answerFromCopy(repository, tag, copy)
    if (answered !== undefined) return answered
    const startedMs = monotonicMs()
    const answer = await this.#within(this.#ask().checkTag(repository, tag, this.#usable(copy)), this.#isPatient(copy))
    const upstreamMs = monotonicMs() - startedMs
    if (answer === undefined) return this.#serveStale(copy, 'timeout', upstreamMs)
    if (answer.kind === 'failed') return this.#afterFailure(copy, answer, upstreamMs)
    if (answer.kind === 'moved') {
      return { descriptor: answer.descriptor, provenance: provenance('miss', this.#deps.clock(), upstreamMs) }
    }
    if (copy === undefined) throw new Error('a tag without a copy cannot be the same')
    this.shelf.useTag(copy.tag, true)
    return this.#serve(copy.manifest, 'revalidated', copy.tag.confirmedAtMs, upstreamMs)
  }

  async #getByDigest(repository: NamedRepository, digest: Digest): Promise<ServedManifest> {
    const held = await this.#findByDigest(repository, digest)
    if (held !== undefined) {
      await this.#questions?.pointChecked(repository, digest)
      return held
    }
    const startedMs = monotonicMs()
    const answer = await this.#ask().askDigest(repository, digest)
    if (answer.kind === 'failed') throw answer.error
    return this.#serve(answer.manifest, 'miss', this.#deps.clock(), monotonicMs() - startedMs)
  }

  async #checkByDigest(repository: NamedRepository, digest: Digest): Promise<ServedDescriptor> {
    const held = await this.#findByDigest(repository, digest)
    if (held !== undefined) return held
    const startedMs = monotonicMs()
    const answer = await this.#ask().checkDigest(repository, digest)
    if (answer.kind === 'failed') throw answer.error
    return {
      descriptor: answer.descriptor,
      provenance: provenance('miss', this.#deps.clock(), monotonicMs() - startedMs),
    }
  }

  /** Content never changes: what is held is served, and used. */
  async #findByDigest(repository: NamedRepository, digest: Digest): Promise<ServedManifest | undefined> {
    this.refuseWhenDenied(repository)
    const held = await this.shelf.findManifest(repository, digest)
    if (held === undefined || repository.held === undefined) return undefined
    this.shelf.useManifest(repository.held.id, held)
    return this.#serve(held, 'hit', held.storedAtMs, 0)
  }

  #decide(copy: TagWithManifest | undefined) {
    return firstStep(copy?.tag, this.#view.policy, {
      nowMs: this.#deps.clock(),
      isDown: this.#view.upstream?.client.state().availability === 'down',
      canAsk: this.#questions !== undefined,
    })
  }

  /** The answer that needs no question, if there is one. Errors: MANIFEST_UNKNOWN when nobody may be asked. */
  async #answerFromCopy(
    repository: NamedRepository,
    tag: Tag,
    copy: TagWithManifest | undefined,
  ): Promise<ServedManifest | undefined> {
    const step = this.#decide(copy)
    switch (step.kind) {
      case 'unknown':
        throw this.#notCached(repository, tag)
      case 'hit':
        if (copy === undefined) return undefined
        this.shelf.useTag(copy.tag, true)
        return this.#serve(copy.manifest, 'hit', copy.tag.confirmedAtMs, 0)
      case 'stale':
        return this.#serveStale(copy, step.reason, 0)
      case 'ask':
        return undefined
      default:
        throw new Error(`unhandled step: ${step satisfies never}`)
    }
  }

  #isPatient(copy: TagWithManifest | undefined): boolean {
    const step = this.#decide(copy)
    return step.kind !== 'ask' || step.isPatient
  }

  /** A copy whose time in the Time Machine is over is no copy: the tag is asked for afresh. */
  #usable(copy: TagWithManifest | undefined): TagWithManifest | undefined {
    return copyState(copy?.tag, this.#view.policy, this.#deps.clock()) === 'none' ? undefined : copy
  }

  /** The answer, or undefined when the time is up: the question goes on without us. */
  async #within<Answer>(question: Promise<Answer>, isPatient: boolean): Promise<Answer | undefined> {
    if (isPatient) return question
    const ended = new AbortController()
    const { patienceMs } = this.#deps.questionTimes ?? QUESTION_LIMITS
    const timeUp = this.#deps.delayMs(patienceMs, ended.signal).then(
      () => undefined,
      () => undefined,
    )
    try {
      return await Promise.race([question, timeUp])
    } finally {
      ended.abort()
    }
  }

  #afterFailure(copy: TagWithManifest | undefined, failed: Failed, upstreamMs: number): ServedManifest {
    if (failed.failure === 'refused') throw failed.error // DESIGN part 4: the old copy stays, and is not served for it.
    const reason = staleReasonAfter(failed.failure, copy?.tag, this.#view.policy, this.#deps.clock())
    if (reason === undefined) throw failed.error
    return this.#serveStale(copy, reason, upstreamMs)
  }

  #serveStale(copy: TagWithManifest | undefined, reason: StaleReason, upstreamMs: number): ServedManifest {
    if (copy === undefined) throw new Error('cannot serve stale what is not held')
    this.shelf.useTag(copy.tag, false)
    return this.#serve(copy.manifest, 'stale', copy.tag.confirmedAtMs, upstreamMs, reason)
  }

  #serve(
    manifest: HeldManifest,
    outcome: Outcome,
    confirmedAtMs: number,
    upstreamMs: number,
    staleReason?: StaleReason,
  ): ServedManifest {
    const { descriptor, bytes } = manifest
    return { descriptor, bytes, provenance: provenance(outcome, confirmedAtMs, upstreamMs, staleReason) }
  }

  #ask(): UpstreamManifests {
    if (this.#questions === undefined) {
      throw new RegistryError('MANIFEST_UNKNOWN', { message: this.#whyNotAsked() })
    }
    return this.#questions
  }

  #notCached(repository: NamedRepository, tag: Tag): RegistryError {
    return new RegistryError('MANIFEST_UNKNOWN', {
      message: `${repository.names.stored}:${tag} is not cached, and ${this.#whyNotAsked()}`,
    })
  }

  #whyNotAsked(): string {
    return this.#view.frozen
      ? `the organization ${this.#view.name} is frozen: only what is cached is served`
      : `the organization ${this.#view.name} has no upstream: set its proxy cache configuration`
  }

  /** The current copy of a tag in memory that needs no question, without waiting: the hot path. */
  recall(name: string, reference: Reference): Recalled | undefined {
    const { memory, clock } = this.#deps
    const stored = this.shelf.storedName(name)
    const repository = this.#admitted.has(stored) ? this.shelf.recallRepository(stored) : undefined
    if (repository === undefined || (repository.deniedAtMs !== undefined && this.#view.policy.refuseWhenDenied)) {
      return undefined
    }
    if (reference.kind === 'digest') {
      if (this.#questions?.isChecked(stored, reference.digest) === true) return undefined
      const manifest = memory.findManifest(repository.id, reference.digest)
      return manifest && { repositoryId: repository.id, manifest, tag: undefined, confirmedAtMs: manifest.storedAtMs }
    }
    const tag = memory.findTag(repository.id, reference.tag)
    const policy = this.#view.policy
    if (tag === undefined || copyState(tag, policy, clock()) !== 'alive') return undefined
    if (clock() - tag.confirmedAtMs >= policy.revalidateAfterMs && this.#questions !== undefined) return undefined
    const manifest = memory.findManifest(repository.id, tag.digest)
    return manifest && { repositoryId: repository.id, manifest, tag, confirmedAtMs: tag.confirmedAtMs }
  }
}

/** A hit in memory; the caller records its use. */
export type Recalled = {
  repositoryId: number
  manifest: HeldManifest
  tag: HeldTag | undefined
  confirmedAtMs: number
}

function provenance(
  outcome: Outcome,
  confirmedAtMs: number,
  upstreamMs: number,
  staleReason?: StaleReason,
): Provenance {
  return { outcome, confirmedAtMs, staleReason, upstreamMs }
}
