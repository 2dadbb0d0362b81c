/** Purging what is cached, and foreseeing what an eviction would take, for those who may. */
import { addLogEntry } from '../metadata/log-entries.ts'
import { findManifest } from '../metadata/manifests.ts'
import type { Organization } from '../metadata/organizations.ts'
import { countRoots } from '../metadata/purge-roots.ts'
import { findLimit } from '../metadata/quotas.ts'
import { findTag } from '../metadata/tags.ts'
import { parseReference, type Reference } from '../oci/reference.ts'
import { parseRepositoryName } from '../oci/repository-name.ts'
import { type EvictionPreview, previewForBytes } from '../registry/eviction-preview.ts'
import {
  foreseePurge,
  noPurgeCounts,
  PURGE_LIMITS,
  type PurgeCounts,
  type PurgedImage,
  type PurgeRequest,
  purge,
} from '../registry/purge.ts'
import { AdminError, invalidRequest, notFound } from './admin-error.ts'
import type { AccountCaller, Caller } from './caller.ts'
import { findChangedRepository } from './found-repository.ts'
import type { Organizations } from './organizations.ts'
import type { AdminContext } from './settings.ts'

/** As the API has them. `reference`: a tag or digest of the repository. */
export type PurgeFields = {
  repository?: string | undefined
  reference?: string | undefined
  includesPinned: boolean
}

export type PurgeCall = { caller: Caller; organization: string; address: string }

type Running = {
  state: 'running' | 'done' | 'failed'
  total: number
  counts: PurgeCounts
  startedAtMs: number
  finishedAtMs: number | undefined
}

type Found = { organization: Organization; administrator: AccountCaller; request: PurgeRequest }

export class Purges {
  readonly #context: AdminContext
  readonly #organizations: Organizations
  /** The last of each organization; a restart ends what runs. */
  readonly #purges = new Map<number, Running>()
  readonly #work = new Set<Promise<void>>()

  constructor(context: AdminContext, organizations: Organizations) {
    this.#context = context
    this.#organizations = organizations
  }

  /**
   * Purge, before or behind the answer: `state` says which.
   * Errors: AdminError CONFLICT while one runs; INVALID_REQUEST, INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND.
   */
  async start(call: PurgeCall, fields: PurgeFields) {
    const found = await this.#find(call, fields)
    const { id } = found.organization
    const { clock, metadata } = this.#context
    if (this.#purges.get(id)?.state === 'running') {
      throw new AdminError('CONFLICT', 'a purge of this organization is running: wait for it')
    }
    const running: Running = {
      ...{ state: 'running', total: 1, counts: noPurgeCounts() },
      ...{ startedAtMs: clock(), finishedAtMs: undefined },
    }
    this.#purges.set(id, running)
    try {
      if (found.request.image === undefined) running.total = await countRoots(metadata.db, found.request)
    } catch (error) {
      running.state = 'failed'
      throw error
    }
    const work = this.#run(call, fields, found, running)
    if (running.total <= PURGE_LIMITS.rootsAtOnceMax) await work
    else this.#keep(work)
    return viewPurge(running)
  }

  /** What `start` would do. Errors: as `start`, without CONFLICT. */
  async foresee(call: PurgeCall, fields: PurgeFields) {
    const { request } = await this.#find(call, fields)
    const total = request.image === undefined ? await countRoots(this.#context.metadata.db, request) : 1
    const foreseen = await foreseePurge(this.#context, request, total)
    return {
      images: foreseen.images,
      freed_bytes: foreseen.freedBytes ?? null,
      skipped_pinned: foreseen.skippedPinned,
      skipped_in_use: foreseen.skippedBusy,
      listed: foreseen.listed.map(({ repositoryName, ...rest }) => ({ repository: repositoryName, ...rest })),
    }
  }

  /** The last purge since the server was started. Errors: AdminError NOT_FOUND, also when there was none. */
  async view(name: string) {
    const running = this.#purges.get((await this.#organizations.find(name)).id)
    if (running === undefined) throw notFound('a purge since the server was started')
    return viewPurge(running)
  }

  /** Errors: AdminError NOT_FOUND. */
  async preview(name: string, bytes: number) {
    const { id } = await this.#organizations.find(name)
    const { metadata, clock, settings, writeUses } = this.#context
    await writeUses?.()
    const { limitBytes } = await findLimit(metadata.db, id, settings)
    const need = { organizationId: id, bytes, limitBytes, nowMs: clock() }
    return viewPreview(bytes, await previewForBytes(this.#context, need))
  }

  /** Resolves when nothing runs behind an answer any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#work)
  }

  #keep(work: Promise<void>): void {
    const kept = work.catch(() => undefined).finally(() => this.#work.delete(kept)) // Reported where it failed.
    this.#work.add(kept)
  }

  async #run(call: PurgeCall, fields: PurgeFields, found: Found, running: Running): Promise<void> {
    const { metadata, clock, transfers, forgetRemoved, report } = this.#context
    const { organization, administrator, request } = found
    const { counts } = running
    const deps = { metadata, clock, transfers, forgetRemoved: forgetRemoved ?? (() => Promise.resolve()) }
    try {
      await purge(deps, request, counts)
      await metadata.transaction((tx) =>
        addLogEntry(tx, {
          organizationId: organization.id,
          kind: 'purge_cache',
          nowMs: clock(),
          accountId: administrator.account.id,
          address: call.address,
          metadata: {
            ...{ repository: fields.repository ?? null, reference: fields.reference ?? null },
            ...{ include_pinned: fields.includesPinned, removed_images: counts.removedImages },
            ...{ freed_bytes: counts.freedBytes, skipped_pinned: counts.skippedPinned },
          },
        }),
      )
      running.state = 'done'
    } catch (error) {
      running.state = 'failed'
      report('purge_failed', { organization: organization.name, error })
      throw error
    } finally {
      running.finishedAtMs = clock()
      report('cache_purged', { organization: organization.name, by: administrator.account.username, ...counts })
    }
  }

  async #find(call: PurgeCall, fields: PurgeFields): Promise<Found> {
    const { caller, organization: name } = call
    const { includesPinned } = fields
    if (fields.repository === undefined) {
      const { organization, administrator } = await this.#organizations.administered(caller, name)
      if (fields.reference !== undefined) throw invalidRequest('reference: needs the repository that it is of')
      const request = { organizationId: organization.id, repositoryId: undefined, image: undefined, includesPinned }
      return { organization, administrator, request }
    }
    const { organization, administrator, repository } = await this.#findRepository(caller, name, fields.repository)
    const reference = fields.reference === undefined ? undefined : parseReference(fields.reference)
    if (fields.reference !== undefined && reference === undefined) {
      throw invalidRequest('reference: expected a tag, or a digest such as sha256:…')
    }
    const image = reference && (await this.#findImage(repository.id, reference))
    const request = { organizationId: organization.id, repositoryId: repository.id, image, includesPinned }
    return { organization, administrator, request }
  }

  #findRepository(caller: Caller, organization: string, text: string) {
    const repository = parseRepositoryName(text)
    if (repository === undefined) {
      throw invalidRequest('repository: expected a repository’s name, without the organization')
    }
    const key = { organization, repository }
    return findChangedRepository(this.#context.metadata.db, this.#organizations, caller, key)
  }

  async #findImage(repositoryId: number, reference: Reference): Promise<PurgedImage> {
    const { db } = this.#context.metadata
    const isByDigest = reference.kind === 'digest'
    const digest = isByDigest ? reference.digest : (await findTag(db, repositoryId, reference.tag))?.digest
    const manifest = digest && (await findManifest(db, repositoryId, digest))
    if (digest === undefined || manifest === undefined) throw notFound(isByDigest ? 'digest' : 'tag')
    return { repositoryId, manifestId: manifest.id, digest, isByDigest }
  }
}

function viewPurge({ state, total, counts, startedAtMs, finishedAtMs }: Running) {
  return {
    state,
    total,
    seen: counts.seen,
    removed_images: counts.removedImages,
    freed_bytes: counts.freedBytes,
    skipped_pinned: counts.skippedPinned,
    skipped_in_use: counts.skippedBusy,
    started: startedAtMs,
    finished: finishedAtMs ?? null,
  }
}

const OUTCOMES = { fits: 'fits', evicts: 'evicts', blocked: 'blocked', tooLarge: 'too_large' } as const

function viewPreview(bytes: number, preview: EvictionPreview) {
  return {
    bytes,
    outcome: OUTCOMES[preview.outcome],
    fits: preview.outcome === 'fits' || preview.outcome === 'evicts',
    charge_bytes: preview.chargeBytes,
    limit_bytes: preview.limitBytes ?? null,
    freed_bytes: preview.freedBytes,
    images: preview.images.map((image) => ({
      repository: image.repositoryName,
      tags: image.tags,
      digest: image.digest,
      last_pulled: image.lastUsedAtMs,
      size_bytes: image.sizeBytes,
      frees_bytes: image.freesBytes,
    })),
  }
}
