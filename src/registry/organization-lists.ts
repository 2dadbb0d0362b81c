/** The lists of one organization's repositories: tags and referrers, the upstream's merged with ours. */
import { BoundedMap } from '../base/bounded-map.ts'
import { SingleFlight } from '../base/single-flight.ts'
import { MINUTE_MS, MiB, SECOND_MS } from '../base/units.ts'
import { RegistryError, toRegistryError, UpstreamError } from '../errors.ts'
import { listReferrersOf, type StoredManifest } from '../metadata/manifests.ts'
import { findReferrers, saveReferrers } from '../metadata/referrers.ts'
import { listTagNames } from '../metadata/tags.ts'
import type { Digest } from '../oci/digest.ts'
import { isNotAManifest, parseManifest } from '../oci/manifest.ts'
import { parseTag, type Tag } from '../oci/reference.ts'
import type { Referrer, Upstream } from '../oci/registry.ts'
import type { NamedRepository } from './manifest-shelf.ts'
import type { ManifestsDeps, OrganizationManifests } from './organization-manifests.ts'
import { askableUpstream, type OrganizationView } from './organization-view.ts'

export const LIST_LIMITS = {
  /** DESIGN part 4: how long an upstream's list of tags is kept. */
  tagsMs: MINUTE_MS,
  /** Of the tags that are kept, per organization: some hundred lists, or one or two of the longest. */
  tagCharactersMax: 32 * MiB,
  /** How long a list of referrers is waited for when an earlier one can be served instead. */
  referrersPatienceMs: 2 * SECOND_MS,
  /**
   * Of the lists of referrers in repositories of which nothing is held, per organization: they have no row to be kept
   * with. What falls out, or ends with the process, counts as never asked: then an outage is said, not an empty list.
   */
  looseCharactersMax: 32 * MiB,
  /** What we read of an upstream's list; the upstream client stops there. */
  tagsMax: 100_000,
} as const

type TagList = { tags: Tag[]; untilMs: number }

export class OrganizationLists {
  readonly #view: OrganizationView
  readonly #deps: ManifestsDeps
  readonly #manifests: OrganizationManifests
  readonly #upstream: Upstream | undefined
  readonly #tagLists = new BoundedMap<string, TagList>(LIST_LIMITS.tagCharactersMax, weighTags)
  readonly #looseReferrers = new BoundedMap<string, Referrer[]>(LIST_LIMITS.looseCharactersMax, weighReferrers)
  readonly #tagQuestions = new SingleFlight<Tag[]>()
  readonly #referrerQuestions = new SingleFlight<Referrer[]>()

  constructor(view: OrganizationView, deps: ManifestsDeps, manifests: OrganizationManifests) {
    this.#view = view
    this.#deps = deps
    this.#manifests = manifests
    this.#upstream = askableUpstream(view)
  }

  /** Every tag, sorted by code unit. It creates nothing. Errors: NAME_UNKNOWN, DENIED, or the upstream's failure. */
  async listTags(name: string): Promise<{ tags: Tag[]; isTruncated: boolean }> {
    const repository = await this.#manifests.enter(name)
    this.#manifests.refuseWhenDenied(repository)
    const ours = await this.#listOwnTags(repository)
    const theirs = await this.#listUpstreamTags(repository, ours.length > 0)
    const tags = [...new Set([...theirs, ...ours])].sort(byCodeUnit)
    return { tags, isTruncated: theirs.length >= LIST_LIMITS.tagsMax }
  }

  /**
   * All manifests that name `digest` as their subject. Errors: the upstream's failure when it was never asked before:
   * an empty list would make signatures vanish.
   */
  async listReferrers(name: string, digest: Digest): Promise<Referrer[]> {
    const repository = await this.#manifests.enter(name)
    this.#manifests.refuseWhenDenied(repository)
    const [ours, stored] = await Promise.all([
      this.#listOwnReferrers(repository, digest),
      this.#findStoredReferrers(repository, digest),
    ])
    const theirs = await this.#listUpstreamReferrers(repository, digest, stored)
    const merged = new Map<string, Referrer>()
    for (const referrer of [...theirs, ...ours]) {
      if (!merged.has(referrer.digest)) merged.set(referrer.digest, referrer)
    }
    return [...merged.values()]
  }

  async #listOwnTags(repository: NamedRepository): Promise<Tag[]> {
    if (repository.held === undefined) return []
    const names = await listTagNames(this.#deps.metadata.db, repository.held.id, this.#deps.clock())
    return names.map(parseTag).filter((tag) => tag !== undefined)
  }

  async #listUpstreamTags(repository: NamedRepository, hasOurs: boolean): Promise<Tag[]> {
    const name = repository.names.upstream
    const upstream = this.#upstream
    const remembered = this.#tagLists.get(name)
    if (remembered !== undefined && remembered.untilMs > this.#deps.clock()) return remembered.tags
    if (upstream === undefined) {
      if (repository.held !== undefined) return []
      throw notCached(repository)
    }
    if (hasOurs && upstream.state().availability === 'down') return []
    try {
      return await this.#tagQuestions.run(name, async () => {
        const tags = await upstream.listTags(name)
        this.#tagLists.set(name, { tags, untilMs: this.#deps.clock() + LIST_LIMITS.tagsMs })
        return tags
      })
    } catch (error) {
      if (hasOurs && error instanceof UpstreamError) return []
      throw toRegistryError(error, 'NAME_UNKNOWN', name)
    }
  }

  async #listOwnReferrers(repository: NamedRepository, digest: Digest): Promise<Referrer[]> {
    if (repository.held === undefined) return []
    const rows = await listReferrersOf(this.#deps.metadata.db, repository.held.id, digest)
    return rows.map(toReferrer)
  }

  async #findStoredReferrers(repository: NamedRepository, digest: Digest): Promise<Referrer[] | undefined> {
    if (repository.held === undefined) return this.#looseReferrers.get(`${repository.names.upstream}@${digest}`)
    const stored = await findReferrers(this.#deps.metadata.db, repository.held.id, digest)
    return stored?.referrers ?? this.#looseReferrers.get(`${repository.names.upstream}@${digest}`)
  }

  async #listUpstreamReferrers(
    repository: NamedRepository,
    digest: Digest,
    stored: Referrer[] | undefined,
  ): Promise<Referrer[]> {
    const upstream = this.#upstream
    if (upstream === undefined) {
      if (stored !== undefined || repository.held !== undefined) return stored ?? []
      throw notCached(repository)
    }
    if (stored !== undefined && upstream.state().availability === 'down') return stored
    const name = repository.names.upstream
    try {
      const question = this.#referrerQuestions.run(`${name}@${digest}`, async () => {
        const referrers = await upstream.listReferrers(name, digest)
        await this.#saveReferrers(repository, digest, referrers)
        return referrers
      })
      if (stored === undefined) return await question
      const patience = this.#deps.delayMs(LIST_LIMITS.referrersPatienceMs).then(() => stored)
      return await Promise.race([question, patience])
    } catch (error) {
      if (stored !== undefined && error instanceof UpstreamError) return stored
      throw toRegistryError(error, 'NAME_UNKNOWN', name)
    }
  }

  /** Only for repositories that are held: a question creates nothing. */
  async #saveReferrers(repository: NamedRepository, digest: Digest, referrers: Referrer[]): Promise<void> {
    const repositoryId = repository.held?.id
    if (repositoryId === undefined) {
      this.#looseReferrers.set(`${repository.names.upstream}@${digest}`, referrers)
      return
    }
    try {
      const fetchedAtMs = this.#deps.clock()
      await this.#deps.metadata.transaction((tx) =>
        saveReferrers(tx, { repositoryId, subject: digest, referrers, fetchedAtMs }),
      )
    } catch (error) {
      this.#deps.report('referrers_not_stored', { organization: this.#view.name, error })
    }
  }
}

/** What a list costs beside its text. */
const entryCharacters = 32

function weighTags({ tags }: TagList): number {
  return tags.reduce((characters, tag) => characters + tag.length + entryCharacters, entryCharacters)
}

function weighReferrers(referrers: Referrer[]): number {
  return JSON.stringify(referrers).length + entryCharacters
}

function notCached({ names }: NamedRepository): RegistryError {
  return new RegistryError('NAME_UNKNOWN', { message: `nothing of ${names.stored} is cached` })
}

function toReferrer(row: StoredManifest): Referrer {
  const parsed = parseManifest(row.bytes, row.mediaType)
  const annotations = isNotAManifest(parsed) ? undefined : parsed.annotations
  return {
    mediaType: row.mediaType,
    digest: row.digest as Digest, // Rows hold only digests that were parsed before they were stored.
    size: row.sizeBytes,
    ...(row.artifactType === undefined ? {} : { artifactType: row.artifactType }),
    ...(annotations === undefined ? {} : { annotations }),
  }
}

function byCodeUnit(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0
}
