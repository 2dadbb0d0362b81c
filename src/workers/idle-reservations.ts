/** Reservations of which nothing was received for a while end: their bytes are released (DESIGN part 5). */
import type { Clock } from '../base/clock.ts'
import { MINUTE_MS } from '../base/units.ts'
import type { Db, Metadata } from '../metadata/open.ts'
import { endReservations, listIdleReservations } from '../metadata/reservations.ts'

export const IDLE_LIMITS = {
  /** DESIGN part 5: since a client or a job received a byte of one of its blobs. */
  idleMs: 15 * MINUTE_MS,
  perStep: 20,
} as const

export type IdleDeps = {
  metadata: Metadata
  clock: Clock
  /** Write down which reservations are being received for, so that none of them is idle. */
  touchActive: () => Promise<void>
}

/** Resolves to how many ended, and the bytes that they released. */
export async function endIdleReservations(
  deps: IdleDeps,
  pause: () => Promise<void>,
): Promise<{ ended: number; freedBytes: number }> {
  await deps.touchActive()
  const total = { ended: 0, freedBytes: 0 }
  for (;;) {
    const step = await endSome(deps)
    if (step === undefined) return total
    total.ended += step.ended
    total.freedBytes += step.freedBytes
    await pause()
  }
}

/** Those of one organization that are next; undefined when none is left. */
async function endSome(deps: IdleDeps): Promise<{ ended: number; freedBytes: number } | undefined> {
  const { metadata, clock } = deps
  const touchedBeforeMs = clock() - IDLE_LIMITS.idleMs
  const idle = await listIdleReservations(metadata.db, touchedBeforeMs, IDLE_LIMITS.perStep)
  const [first] = idle
  if (first === undefined) return undefined
  const { organizationId } = first
  const manifestIds = idle.filter((row) => row.organizationId === organizationId).map((row) => row.manifestId)
  // One that was touched meanwhile goes on.
  const end = (tx: Db) => endReservations(tx, organizationId, manifestIds, touchedBeforeMs)
  return { ended: manifestIds.length, freedBytes: await metadata.transaction(end) }
}
