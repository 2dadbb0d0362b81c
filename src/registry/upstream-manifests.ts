/** Questions about manifests that go upstream: each asked once for all who want it, and what came is kept. */

import { PassingMap } from '../base/bounded-map.ts'
import type { Clock } from '../base/clock.ts'
import { SingleFlight } from '../base/single-flight.ts'
import { MINUTE_MS, SECOND_MS } from '../base/units.ts'
import { RegistryError, toRegistryError, UpstreamError, type UpstreamFailure } from '../errors.ts'
import type { Descriptor } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'
import { isNotAManifest, type ParsedManifest, parseManifest } from '../oci/manifest.ts'
import { formatReference, type Reference, type Tag } from '../oci/reference.ts'
import type { Manifest, Upstream } from '../oci/registry.ts'
import type { HeldManifest } from './manifest-memory.ts'
import type { ManifestShelf, NamedRepository, TagWithManifest } from './manifest-shelf.ts'

/** How long is waited; tests set it. */
export type QuestionTimes = { patienceMs: number; questionMsMax: number }

export const QUESTION_LIMITS = {
  /** DESIGN part 4: while a copy exists, a client waits for the question this long; then the copy is served. */
  patienceMs: 2 * SECOND_MS,
  /** DESIGN part 4: a question goes on for at most this long, whoever still waits for it. */
  questionMsMax: 30 * SECOND_MS,
  /** DESIGN part 4: how long a 404 is remembered. */
  absenceMs: 10 * SECOND_MS,
  /** DESIGN part 4: how long the answer to a HEAD by tag waits for the GET of its digest. */
  checkMs: 10 * MINUTE_MS,
  /** What is remembered of either kind, per organization. */
  rememberedMax: 10_000,
  /** Tags that may wait for one digest. */
  tagsPerCheckMax: 100,
} as const

/**
 * How the upstream failed, for the decision; and what to tell a client that has nothing to fall back on. `refused`: the
 * upstream did not fail, but admission refuses what it gave.
 */
export type Failed = { kind: 'failed'; failure: UpstreamFailure | 'refused'; error: RegistryError }
export type TagAnswer = { kind: 'same' } | { kind: 'moved'; manifest: HeldManifest } | Failed
export type CheckAnswer = { kind: 'same' } | { kind: 'moved'; descriptor: Descriptor } | Failed
export type DigestAnswer = { kind: 'found'; manifest: HeldManifest } | Failed

/** What a HEAD by tag learnt: the GET of this digest stores these tags too. */
type Check = { tags: Tag[]; manifest: Manifest | undefined }

export class UpstreamManifests {
  readonly #upstream: Upstream
  readonly #shelf: ManifestShelf
  readonly #clock: Clock
  readonly #questionMsMax: number
  readonly #heads = new SingleFlight<Descriptor>()
  readonly #tagQuestions = new SingleFlight<TagAnswer>()
  readonly #digestQuestions = new SingleFlight<DigestAnswer>()
  readonly #absences = new PassingMap<RegistryError>(QUESTION_LIMITS.rememberedMax)
  readonly #checks = new PassingMap<Check>(QUESTION_LIMITS.rememberedMax)

  constructor(upstream: Upstream, shelf: ManifestShelf, clock: Clock, times: QuestionTimes = QUESTION_LIMITS) {
    this.#questionMsMax = times.questionMsMax
    this.#upstream = upstream
    this.#shelf = shelf
    this.#clock = clock
  }

  /** What does this tag name now? With a copy a HEAD asks, and a GET only when the digest is another. Never rejects. */
  askTag(repository: NamedRepository, tag: Tag, copy: TagWithManifest | undefined): Promise<TagAnswer> {
    const absence = copy === undefined ? this.#findAbsence(repository, { kind: 'tag', tag }) : undefined
    if (absence !== undefined) return Promise.resolve(absence)
    const key = `${repository.names.upstream}:${tag}`
    return this.#tagQuestions.run(key, () =>
      this.#answer(repository, { kind: 'tag', tag }, async (signal) => {
        if (copy !== undefined && (await this.#isUnchanged(repository, tag, copy))) return this.#confirm(copy)
        const { manifest, parsed } = await this.#fetch(repository, { kind: 'tag', tag }, signal)
        if (manifest.descriptor.digest === copy?.manifest.descriptor.digest) return this.#confirm(copy)
        return { kind: 'moved', manifest: await this.#shelf.keep(repository, manifest, parsed, [tag]) }
      }),
    )
  }

  /** The same for a HEAD, which stores nothing but remembers, so that the GET of the digest brings the tag. */
  checkTag(repository: NamedRepository, tag: Tag, copy: TagWithManifest | undefined): Promise<CheckAnswer> {
    const absence = copy === undefined ? this.#findAbsence(repository, { kind: 'tag', tag }) : undefined
    if (absence !== undefined) return Promise.resolve(absence)
    return this.#answer(repository, { kind: 'tag', tag }, async (signal) => {
      const { descriptor, manifest } = await this.#headOrGet(repository, tag, copy, signal)
      if (descriptor.digest === copy?.manifest.descriptor.digest) return this.#confirm(copy)
      this.#rememberCheck(repository, tag, descriptor.digest, manifest)
      return { kind: 'moved', descriptor }
    })
  }

  /** Get a manifest that is not held, by its digest. Never rejects. */
  askDigest(repository: NamedRepository, digest: Digest): Promise<DigestAnswer> {
    const absence = this.#findAbsence(repository, { kind: 'digest', digest })
    if (absence !== undefined) return Promise.resolve(absence)
    const key = `${repository.names.upstream}@${digest}`
    return this.#digestQuestions.run(key, () =>
      this.#answer(repository, { kind: 'digest', digest }, async (signal) => {
        const checkKey = checkKeyOf(repository.names.stored, digest)
        const check = this.#checks.find(checkKey, this.#clock())
        const { manifest, parsed } =
          check?.manifest === undefined
            ? await this.#fetch(repository, { kind: 'digest', digest }, signal)
            : this.#parse(check.manifest, repository)
        const kept = await this.#shelf.keep(repository, manifest, parsed, check?.tags ?? [])
        this.#checks.delete(checkKey)
        return { kind: 'found', manifest: kept }
      }),
    )
  }

  /** Whether HEADs by tag have learnt this digest: its GET brings the tags. `stored` is the repository's name here. */
  isChecked(stored: string, digest: Digest): boolean {
    return this.#checks.find(checkKeyOf(stored, digest), this.#clock()) !== undefined
  }

  /** The manifest is held already, under other tags: those of HEADs that have learnt its digest come to name it too. */
  async pointChecked(repository: NamedRepository, digest: Digest): Promise<void> {
    const key = checkKeyOf(repository.names.stored, digest)
    const check = this.#checks.find(key, this.#clock())
    if (check === undefined) return
    await this.#shelf.point(repository, digest, check.tags)
    this.#checks.delete(key)
  }

  /** HEAD a digest that is not held: nothing is stored. Never rejects. */
  checkDigest(
    repository: NamedRepository,
    digest: Digest,
  ): Promise<{ kind: 'found'; descriptor: Descriptor } | Failed> {
    const absence = this.#findAbsence(repository, { kind: 'digest', digest })
    if (absence !== undefined) return Promise.resolve(absence)
    return this.#answer(repository, { kind: 'digest', digest }, async (signal) => {
      const descriptor = await this.#upstream.resolveManifest(
        repository.names.upstream,
        { kind: 'digest', digest },
        { signal },
      )
      return { kind: 'found', descriptor }
    })
  }

  /** Ask within the time that a question may take, and turn every failure into a value that all waiters share. */
  async #answer<Answer>(
    repository: NamedRepository,
    reference: Reference,
    ask: (signal: AbortSignal) => Promise<Answer>,
  ): Promise<Answer | Failed> {
    try {
      const answer = await ask(AbortSignal.timeout(this.#questionMsMax))
      await this.#shelf.setDenied(repository, false)
      return answer
    } catch (thrown) {
      const error = this.#asUpstreamError(thrown)
      const failure = failureOf(error)
      const failed: Failed = {
        kind: 'failed',
        failure,
        error: toRegistryError(error, 'MANIFEST_UNKNOWN', repository.names.upstream),
      }
      if (failure === 'denied') await this.#shelf.setDenied(repository, true)
      if (failure === 'not_found') this.#rememberAbsence(repository, reference, failed.error)
      return failed
    }
  }

  /** The time that a question may take is over: that is the upstream's failure. */
  #asUpstreamError(error: unknown): unknown {
    if (!(error instanceof Error) || error.name !== 'TimeoutError') return error
    const seconds = this.#questionMsMax / SECOND_MS
    const { host } = this.#upstream
    return new UpstreamError('timeout', host, `${host} did not answer within ${seconds} s`, { cause: error })
  }

  async #isUnchanged(repository: NamedRepository, tag: Tag, copy: TagWithManifest): Promise<boolean> {
    try {
      const current = await this.#head(repository, tag)
      return current.digest === copy.manifest.descriptor.digest
    } catch (error) {
      if (isNotFound(error)) return false // One GET makes sure: some registries answer 404 to HEAD alone.
      throw error
    }
  }

  /**
   * What the tag names now. With a copy, a digest that is another is believed only when its manifest can be had: else
   * it
   * is as if the HEAD had failed that way. The manifest is not stored but waits for the GET of its digest.
   */
  async #headOrGet(
    repository: NamedRepository,
    tag: Tag,
    copy: TagWithManifest | undefined,
    signal: AbortSignal,
  ): Promise<{ descriptor: Descriptor; manifest: Manifest | undefined }> {
    if (copy === undefined) return { descriptor: await this.#head(repository, tag), manifest: undefined }
    if (await this.#isUnchanged(repository, tag, copy)) {
      return { descriptor: copy.manifest.descriptor, manifest: undefined }
    }
    const { manifest } = await this.#fetch(repository, { kind: 'tag', tag }, signal)
    return { descriptor: manifest.descriptor, manifest }
  }

  /** One HEAD, shared by all who ask at once. */
  #head(repository: NamedRepository, tag: Tag): Promise<Descriptor> {
    const name = repository.names.upstream
    return this.#heads.run(`${name}:${tag}`, () => {
      const signal = AbortSignal.timeout(this.#questionMsMax)
      return this.#upstream.resolveManifest(name, { kind: 'tag', tag }, { signal })
    })
  }

  async #confirm(copy: TagWithManifest): Promise<{ kind: 'same' }> {
    await this.#shelf.confirm(copy.tag)
    return { kind: 'same' }
  }

  async #fetch(
    repository: NamedRepository,
    reference: Reference,
    signal: AbortSignal,
  ): Promise<{ manifest: Manifest; parsed: ParsedManifest }> {
    const manifest = await this.#upstream.getManifest(repository.names.upstream, reference, { signal })
    return this.#parse(manifest, repository)
  }

  /** Errors: MANIFEST_UNKNOWN for schema 1, which is not cached; UpstreamError `protocol` for what is no manifest. */
  #parse(manifest: Manifest, repository: NamedRepository): { manifest: Manifest; parsed: ParsedManifest } {
    const parsed = parseManifest(manifest.bytes, manifest.descriptor.mediaType)
    if (!isNotAManifest(parsed)) {
      return { manifest: { ...manifest, descriptor: { ...manifest.descriptor, mediaType: parsed.mediaType } }, parsed }
    }
    if (parsed.problem === 'schema1') throw new RegistryError('MANIFEST_UNKNOWN', { message: parsed.message })
    throw new UpstreamError(
      'protocol',
      this.#upstream.host,
      `${this.#upstream.host} answered for ${repository.names.upstream} with something that is no manifest: ${parsed.message}`,
    )
  }

  #findAbsence(repository: NamedRepository, reference: Reference): Failed | undefined {
    const error = this.#absences.find(absenceKey(repository, reference), this.#clock())
    return error && { kind: 'failed', failure: 'not_found', error }
  }

  #rememberAbsence(repository: NamedRepository, reference: Reference, error: RegistryError): void {
    const untilMs = this.#clock() + QUESTION_LIMITS.absenceMs
    this.#absences.set(absenceKey(repository, reference), error, untilMs)
  }

  #rememberCheck(repository: NamedRepository, tag: Tag, digest: Digest, manifest: Manifest | undefined): void {
    const key = checkKeyOf(repository.names.stored, digest)
    const nowMs = this.#clock()
    const before = this.#checks.find(key, nowMs)
    const tags = [...new Set([...(before?.tags ?? []), tag])].slice(-QUESTION_LIMITS.tagsPerCheckMax)
    this.#checks.set(key, { tags, manifest: manifest ?? before?.manifest }, nowMs + QUESTION_LIMITS.checkMs)
  }
}

function failureOf(error: unknown): Failed['failure'] {
  if (error instanceof RegistryError && error.case === 'QUOTA_EXCEEDED') return 'refused'
  return error instanceof UpstreamError ? error.failure : 'protocol'
}

function absenceKey(repository: NamedRepository, reference: Reference): string {
  return `${repository.names.upstream} ${formatReference(reference)}`
}

function checkKeyOf(stored: string, digest: Digest): string {
  return `${stored}@${digest}`
}

function isNotFound(error: unknown): boolean {
  return error instanceof UpstreamError && error.failure === 'not_found'
}
