/**
 * The space of every organization: what is kept is admitted first. One transaction locks the organization's usage,
 * stores the manifest, evicts what has to go, charges and reserves (DESIGN part 5).
 */
import type { Clock } from '../base/clock.ts'
import { RegistryError } from '../errors.ts'
import { findLedgerBlob, findNamingManifest } from '../metadata/admission-facts.ts'
import { loadRootFacts } from '../metadata/eviction-facts.ts'
import { chargeItems, findChargeBytes, type LedgerItem, lockUsage } from '../metadata/ledger.ts'
import { countMissingBlobs, isHeld, storeManifest } from '../metadata/manifests.ts'
import type { Db, Metadata } from '../metadata/open.ts'
import { findLimit, type Limit, type LimitSettings, notifyRefused, warnIfCrossed } from '../metadata/quotas.ts'
import type { Removal } from '../metadata/removal.ts'
import { ensureRepository } from '../metadata/repositories.ts'
import { endReservationsOf, openReservation } from '../metadata/reservations.ts'
import { listPinnedRoots } from '../metadata/roots.ts'
import { pointTag, type StoredTag } from '../metadata/tags.ts'
import type { Digest } from '../oci/digest.ts'
import { MANIFEST_LIMITS, type ParsedManifest } from '../oci/manifest.ts'
import type { Tag } from '../oci/reference.ts'
import type { Manifest } from '../oci/registry.ts'
import { type Admission, decideAdmission, findTooLarge, type TooLarge, type Wanted } from './admission.ts'
import type { BlobHolder, ReservationsEnded } from './blob-shelf.ts'
import { carryOutEviction, type EvictionDeps, type EvictionReason, forgetRemoved } from './evictions.ts'
import type { LastUses } from './last-uses.ts'
import type { StoreSpace } from './store-space.ts'
import type { Transfers } from './transfers.ts'

export type SpaceDeps = EvictionDeps & {
  metadata: Metadata
  clock: Clock
  uses: LastUses
  transfers: Transfers
  limits: LimitSettings
  store: Pick<StoreSpace, 'hasRoomFor'>
  onReservationsEnded?: ReservationsEnded | undefined
}

export type Image = {
  organization: BlobHolder & { passesTooLarge: boolean }
  /** As it is stored, without the organization. */
  repository: string
  manifest: Manifest
  parsed: ParsedManifest
  /** The tags that the upstream named with it. Without any it is a by-digest image, unless something holds it. */
  tags: readonly Tag[]
  /** Undefined is for ever. */
  expiresAtMs: number | undefined
}

export type KeptImage = { repositoryId: number; manifestId: number; tags: StoredTag[]; storedAtMs: number }

/** Ends a transaction without keeping anything of it. */
class NotAdmitted extends Error {
  readonly admission: Exclude<Admission, { kind: 'admitted' }>

  constructor(admission: Exclude<Admission, { kind: 'admitted' }>) {
    super('not admitted')
    this.admission = admission
  }
}

/** Uses that were counted in memory would change what is evicted: they are written first. */
class UsesPending extends Error {}

export class Space {
  readonly #deps: SpaceDeps

  constructor(deps: SpaceDeps) {
    this.#deps = deps
  }

  /**
   * Keep an image whose manifest the upstream has just given, and reserve what is missing of it. Undefined when it is
   * to be passed through uncached.
   * Errors: RegistryError QUOTA_EXCEEDED; MANIFEST_UNKNOWN when indexes are nested too deep; the database's own.
   */
  async keepImage(image: Image): Promise<KeptImage | undefined> {
    const { organization, manifest } = image
    const manifestItem = { kind: 'manifest', digest: manifest.descriptor.digest, sizeBytes: manifest.bytes.byteLength }
    const items = [manifestItem as LedgerItem, ...blobItems(image.parsed)]
    let tooLarge: TooLarge | undefined
    const mayEvict = async () => {
      // What the organization's own limit refuses costs no other organization an image.
      tooLarge = await this.#findTooLarge(image, items)
      return tooLarge === undefined
    }
    if (!(await this.#deps.store.hasRoomFor(organization.organizationId, items, mayEvict))) {
      if (tooLarge === undefined || organization.passesTooLarge) return undefined
      throw await this.#refuse(image, tooLarge)
    }
    const reason = { kind: 'admission', repository: image.repository, reference: referenceOf(image) } as const
    try {
      return await this.#admitted(reason, async (tx, admit) => {
        const usage = await lockUsage(tx, organization.organizationId)
        if (usage === undefined || usage.generation !== organization.generation) return undefined
        const kept = await storeImage(tx, image, this.#deps.clock())
        await admit({
          organizationId: organization.organizationId,
          repositoryId: kept.repositoryId,
          manifestId: kept.manifestId,
          digest: manifest.descriptor.digest,
          items,
        })
        return kept
      })
    } catch (error) {
      if (!(error instanceof NotAdmitted)) throw error
      if (error.admission.kind === 'blocked' || organization.passesTooLarge) return undefined
      throw await this.#refuse(image, error.admission.detail)
    }
  }

  /**
   * Whether a blob that a manifest of one of the repositories names may be written to the store: it was reserved, or
   * it is admitted alone (DESIGN part 5, Reservations). False: stream it uncached.
   */
  async admitBlob(
    blob: BlobHolder & { repositoryIds: ReadonlySet<number>; digest: Digest; sizeBytes: number },
  ): Promise<boolean> {
    const { organizationId, digest, sizeBytes } = blob
    const item: LedgerItem = { kind: 'blob', digest, sizeBytes }
    if (!(await this.#deps.store.hasRoomFor(organizationId, [item]))) return false
    try {
      return await this.#admitted({ kind: 'admission', repository: '', reference: digest }, async (tx, admit) => {
        const usage = await lockUsage(tx, organizationId)
        if (usage === undefined || usage.generation !== blob.generation) return false
        const charged = await findLedgerBlob(tx, organizationId, digest)
        if (charged !== undefined) return charged.sizeBytes === sizeBytes
        const naming = await findNamingManifest(tx, [...blob.repositoryIds], digest)
        if (naming === undefined || naming.sizeBytes !== sizeBytes) return false
        await admit({ organizationId, ...naming, items: [item] })
        return true
      })
    } catch (error) {
      if (error instanceof NotAdmitted) return false
      throw error
    }
  }

  /**
   * Evict what has to go for something else, in the caller's transaction and under its lock: a pin that completes its
   * image. Undefined: it does not fit, and nothing is evicted. After the commit, `forgetRemoved` follows.
   */
  async makeRoom(tx: Db, wanted: Wanted): Promise<Removal[] | undefined> {
    const { organizationId, nowMs } = wanted
    const admission = await decideAdmission(tx, wanted, this.#deps.transfers)
    if (admission.kind !== 'admitted') return undefined
    if (admission.plan === undefined) return []
    return carryOutEviction(tx, { organizationId, plan: admission.plan, reason: { kind: 'pin' }, nowMs })
  }

  /** The upstream does not have a blob, or refuses it: what was reserved for its images is released. */
  async upstreamRefused(organizationId: number, digest: Digest): Promise<void> {
    const ended = await this.#deps.metadata.transaction(async (tx) => {
      await lockUsage(tx, organizationId)
      return endReservationsOf(tx, organizationId, digest)
    })
    this.#deps.onReservationsEnded?.('refused', ended)
  }

  /** Run a transaction that admits something, and afterwards remove the bytes of what was evicted for it. */
  async #admitted<Result>(
    reason: EvictionReason,
    work: (tx: Db, admit: (wanted: Admittable) => Promise<void>) => Promise<Result>,
  ): Promise<Result> {
    const { metadata, uses } = this.#deps
    for (let isFlushed = false; ; isFlushed = true) {
      let removals: Removal[] = []
      try {
        const result = await metadata.transaction((tx) => {
          removals = []
          return work(tx, async (wanted) => {
            removals = await this.#admit(tx, wanted, reason, isFlushed)
          })
        })
        await forgetRemoved(this.#deps, removals)
        for (const removal of removals) this.#deps.onEvicted(removal, reason)
        return result
      } catch (error) {
        if (!(error instanceof UsesPending)) throw error
        await uses.flush()
      }
    }
  }

  async #admit(tx: Db, wanted: Admittable, reason: EvictionReason, isFlushed: boolean): Promise<Removal[]> {
    const { limits, transfers, uses, clock } = this.#deps
    const { organizationId, manifestId } = wanted
    const nowMs = clock()
    const limit = await findLimit(tx, organizationId, limits)
    const { limitBytes } = limit
    const chargeBytes = await findChargeBytes(tx, organizationId)
    const admission = await decideAdmission(tx, { ...wanted, nowMs, chargeBytes, limitBytes }, transfers)
    if (admission.kind !== 'admitted') throw new NotAdmitted(admission)
    const { plan } = admission
    if (plan !== undefined && !isFlushed && uses.hasPending) throw new UsesPending()
    const removals = plan === undefined ? [] : await carryOutEviction(tx, { organizationId, plan, reason, nowMs })
    await chargeItems(tx, organizationId, admission.missing, undefined)
    const missing = await countMissingBlobs(tx, [manifestId])
    if ((missing.get(manifestId) ?? 0) > 0) await openReservation(tx, { organizationId, manifestId, nowMs })
    await this.#warn(tx, organizationId, limit, nowMs)
    return removals
  }

  async #findTooLarge({ organization, tags }: Image, items: readonly LedgerItem[]): Promise<TooLarge | undefined> {
    const { db } = this.#deps.metadata
    const { organizationId } = organization
    const { limitBytes } = await findLimit(db, organizationId, this.#deps.limits)
    if (limitBytes === undefined) return undefined
    // A pin follows its tag: what is pinned now may be so no longer when the tag has moved.
    const pinned = tags.length > 0 ? [] : await listPinnedRoots(db, organizationId)
    return findTooLarge(items, limitBytes, await loadRootFacts(db, organizationId, pinned))
  }

  async #warn(tx: Db, organizationId: number, limit: Limit, nowMs: number): Promise<void> {
    const chargeBytes = await findChargeBytes(tx, organizationId)
    await warnIfCrossed(tx, { organizationId, chargeBytes, limit, nowMs })
  }

  async #refuse(image: Image, detail: TooLarge): Promise<RegistryError> {
    const { organizationId } = image.organization
    const metadata = { repository: image.repository, reference: referenceOf(image), ...toDetail(detail) }
    const nowMs = this.#deps.clock()
    await this.#deps.metadata.transaction(async (tx) => {
      await lockUsage(tx, organizationId)
      await notifyRefused(tx, { organizationId, nowMs, metadata })
    })
    return new RegistryError('QUOTA_EXCEEDED', { detail: toDetail(detail) })
  }
}

type Admittable = Omit<Wanted, 'nowMs' | 'chargeBytes' | 'limitBytes'> & { manifestId: number }

async function storeImage(tx: Db, image: Image, nowMs: number): Promise<KeptImage> {
  const { organization, manifest, expiresAtMs } = image
  const { digest } = manifest.descriptor
  const { organizationId, generation } = organization
  const repository = await ensureRepository(tx, { organizationId, generation, name: image.repository, nowMs })
  const repositoryId = repository.id
  const isByDigest = image.tags.length === 0 && !(await isHeld(tx, repositoryId, digest))
  const stored = { repositoryId, manifest, parsed: image.parsed, nowMs, isByDigest, expiresAtMs }
  const { id, depth } = await storeManifest(tx, stored)
  if (depth > MANIFEST_LIMITS.depthMax) {
    throw new RegistryError('MANIFEST_UNKNOWN', {
      message: `indexes in ${image.repository} are nested more than ${MANIFEST_LIMITS.depthMax} deep`,
    })
  }
  const tags: StoredTag[] = []
  for (const name of image.tags) tags.push(await pointTag(tx, { repositoryId, name, digest, nowMs, expiresAtMs }))
  return { repositoryId, manifestId: id, tags, storedAtMs: nowMs }
}

/** What an image needs besides its manifest. Blobs with `urls` come from elsewhere and are not waited for. */
function blobItems(parsed: ParsedManifest): LedgerItem[] {
  return parsed.blobs
    .filter((blob) => !blob.hasUrls)
    .map((blob) => ({ kind: 'blob', digest: blob.digest, sizeBytes: blob.size }))
}

function referenceOf(image: Image): string {
  return image.tags[0] ?? image.manifest.descriptor.digest
}

/** In the `detail` of the error, and in the notification. */
function toDetail(detail: TooLarge) {
  return { needed: detail.neededBytes, available: detail.availableBytes, limit: detail.limitBytes }
}
