/**
 * Whether there is room for an image or a blob, and what has to go for it: DESIGN part 5, Admission. It runs inside the
 * one transaction that also stores, charges and reserves, after the organization's usage row was locked.
 */
import { SECOND_MS } from '../base/units.ts'
import { findContainingRoots, listSiblings, loadRootFacts, type RootFacts } from '../metadata/eviction-facts.ts'
import { type LedgerItem, listUnchargedItems } from '../metadata/ledger.ts'
import type { Db } from '../metadata/open.ts'
import { listYoungReservations } from '../metadata/reservations.ts'
import { type EvictionCandidate, listEvictionCandidates, listPinnedRoots } from '../metadata/roots.ts'
import type { Digest } from '../oci/digest.ts'
import { type EvictionPlan, itemKey, planEviction } from './eviction-plan.ts'
import type { Transfers } from './transfers.ts'

export const ADMISSION_LIMITS = {
  /** Candidates that are loaded at a time. */
  candidatesPerPage: 20,
  /** A root whose reservation is younger is no candidate (DESIGN part 5, Admission). */
  reservationAgeMsMin: 10 * SECOND_MS,
} as const

/** What is to be admitted: an image whose manifest was stored in this transaction, or a blob of one. */
export type Wanted = {
  organizationId: number
  repositoryId: number
  /** Of the manifest. */
  digest: Digest
  /** What it needs in the ledger; what is there already costs nothing. */
  items: readonly LedgerItem[]
  nowMs: number
  chargeBytes: number
  /** Undefined is no limit. */
  limitBytes: number | undefined
}

export type Admission =
  /** It fits when `plan` is carried out. */
  | { kind: 'admitted'; missing: LedgerItem[]; plan: EvictionPlan | undefined }
  /** Only images that are being received, or are about to be, stand in its way. */
  | { kind: 'blocked' }
  /** It would not fit with everything unpinned gone. */
  | { kind: 'tooLarge'; detail: TooLarge }

export type TooLarge = { neededBytes: number; availableBytes: number; limitBytes: number }

/** Decide, and change nothing. */
export async function decideAdmission(tx: Db, wanted: Wanted, transfers: Transfers): Promise<Admission> {
  const { organizationId, repositoryId, limitBytes, chargeBytes } = wanted
  const missing = await listUnchargedItems(tx, organizationId, wanted.items)
  const deficitBytes = chargeBytes + sumOf(missing) - (limitBytes ?? Number.POSITIVE_INFINITY)
  if (limitBytes === undefined || deficitBytes <= 0) return { kind: 'admitted', missing, plan: undefined }
  const pinned = await loadRootFacts(tx, organizationId, await listPinnedRoots(tx, organizationId))
  const detail = findTooLarge(wanted.items, limitBytes, pinned)
  if (detail !== undefined) return { kind: 'tooLarge', detail }
  const containing = new Set(await findContainingRoots(tx, repositoryId, wanted.digest))
  const isBusy = await findBusy(tx, organizationId, wanted.nowMs, transfers)
  const mayGo = (root: RootFacts) => !containing.has(root.manifestId) && !isBusy(root)
  const isPinned = pinned.some((root) => containing.has(root.manifestId))
  const plan = await planEviction(deficitBytes, new Set(wanted.items.map(itemKey)), {
    roots: listRoots(tx, organizationId, wanted.nowMs, mayGo),
    // The platforms of a pinned index are pinned.
    siblings: listSiblingFacts(tx, wanted, isPinned ? () => false : mayGo),
  })
  return plan.isEnough ? { kind: 'admitted', missing, plan } : { kind: 'blocked' }
}

/** What an eviction for so many bytes more would take now, for a preview; nothing is excluded but what is busy. */
export async function previewEviction(
  db: Db,
  fields: { organizationId: number; deficitBytes: number; nowMs: number },
  transfers: Transfers,
): Promise<EvictionPlan> {
  const { organizationId, nowMs } = fields
  const isBusy = await findBusy(db, organizationId, nowMs, transfers)
  return planEviction(fields.deficitBytes, new Set(), {
    roots: listRoots(db, organizationId, nowMs, (root) => !isBusy(root)),
    siblings: nothing(),
  })
}

/** Undefined when it fits beside what is pinned. */
export function findTooLarge(
  items: readonly LedgerItem[],
  limitBytes: number,
  pinned: readonly RootFacts[],
): TooLarge | undefined {
  const held = new Map<string, number>()
  for (const root of pinned) {
    for (const manifest of root.manifests) for (const item of manifest.items) held.set(itemKey(item), item.sizeBytes)
  }
  const needed = new Map(
    items.filter((item) => !held.has(itemKey(item))).map((item) => [itemKey(item), item.sizeBytes]),
  )
  const neededBytes = sum(needed.values())
  const availableBytes = Math.max(0, limitBytes - sum(held.values()))
  return neededBytes > availableBytes ? { neededBytes, availableBytes, limitBytes } : undefined
}

/** Roots that must stay for now: something of them is being received, or they were admitted a moment ago. */
export async function findBusy(
  tx: Db,
  organizationId: number,
  nowMs: number,
  transfers: Transfers,
): Promise<(root: RootFacts) => boolean> {
  const createdAfterMs = nowMs - ADMISSION_LIMITS.reservationAgeMsMin
  const young = new Set(await listYoungReservations(tx, organizationId, createdAfterMs))
  return (root) =>
    root.manifests.some(({ manifestId, items }) => {
      if (young.has(manifestId)) return true
      const digests = items.filter((item) => item.kind === 'blob').map((item) => item.digest)
      return transfers.isReceiving(organizationId, root.repositoryId, digests)
    })
}

/** In the order in which they go: those only in the Time Machine, then by last use. Pinned ones are none. */
async function* listRoots(
  tx: Db,
  organizationId: number,
  nowMs: number,
  mayGo: (root: RootFacts) => boolean,
): AsyncGenerator<RootFacts> {
  const limit = ADMISSION_LIMITS.candidatesPerPage
  for (const phase of ['kept', 'alive'] as const) {
    let after: EvictionCandidate | undefined
    for (;;) {
      const page = await listEvictionCandidates(tx, { organizationId, nowMs, phase, after, limit })
      const facts = await loadRootFacts(tx, organizationId, page.map(idOf))
      for (const root of facts) if (mayGo(root)) yield root
      if (page.length < limit) break
      after = page.at(-1)
    }
  }
}

async function* listSiblingFacts(
  tx: Db,
  wanted: Wanted,
  mayGo: (sibling: RootFacts) => boolean,
): AsyncGenerator<RootFacts> {
  for (const manifestId of await listSiblings(tx, wanted.repositoryId, wanted.digest)) {
    for (const facts of await loadRootFacts(tx, wanted.organizationId, [manifestId])) if (mayGo(facts)) yield facts
  }
}

async function* nothing(): AsyncGenerator<never> {}

function idOf(root: EvictionCandidate): number {
  return root.manifestId
}

function sumOf(items: readonly LedgerItem[]): number {
  return sum(items.map((item) => item.sizeBytes))
}

function sum(numbers: Iterable<number>): number {
  let total = 0
  for (const number of numbers) total += number
  return total
}
