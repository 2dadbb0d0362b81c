/** Tags of what is cached: look at them and their history, expire, restore, delete. Source: quay-behaviour.md 1.5. */
import { DAY_MS, HOUR_MS, SECOND_MS } from '../base/units.ts'
import { addLogEntry, type LogKind } from '../metadata/log-entries.ts'
import type { Db } from '../metadata/open.ts'
import { isPinned } from '../metadata/pins.ts'
import { findProxyCache } from '../metadata/proxy-caches.ts'
import { type Removal, removeRoots } from '../metadata/removal.ts'
import { refreshRootsOf } from '../metadata/roots.ts'
import {
  deleteTagRecords,
  findHeldManifest,
  isHeldByOtherTags,
  listTagRecords,
  restoreTag,
  setTagExpiry,
  type TagRecord,
} from '../metadata/tag-changes.ts'
import { listTagHistory, listUntaggedImages, type TagFilter } from '../metadata/tag-history.ts'
import { findTag, type StoredTag } from '../metadata/tags.ts'
import type { Digest } from '../oci/digest.ts'
import type { Tag } from '../oci/reference.ts'
import { AdminError, invalidRequest, notFound } from './admin-error.ts'
import type { Caller } from './caller.ts'
import {
  type ChangedRepository,
  findChangedRepository,
  findSeenRepository,
  lockFound,
  type RepositoryKey,
} from './found-repository.ts'
import type { Organizations } from './organizations.ts'
import type { AdminContext } from './settings.ts'
import { type ImageView, type TagView, viewTag, viewUntaggedImage } from './tag-view.ts'

export const TAG_LIMITS = {
  /** Quay's LABELED_EXPIRATION_MINIMUM, from the tag's start. */
  expirationMsMin: HOUR_MS,
  /** Quay's LABELED_EXPIRATION_MAXIMUM, 104 weeks, from the tag's start. */
  expirationMsMax: 728 * DAY_MS,
  pageEntriesMax: 100,
  pageEntriesDefault: 50,
  /** So that no offset is beyond what a database counts. */
  pageMax: 1_000_000_000,
} as const

/** Who asks for what: a caller, from an address, of a repository. */
export type RepositoryCall = { caller: Caller; address: string; key: RepositoryKey }

export type TagQuery = {
  specificTag?: string | undefined
  filter?: TagFilter | undefined
  onlyActiveTags: boolean
  page: number
  limit: number
}

export class Tags {
  readonly #context: AdminContext
  readonly #organizations: Organizations

  constructor(context: AdminContext, organizations: Organizations) {
    this.#context = context
    this.#organizations = organizations
  }

  /** Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND; INVALID_REQUEST past the last page. */
  async list(
    call: RepositoryCall,
    query: TagQuery,
  ): Promise<{ tags: TagView[]; page: number; has_additional: boolean }> {
    const { metadata, clock } = this.#context
    await this.#writeUses()
    const { repository, organization } = await findSeenRepository(metadata.db, this.#organizations, call.key)
    const found = await listTagHistory(metadata.db, repository.id, { ...query, nowMs: clock() })
    refusePastLast(query.page, found.entries.length)
    const windowMs = organization.tagExpirationSeconds * SECOND_MS
    return {
      tags: found.entries.map((span) => viewTag(span, windowMs)),
      page: query.page,
      has_additional: found.hasMore,
    }
  }

  /** Images that were asked for by digest and have no tag that lives. Errors: as `list`. */
  async listUntagged(
    call: RepositoryCall,
    query: { page: number; limit: number },
  ): Promise<{ images: ImageView[]; page: number; has_additional: boolean }> {
    const { metadata, clock } = this.#context
    await this.#writeUses()
    const { repository, organization } = await findSeenRepository(metadata.db, this.#organizations, call.key)
    const nowMs = clock()
    const found = await listUntaggedImages(metadata.db, repository.id, { ...query, nowMs })
    refusePastLast(query.page, found.entries.length)
    const windowMs = organization.tagExpirationSeconds * SECOND_MS
    return {
      images: found.entries.map((untagged) => viewUntaggedImage(untagged, windowMs, nowMs)),
      page: query.page,
      has_additional: found.hasMore,
    }
  }

  /**
   * Set a tag's expiry by hand (seconds since the epoch; null: as a pull would), let it name another digest that is
   * held, or both.
   * Errors: AdminError NOT_FOUND for a tag that does not live or a digest that is not held; INVALID_REQUEST for an
   * expiry in the past; CONFLICT when it is pinned; and as `list`.
   */
  async change(
    call: RepositoryCall,
    name: Tag,
    change: { expiration?: number | null | undefined; manifestDigest?: Digest | undefined },
  ): Promise<void> {
    const { expiration, manifestDigest } = change
    if (expiration === undefined && manifestDigest === undefined) {
      throw invalidRequest('expiration or manifest_digest: one of them is required')
    }
    await this.#changeTag(call, name, async (tx, found, nowMs) => {
      let tag = await findTag(tx, found.repository.id, name)
      if (manifestDigest !== undefined && (tag?.digest !== manifestDigest || !isAlive(tag, nowMs))) {
        tag = await this.#move(tx, call, found, { name, digest: manifestDigest, nowMs, before: tag })
      }
      if (tag === undefined) throw notFound('tag')
      if (!isAlive(tag, nowMs)) throw new AdminError('NOT_FOUND', 'tag not found: it has expired; restore it')
      if (expiration !== undefined) await this.#setExpiry(tx, call, found, { tag, expiration, nowMs })
    })
  }

  /** Expire it now; it is kept in the Time Machine. Errors: AdminError NOT_FOUND, CONFLICT if pinned; and as `list`. */
  async delete(call: RepositoryCall, name: Tag): Promise<void> {
    await this.#changeTag(call, name, async (tx, found, nowMs) => {
      const tag = await findTag(tx, found.repository.id, name)
      if (tag === undefined || !isAlive(tag, nowMs)) throw notFound('tag')
      await refusePinned(tx, found, name)
      // By hand, so that a longer expiration does not bring it back.
      await setTagExpiry(tx, tag.id, { expiresAtMs: nowMs, isSet: true })
      await log(tx, call, found, 'delete_tag', nowMs, { tag: name, manifest_digest: tag.digest })
    })
  }

  /**
   * Let a tag name again what it named before, with a new expiry.
   * Errors: AdminError NOT_FOUND when it never did; INVALID_REQUEST saying why it cannot (evicted, collected, or out of
   * the Time Machine's window); and as `list`.
   */
  async restore(call: RepositoryCall, name: Tag, digest: Digest): Promise<void> {
    await this.#changeTag(call, name, async (tx, found, nowMs) => {
      const { repository, organization } = found
      const windowMs = organization.tagExpirationSeconds * SECOND_MS
      const records = await listTagRecords(tx, { repositoryId: repository.id, name, digest })
      if (records.length === 0) throw notFound('this digest in the history of this tag')
      const record = records.find((candidate) => isWithin(candidate, windowMs, nowMs))
      const held = await findHeldManifest(tx, repository.id, digest)
      if (record === undefined || held === undefined) throw cannotBeRestored(records, windowMs, held !== undefined)
      const expiresAtMs = await this.#renewedExpiry(tx, organization.id, nowMs)
      const { confirmedAtMs } = record
      await restoreTag(tx, { repositoryId: repository.id, name, digest, nowMs, confirmedAtMs, expiresAtMs })
      await log(tx, call, found, 'revert_tag', nowMs, { tag: name, manifest_digest: digest })
    })
  }

  /**
   * Delete for good what a tag names (`isAlive`) or named; with the last tag of an image its bytes go too.
   * Errors: AdminError NOT_FOUND; CONFLICT when it is pinned; and as `list`.
   */
  async deletePermanently(
    call: RepositoryCall,
    name: Tag,
    target: { digest: Digest; isAlive: boolean },
  ): Promise<void> {
    const { digest } = target
    let removal: Removal | undefined
    await this.#changeTag(call, name, async (tx, found, nowMs) => {
      const repositoryId = found.repository.id
      const records = await listTagRecords(tx, { repositoryId, name, digest })
      const current = records.find((record) => record.isCurrent && lives(record, nowMs))
      if (target.isAlive && current === undefined) throw notFound('tag with this digest')
      const going = target.isAlive ? records : records.filter((record) => record !== current)
      if (going.length === 0) throw notFound('this digest in the history of this tag')
      if (target.isAlive) await refusePinned(tx, found, name)
      await refusePinned(tx, found, digest)
      removal = await removeRecords(tx, found, going, nowMs)
      await log(tx, call, found, 'permanently_delete_tag', nowMs, { tag: name, manifest_digest: digest })
    })
    if (removal !== undefined) await this.#context.forgetRemoved?.(removal)
  }

  /** One transaction under the organization's lock, then nothing of the tag is remembered. */
  async #changeTag(
    call: RepositoryCall,
    name: Tag,
    work: (tx: Db, found: ChangedRepository, nowMs: number) => Promise<void>,
  ): Promise<void> {
    const { metadata, clock } = this.#context
    const found = await findChangedRepository(metadata.db, this.#organizations, call.caller, call.key)
    // What was used before must not undo what is done now.
    await this.#writeUses()
    await metadata.transaction(async (tx) => {
      await lockFound(tx, found)
      await work(tx, found, clock())
    })
    this.#context.onTagsChanged?.(found.organization.name, found.repository.id, [name])
  }

  async #move(
    tx: Db,
    call: RepositoryCall,
    found: ChangedRepository,
    move: { name: Tag; digest: Digest; nowMs: number; before: StoredTag | undefined },
  ): Promise<StoredTag> {
    const { name, digest, nowMs, before } = move
    const { repository, organization } = found
    if (before === undefined) throw notFound('tag')
    const held = await findHeldManifest(tx, repository.id, digest)
    const windowMs = organization.tagExpirationSeconds * SECOND_MS
    const isOver = held?.expiresAtMs !== undefined && held.expiresAtMs + windowMs <= nowMs
    if (held === undefined || isOver) throw notFound('manifest')
    const expiresAtMs = await this.#renewedExpiry(tx, organization.id, nowMs)
    const { confirmedAtMs } = before
    const moved = { repositoryId: repository.id, name, digest, nowMs, confirmedAtMs, expiresAtMs }
    const tag = await restoreTag(tx, moved)
    const about = { tag: name, manifest_digest: digest, original_manifest_digest: before.digest }
    await log(tx, call, found, 'move_tag', nowMs, about)
    return tag
  }

  async #setExpiry(
    tx: Db,
    call: RepositoryCall,
    found: ChangedRepository,
    change: { tag: StoredTag; expiration: number | null; nowMs: number },
  ): Promise<void> {
    const { tag, expiration, nowMs } = change
    if (expiration !== null && expiration * SECOND_MS <= nowMs) throw invalidRequest('expiration: is in the past')
    if (expiration !== null) await refusePinned(tx, found, tag.name)
    else if (await isPinned(tx, { repositoryId: tag.repositoryId, kind: 'tag', reference: tag.name })) return
    const expiresAtMs =
      expiration === null
        ? await this.#renewedExpiry(tx, found.organization.id, nowMs)
        : clampExpiry(expiration * SECOND_MS, tag.startedAtMs, nowMs)
    await setTagExpiry(tx, tag.id, { expiresAtMs, isSet: expiration !== null })
    await log(tx, call, found, 'change_tag_expiration', nowMs, {
      tag: tag.name,
      manifest_digest: tag.digest,
      expiration_date: secondsOf(expiresAtMs),
      old_expiration_date: secondsOf(tag.expiresAtMs),
    })
  }

  /** As a pull would set it; undefined is for ever. */
  async #renewedExpiry(tx: Db, organizationId: number, nowMs: number): Promise<number | undefined> {
    return renewedExpiryOf(tx, organizationId, nowMs)
  }

  async #writeUses(): Promise<void> {
    await this.#context.writeUses?.()
  }
}

/** When something expires that is used now; undefined is for ever. */
export async function renewedExpiryOf(tx: Db, organizationId: number, nowMs: number): Promise<number | undefined> {
  const seconds = (await findProxyCache(tx, organizationId))?.expirationSeconds ?? 0
  return seconds === 0 ? undefined : nowMs + seconds * SECOND_MS
}

/** Errors: AdminError CONFLICT when the tag or digest is pinned. */
async function refusePinned(tx: Db, { repository }: ChangedRepository, reference: string): Promise<void> {
  const kind = reference.includes(':') ? 'digest' : 'tag'
  if (!(await isPinned(tx, { repositoryId: repository.id, kind, reference }))) return
  throw new AdminError('CONFLICT', `the ${kind} is pinned: remove the pin first`)
}

/** An entry of the usage log, with what Quay's entries of tags have. */
export async function log(
  tx: Db,
  call: RepositoryCall,
  { organization, repository, administrator }: ChangedRepository,
  kind: LogKind,
  nowMs: number,
  about: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { id: accountId, username } = administrator.account
  const metadata = { namespace: organization.name, repo: repository.name, username, ...about }
  await addLogEntry(tx, { organizationId: organization.id, kind, nowMs, accountId, address: call.address, metadata })
}

async function removeRecords(
  tx: Db,
  { organization, repository }: ChangedRepository,
  going: readonly TagRecord[],
  nowMs: number,
): Promise<Removal | undefined> {
  const ids = going.map((record) => record.id)
  const digest = going[0]?.digest ?? ''
  const held = await findHeldManifest(tx, repository.id, digest)
  const wasRoot = going.some((record) => !record.isEvicted)
  const isLast = !(await isHeldByOtherTags(tx, { repositoryId: repository.id, digest, exceptIds: ids }))
  let removal: Removal | undefined
  if (held !== undefined && wasRoot && isLast) {
    const manifestIds = [held.id]
    removal = await removeRoots(tx, { organizationId: organization.id, manifestIds, nowMs, reason: 'collected' })
  }
  await deleteTagRecords(tx, ids)
  await refreshRootsOf(tx, repository.id, [digest])
  return removal
}

function cannotBeRestored(records: readonly TagRecord[], windowMs: number, isHeld: boolean): AdminError {
  if (records.every((record) => record.isEvicted)) {
    return invalidRequest('manifest_digest: this image was evicted to make room and its bytes are gone; pull it again')
  }
  if (!isHeld) return invalidRequest('manifest_digest: this image was collected and its bytes are gone; pull it again')
  const seconds = windowMs / SECOND_MS
  return invalidRequest(`manifest_digest: what has ended is kept for ${seconds} seconds (tag_expiration_s), now over`)
}

/** Quay's clamp. A tag that began long ago would be clamped into the past: then it counts from now. */
function clampExpiry(atMs: number, startedAtMs: number, nowMs: number): number {
  const { expirationMsMin, expirationMsMax } = TAG_LIMITS
  const clamped = Math.min(Math.max(atMs, startedAtMs + expirationMsMin), startedAtMs + expirationMsMax)
  return clamped > nowMs ? clamped : Math.min(atMs, nowMs + expirationMsMax)
}

function isWithin(record: TagRecord, windowMs: number, nowMs: number): boolean {
  return !record.isEvicted && (record.endsAtMs === undefined || record.endsAtMs + windowMs > nowMs)
}

function lives(record: TagRecord, nowMs: number): boolean {
  return record.endsAtMs === undefined || record.endsAtMs > nowMs
}

export function isAlive(tag: StoredTag, nowMs: number): boolean {
  return tag.expiresAtMs === undefined || tag.expiresAtMs > nowMs
}

function secondsOf(atMs: number | undefined): number | null {
  return atMs === undefined ? null : Math.floor(atMs / SECOND_MS)
}

function refusePastLast(page: number, entries: number): void {
  if (page > 1 && entries === 0) throw invalidRequest(`page: ${page} is past the last one`)
}
