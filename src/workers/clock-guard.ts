/**
 * A clock that has jumped must not make everything look expired (DESIGN part 5, Clock): collection of expired content
 * waits an hour then. Eviction, garbage and reservations go by other things and do not wait.
 */
import type { Clock } from '../base/clock.ts'
import { HOUR_MS, SECOND_MS } from '../base/units.ts'
import { findInstanceValue, setInstanceValue } from '../metadata/instance.ts'
import type { Metadata } from '../metadata/open.ts'

export const CLOCK_LIMITS = {
  /** Of real time. */
  tickMs: 30 * SECOND_MS,
  /** Between two ticks, either way: more is a jump, or we were off for so long. */
  jumpMs: HOUR_MS,
  /** By the clock that has jumped. */
  holdMs: HOUR_MS,
} as const

/** What the ticks so far have shown; instants of the guarded clock. */
export type ClockState = { tickAtMs: number | undefined; heldUntilMs: number }

/** A jump, for the log: by how much, and until when collection waits. */
export type ClockJump = { jumpMs: number; heldUntilMs: number }

/** The state after a tick at `nowMs`, and the jump if there was one. A jump during a hold begins the hold anew. */
export function decideTick(state: ClockState, nowMs: number): { state: ClockState; jump: ClockJump | undefined } {
  const jumpMs = jumpOf(state, nowMs)
  if (jumpMs === 0) return { state: { tickAtMs: nowMs, heldUntilMs: state.heldUntilMs }, jump: undefined }
  const heldUntilMs = nowMs + CLOCK_LIMITS.holdMs
  return { state: { tickAtMs: nowMs, heldUntilMs }, jump: { jumpMs, heldUntilMs } }
}

/** Whether expired content must not be collected now. A jump that no tick has seen yet holds too. */
export function isHeldIn(state: ClockState, nowMs: number): boolean {
  return nowMs < state.heldUntilMs || jumpOf(state, nowMs) !== 0
}

/** Milliseconds, negative when the clock went back; 0 when it moved as clocks do. */
function jumpOf(state: ClockState, nowMs: number): number {
  const movedMs = nowMs - (state.tickAtMs ?? nowMs)
  return Math.abs(movedMs) > CLOCK_LIMITS.jumpMs ? movedMs : 0
}

/** Kept with the installation, so that the time while we were off is seen, and a restart does not end a hold. */
const stateKey = 'clock_tick_at'

export type ClockGuardDeps = {
  metadata: Metadata
  clock: Clock
  report: (event: string, fields: Record<string, unknown>) => void
}

export class ClockGuard {
  readonly #deps: ClockGuardDeps
  #state: ClockState | undefined

  constructor(deps: ClockGuardDeps) {
    this.#deps = deps
  }

  /** Look at the clock: at start, every `CLOCK_LIMITS.tickMs`, and before each collection. Errors: the database's. */
  async tick(): Promise<void> {
    const { metadata, clock, report } = this.#deps
    const before = this.#state ?? parseState(await findInstanceValue(metadata.db, stateKey))
    const { state, jump } = decideTick(before, clock())
    this.#state = state
    if (jump !== undefined) report('collection_held', { reason: reasonOf(jump), ...jump })
    await setInstanceValue(metadata.db, stateKey, JSON.stringify(state))
  }

  /** Whether expired content must not be collected at `nowMs`; always before the first tick. */
  isHeld(nowMs: number): boolean {
    return this.#state === undefined || isHeldIn(this.#state, nowMs)
  }
}

function reasonOf({ jumpMs }: ClockJump): string {
  const minutes = Math.round(Math.abs(jumpMs) / (60 * SECOND_MS))
  return jumpMs < 0
    ? `the clock went back by ${minutes} minutes`
    : `the clock went forward by ${minutes} minutes, or the server was off for so long`
}

/** What is no state of ours is as if there had been no tick. */
function parseState(text: string | undefined): ClockState {
  const none: ClockState = { tickAtMs: undefined, heldUntilMs: 0 }
  if (text === undefined) return none
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return none
    const { tickAtMs, heldUntilMs } = value as Record<string, unknown>
    return typeof tickAtMs === 'number' && typeof heldUntilMs === 'number' ? { tickAtMs, heldUntilMs } : none
  } catch {
    return none // Written by something else.
  }
}
