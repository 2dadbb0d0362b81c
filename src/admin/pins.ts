/** Pins: a tag (whatever it names) or a digest that never expires and is never evicted or collected; ours. */
import { DAY_MS } from '../base/units.ts'
import { wantBlobs } from '../metadata/ingests.ts'
import { chargeItems, type LedgerItem, listUnchargedItems } from '../metadata/ledger.ts'
import type { Db } from '../metadata/open.ts'
import { deletePin, findImageContent, insertPin, type PinTarget, sumPinnedBytes } from '../metadata/pins.ts'
import { findLimit } from '../metadata/quotas.ts'
import type { Removal } from '../metadata/removal.ts'
import { openReservation } from '../metadata/reservations.ts'
import { refreshRootsOf } from '../metadata/roots.ts'
import { findHeldManifest, setDigestExpiry, setTagExpiry } from '../metadata/tag-changes.ts'
import { findTag } from '../metadata/tags.ts'
import type { Digest } from '../oci/digest.ts'
import type { Reference } from '../oci/reference.ts'
import type { Wanted } from '../registry/admission.ts'
import { AdminError, notFound } from './admin-error.ts'
import { type ChangedRepository, findChangedRepository, lockFound } from './found-repository.ts'
import type { Organizations } from './organizations.ts'
import { limitSettingsOf } from './quota-view.ts'
import type { AdminContext } from './settings.ts'
import { isAlive, log, type RepositoryCall, renewedExpiryOf } from './tags.ts'

export const PIN_LIMITS = {
  /** How long the background tries to complete what is pinned. */
  giveUpMs: DAY_MS,
} as const

type Pinned = { manifestId: number; digest: Digest }

export class Pins {
  readonly #context: AdminContext
  readonly #organizations: Organizations

  constructor(context: AdminContext, organizations: Organizations) {
    this.#context = context
    this.#organizations = organizations
  }

  /**
   * Pin, and complete the image: what is missing of it is charged, reserved and fetched in the background. Idempotent.
   * Errors: AdminError NOT_FOUND for a tag that does not live or a digest that is not held; CONFLICT when all that is
   * pinned would not fit in the limit, or what is missing not beside the rest; INVALID_TOKEN, INSUFFICIENT_SCOPE.
   */
  async pin(call: RepositoryCall, reference: Reference): Promise<void> {
    const { metadata, clock } = this.#context
    const found = await findChangedRepository(metadata.db, this.#organizations, call.caller, call.key)
    const { organization, repository } = found
    await this.#context.writeUses?.()
    const removals = await metadata.transaction(async (tx) => {
      const chargeBytes = await lockFound(tx, found)
      const nowMs = clock()
      const pinned = await findPinned(tx, found, reference, nowMs)
      const evicted = await this.#complete(tx, found, pinned, { chargeBytes, nowMs })
      const pin = { ...targetOf(repository.id, reference), organizationId: organization.id, nowMs }
      const isNew = await insertPin(tx, pin)
      const tag = reference.kind === 'tag' ? await findTag(tx, repository.id, reference.tag) : undefined
      if (tag !== undefined) await setTagExpiry(tx, tag.id, { expiresAtMs: undefined, isSet: false })
      await refreshRootsOf(tx, repository.id, [pinned.digest])
      if (isNew) await log(tx, call, found, 'pin', nowMs, aboutOf(reference, pinned.digest))
      return evicted
    })
    this.#changed(found, reference)
    for (const removal of removals) await this.#context.forgetRemoved?.(removal)
  }

  /**
   * Unpin: it lives as if it had just been pulled.
   * Errors: AdminError NOT_FOUND when it was not pinned; INVALID_TOKEN, INSUFFICIENT_SCOPE.
   */
  async unpin(call: RepositoryCall, reference: Reference): Promise<void> {
    const { metadata, clock } = this.#context
    const found = await findChangedRepository(metadata.db, this.#organizations, call.caller, call.key)
    const { organization, repository } = found
    await metadata.transaction(async (tx) => {
      await lockFound(tx, found)
      const nowMs = clock()
      if (!(await deletePin(tx, targetOf(repository.id, reference)))) throw notFound('pin')
      const expiresAtMs = await renewedExpiryOf(tx, organization.id, nowMs)
      if (reference.kind === 'tag') {
        const tag = await findTag(tx, repository.id, reference.tag)
        if (tag !== undefined) await setTagExpiry(tx, tag.id, { expiresAtMs, isSet: false })
      } else {
        await letDigestLive(tx, repository.id, reference.digest, expiresAtMs, nowMs)
      }
      await log(tx, call, found, 'unpin', nowMs, aboutOf(reference, undefined))
    })
    this.#changed(found, reference)
  }

  /** Charge and reserve what is missing, and want it. Resolves to what had to go for it. */
  async #complete(
    tx: Db,
    { organization, repository }: ChangedRepository,
    { manifestId, digest }: Pinned,
    at: { chargeBytes: number; nowMs: number },
  ): Promise<readonly Removal[]> {
    const { nowMs, chargeBytes } = at
    const organizationId = organization.id
    const { limitBytes } = await findLimit(tx, organizationId, limitSettingsOf(this.#context.settings))
    const content = await findImageContent(tx, manifestId)
    if (limitBytes !== undefined) {
      const pinnedBytes = await sumPinnedBytes(tx, organizationId, manifestId)
      if (pinnedBytes > limitBytes) {
        throw new AdminError(
          'CONFLICT',
          `pinned images would hold ${pinnedBytes} bytes, the quota allows ${limitBytes}`,
        )
      }
    }
    const wanted = { organizationId, repositoryId: repository.id, digest, items: content.items }
    const uncharged = await listUnchargedItems(tx, organizationId, content.items)
    const removals = await this.#makeRoom(tx, { ...wanted, nowMs, chargeBytes, limitBytes }, uncharged)
    await chargeItems(tx, organizationId, uncharged, undefined)
    for (const id of new Set(content.missing.map((blob) => blob.manifestId))) {
      await openReservation(tx, { organizationId, manifestId: id, nowMs })
    }
    const giveUpAtMs = nowMs + PIN_LIMITS.giveUpMs
    const blobs = content.missing.map(({ digest: missing, sizeBytes }) => ({ digest: missing, sizeBytes }))
    await wantBlobs(
      tx,
      blobs.map((blob) => ({ organizationId, repositoryId: repository.id, ...blob, nowMs, giveUpAtMs })),
    )
    return removals
  }

  /** Errors: AdminError CONFLICT. */
  async #makeRoom(tx: Db, wanted: Wanted, uncharged: readonly LedgerItem[]): Promise<readonly Removal[]> {
    const bytes = uncharged.reduce((sum, item) => sum + item.sizeBytes, 0)
    const { limitBytes, chargeBytes } = wanted
    if (limitBytes === undefined || bytes === 0 || chargeBytes + bytes <= limitBytes) return []
    const removals = await this.#context.makeRoom?.(tx, wanted)
    if (removals !== undefined) return removals
    throw new AdminError(
      'CONFLICT',
      `${bytes} bytes are missing of the image, which do not fit: ${chargeBytes} of ${limitBytes} are used`,
    )
  }

  #changed({ organization, repository }: ChangedRepository, reference: Reference): void {
    if (reference.kind === 'tag') this.#context.onTagsChanged?.(organization.name, repository.id, [reference.tag])
  }
}

/** Errors: AdminError NOT_FOUND. */
async function findPinned(
  tx: Db,
  { organization, repository }: ChangedRepository,
  reference: Reference,
  nowMs: number,
): Promise<Pinned> {
  const tag = reference.kind === 'tag' ? await findTag(tx, repository.id, reference.tag) : undefined
  if (reference.kind === 'tag' && (tag === undefined || !isAlive(tag, nowMs))) throw notFound('tag')
  const digest = reference.kind === 'digest' ? reference.digest : tag?.digest
  const held = digest === undefined ? undefined : await findHeldManifest(tx, repository.id, digest)
  const windowMs = organization.tagExpirationSeconds * 1000
  const isOver = held?.expiresAtMs !== undefined && held.expiresAtMs + windowMs <= nowMs
  if (digest === undefined || held === undefined || isOver) throw notFound('manifest')
  return { manifestId: held.id, digest }
}

/** What no tag holds would be collected at once. */
async function letDigestLive(
  tx: Db,
  repositoryId: number,
  digest: Digest,
  expiresAtMs: number | undefined,
  nowMs: number,
): Promise<void> {
  await refreshRootsOf(tx, repositoryId, [digest])
  const held = await findHeldManifest(tx, repositoryId, digest)
  if (held === undefined) return
  const hasEnded = held.expiresAtMs !== undefined && held.expiresAtMs <= nowMs
  if (hasEnded || held.isByDigest) await setDigestExpiry(tx, { repositoryId, id: held.id, digest, expiresAtMs })
}

function targetOf(repositoryId: number, reference: Reference): PinTarget {
  return reference.kind === 'tag'
    ? { repositoryId, kind: 'tag', reference: reference.tag }
    : { repositoryId, kind: 'digest', reference: reference.digest }
}

function aboutOf(reference: Reference, digest: Digest | undefined): Readonly<Record<string, unknown>> {
  if (reference.kind === 'digest') return { manifest_digest: reference.digest }
  return { tag: reference.tag, ...(digest !== undefined && { manifest_digest: digest }) }
}
