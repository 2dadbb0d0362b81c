/** The manifests, tags and repositories that one organization holds: memory first, then the database. */
import type { Clock } from '../base/clock.ts'
import { RegistryError } from '../errors.ts'
import { lockUsage } from '../metadata/ledger.ts'
import { findManifest } from '../metadata/manifests.ts'
import type { Metadata } from '../metadata/open.ts'
import { findRepository, setRepositoryDenied } from '../metadata/repositories.ts'
import { confirmTag, findTag, pointTag, type StoredTag } from '../metadata/tags.ts'
import type { Digest } from '../oci/digest.ts'
import type { ParsedManifest } from '../oci/manifest.ts'
import { parseTag, type Tag } from '../oci/reference.ts'
import type { Manifest } from '../oci/registry.ts'
import type { LastUses } from './last-uses.ts'
import {
  type HeldManifest,
  type HeldRepository,
  type HeldTag,
  holdManifest,
  type ManifestMemory,
} from './manifest-memory.ts'
import type { OrganizationView } from './organization-view.ts'
import type { KeptImage, Space } from './space.ts'
import { expiryAfterUse, renewalOf, renewedExpiry } from './tag-decision.ts'
import { mapRepositoryName, type RepositoryNames } from './upstream-repository.ts'

export type ShelfDeps = {
  metadata: Metadata
  memory: ManifestMemory
  uses: LastUses
  clock: Clock
  space: Pick<Space, 'keepImage'>
  report: (event: string, fields: Record<string, unknown>) => void
}

/** A repository that a request names; `held` is undefined until something of it is kept. */
export type NamedRepository = { names: RepositoryNames; held: HeldRepository | undefined }
export type TagWithManifest = { tag: HeldTag; manifest: HeldManifest }

export class ManifestShelf {
  readonly #view: OrganizationView
  readonly #deps: ShelfDeps
  readonly #space: string

  constructor(view: OrganizationView, deps: ShelfDeps) {
    this.#view = view
    this.#deps = deps
    this.#space = `${view.id}.${view.generation}`
  }

  /** The name that a repository is stored under, for the hot path; it says nothing of whether the name is valid. */
  storedName(name: string): string {
    const { upstream } = this.#view
    const isOfficial = upstream?.isDockerHub === true && upstream.namespace === undefined && !name.includes('/')
    return isOfficial ? `library/${name}` : name
  }

  /** Without waiting; undefined when it is not in memory. */
  recallRepository(name: string): HeldRepository | undefined {
    return this.#deps.memory.findRepository(this.#space, name)
  }

  async nameRepository(name: string): Promise<NamedRepository> {
    const names = mapRepositoryName(this.#view.upstream ?? { namespace: undefined, isDockerHub: false }, name)
    const held = await this.#findRepository(names.stored)
    if (held !== undefined || this.#view.upstream !== undefined || name.includes('/')) return { names, held }
    // The proxy configuration is gone, and with it the knowledge that this was Docker Hub.
    const official = mapRepositoryName({ namespace: undefined, isDockerHub: true }, name)
    return { names: official, held: await this.#findRepository(official.stored) }
  }

  /** The current row of a tag and its manifest, alive or not; undefined unless both are held. */
  async findCopy(repository: NamedRepository, tag: Tag): Promise<TagWithManifest | undefined> {
    const repositoryId = repository.held?.id
    if (repositoryId === undefined) return undefined
    let held = await this.#findTag(repositoryId, tag)
    if (held?.expiresAtMs !== undefined && held.expiresAtMs <= this.#deps.clock() && this.#deps.uses.hasPending) {
      // A pull by digest may have renewed it since, which is known only when it is written.
      await this.#deps.uses.flush()
      held = await this.#findTag(repositoryId, tag)
    }
    if (held === undefined) return undefined
    const manifest = await this.findManifest(repository, held.digest)
    return manifest && { tag: held, manifest }
  }

  async findManifest(repository: NamedRepository, digest: Digest): Promise<HeldManifest | undefined> {
    const repositoryId = repository.held?.id
    if (repositoryId === undefined) return undefined
    const remembered = this.#deps.memory.findManifest(repositoryId, digest)
    if (remembered !== undefined) return remembered
    const { epoch } = this.#deps.memory
    const row = await findManifest(this.#deps.metadata.db, repositoryId, digest)
    if (row === undefined) return undefined
    const descriptor = { mediaType: row.mediaType, digest, size: row.sizeBytes }
    const held = holdManifest({ descriptor, bytes: row.bytes }, row.id, row.createdAtMs)
    if (epoch === this.#deps.memory.epoch) this.#deps.memory.setManifest(repositoryId, held)
    return held
  }

  /** Record the use of a tag; `isConfirmed` when the upstream stands behind the answer, which renews the expiry. */
  useTag(tag: HeldTag, isConfirmed: boolean): void {
    const nowMs = this.#deps.clock()
    if (isConfirmed) this.#renew(tag, nowMs)
    const expiresAtMs = isConfirmed ? renewalOf(this.#view.policy, nowMs) : undefined
    this.#deps.uses.touchTag({ id: tag.id, lastUsedAtMs: nowMs, expiresAtMs })
  }

  useManifest(repositoryId: number, manifest: HeldManifest): void {
    if (manifest.id === undefined) return
    const nowMs = this.#deps.clock()
    this.#deps.uses.touchManifest({
      id: manifest.id,
      repositoryId,
      digest: manifest.descriptor.digest,
      lastUsedAtMs: nowMs,
      expiresAtMs: renewalOf(this.#view.policy, nowMs),
    })
  }

  /** The upstream has named this digest again: a kept tag lives again. */
  async confirm(tag: HeldTag): Promise<void> {
    const nowMs = this.#deps.clock()
    tag.confirmedAtMs = nowMs
    this.#renew(tag, nowMs)
    const expiresAtMs = renewedExpiry(this.#view.policy, nowMs)
    await this.#bestEffort('tag_not_confirmed', async () => {
      await confirmTag(this.#deps.metadata.db, tag.id, { confirmedAtMs: nowMs, expiresAtMs })
    })
  }

  /**
   * Keep a manifest that the upstream has just given, under the tags that it named with it. Without tags it is a
   * by-digest image, unless a tag or index of the repository holds it. What cannot be kept is served all the same.
   * Errors: RegistryError QUOTA_EXCEEDED, or MANIFEST_UNKNOWN when indexes are nested too deep.
   */
  async keep(
    repository: NamedRepository,
    manifest: Manifest,
    parsed: ParsedManifest,
    tags: readonly Tag[],
  ): Promise<HeldManifest> {
    const nowMs = this.#deps.clock()
    const { id: organizationId, generation, passesTooLarge } = this.#view
    const kept = await this.#bestEffort('manifest_not_stored', () =>
      this.#deps.space.keepImage({
        organization: { organizationId, generation, passesTooLarge },
        repository: repository.names.stored,
        manifest,
        parsed,
        tags,
        expiresAtMs: renewedExpiry(this.#view.policy, nowMs),
      }),
    )
    if (kept === undefined) return holdManifest(manifest, undefined, nowMs)
    return this.#remember(repository, manifest, kept)
  }

  /** Let tags name a manifest that is held, because the upstream says so; not if it has just gone. */
  async point(repository: NamedRepository, digest: Digest, tags: readonly Tag[]): Promise<void> {
    const { metadata, memory } = this.#deps
    const repositoryId = repository.held?.id
    if (repositoryId === undefined) return
    const nowMs = this.#deps.clock()
    const pointed = { repositoryId, digest, nowMs, expiresAtMs: renewedExpiry(this.#view.policy, nowMs) }
    const rows = await this.#bestEffort('tag_not_stored', () =>
      metadata.transaction(async (tx) => {
        const usage = await lockUsage(tx, this.#view.id)
        const isHeld = (await findManifest(tx, repositoryId, digest)) !== undefined
        if (usage?.generation !== this.#view.generation || !isHeld) return []
        const begun: StoredTag[] = []
        for (const name of tags) begun.push(await pointTag(tx, { ...pointed, name }))
        return begun
      }),
    )
    for (const row of rows ?? []) {
      const tag = parseTag(row.name)
      if (tag !== undefined) memory.setTag(repositoryId, tag, toHeldTag(row))
    }
  }

  /** Note once that the upstream refuses the repository, or that it no longer does. */
  async setDenied(repository: NamedRepository, isDenied: boolean): Promise<void> {
    const { held } = repository
    if (held === undefined || (held.deniedAtMs !== undefined) === isDenied) return
    held.deniedAtMs = isDenied ? this.#deps.clock() : undefined
    const fields = { organization: this.#view.name, repository: repository.names.stored }
    this.#deps.report(isDenied ? 'repository_denied' : 'repository_allowed_again', fields)
    await this.#bestEffort('repository_denial_not_written', () =>
      setRepositoryDenied(this.#deps.metadata.db, held.id, held.deniedAtMs),
    )
  }

  /** As the database does it with the row. */
  #renew(tag: HeldTag, nowMs: number): void {
    tag.expiresAtMs = expiryAfterUse(tag, this.#view.policy, nowMs)
    tag.isExpirySet = false
  }

  async #findTag(repositoryId: number, tag: Tag): Promise<HeldTag | undefined> {
    const { memory, metadata } = this.#deps
    const remembered = memory.findTag(repositoryId, tag)
    if (remembered !== undefined) return remembered
    const { epoch } = memory
    const row = await findTag(metadata.db, repositoryId, tag)
    if (row === undefined) return undefined
    const held = memory.findTag(repositoryId, tag) ?? toHeldTag(row)
    if (epoch === memory.epoch) memory.setTag(repositoryId, tag, held)
    return held
  }

  async #findRepository(stored: string): Promise<HeldRepository | undefined> {
    const remembered = this.#deps.memory.findRepository(this.#space, stored)
    if (remembered !== undefined) return remembered
    const row = await findRepository(this.#deps.metadata.db, this.#view.id, this.#view.generation, stored)
    if (row === undefined) return undefined
    const held = this.#deps.memory.findRepository(this.#space, stored) ?? { id: row.id, deniedAtMs: row.deniedAtMs }
    this.#deps.memory.setRepository(this.#space, stored, held)
    return held
  }

  #remember(repository: NamedRepository, manifest: Manifest, kept: KeptImage): HeldManifest {
    const { memory } = this.#deps
    repository.held ??= memory.findRepository(this.#space, repository.names.stored)
    repository.held ??= { id: kept.repositoryId, deniedAtMs: undefined }
    memory.setRepository(this.#space, repository.names.stored, repository.held)
    const held = holdManifest(manifest, kept.manifestId, kept.storedAtMs)
    memory.setManifest(kept.repositoryId, held)
    for (const row of kept.tags) {
      const tag = parseTag(row.name)
      if (tag !== undefined) memory.setTag(kept.repositoryId, tag, toHeldTag(row))
    }
    return held
  }

  /** A store that fails makes us slow; it does not stop a pull. */
  async #bestEffort<Value>(event: string, write: () => Promise<Value>): Promise<Value | undefined> {
    try {
      return await write()
    } catch (error) {
      if (error instanceof RegistryError) throw error
      this.#deps.report(event, { organization: this.#view.name, error })
      return undefined
    }
  }
}

function toHeldTag(row: StoredTag): HeldTag {
  return {
    id: row.id,
    digest: row.digest,
    confirmedAtMs: row.confirmedAtMs,
    expiresAtMs: row.expiresAtMs,
    isExpirySet: row.isExpirySet,
  }
}
