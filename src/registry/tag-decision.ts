/** What to do about a pull by tag: DESIGN part 4, the table *By tag*, as pure functions. */
import type { UpstreamFailure } from '../errors.ts'
import type { StaleReason } from './served.ts'

export type TagPolicy = {
  /** How long a tag lives after its last pull; undefined is for ever. */
  expirationMs: number | undefined
  revalidateAfterMs: number
  /** How long after its last confirmation a copy may be served stale; undefined: the Time Machine alone bounds it. */
  maxStaleMs: number | undefined
  refuseWhenDenied: boolean
  /** The Time Machine: how long an expired tag is kept. */
  windowMs: number
  /** Whether a pull renews the expiry: not without an upstream that could stand behind the answer. */
  renews: boolean
}

/** What is held under a tag. Instants are milliseconds since the epoch; no `expiresAtMs` is for ever. */
export type TagCopy = { confirmedAtMs: number; expiresAtMs: number | undefined }

/** alive: not expired. kept: expired, inside the Time Machine's window. none: neither, or nothing is held. */
export type CopyState = 'alive' | 'kept' | 'none'

export function copyState(copy: TagCopy | undefined, policy: TagPolicy, nowMs: number): CopyState {
  if (copy === undefined) return 'none'
  if (copy.expiresAtMs === undefined || copy.expiresAtMs > nowMs) return 'alive'
  return copy.expiresAtMs + policy.windowMs > nowMs ? 'kept' : 'none'
}

/** Whether the copy may be served when the upstream gives nothing usable. */
export function mayBeStale(copy: TagCopy | undefined, policy: TagPolicy, nowMs: number): boolean {
  if (copy === undefined || copyState(copy, policy, nowMs) === 'none') return false
  return policy.maxStaleMs === undefined || nowMs - copy.confirmedAtMs <= policy.maxStaleMs
}

/**
 * Expiry after a pull that the upstream stands behind: `hit`, `revalidated`, `miss`; null is for ever. Undefined leaves
 * it as it is, as a stale pull does.
 */
export function renewalOf(policy: TagPolicy, nowMs: number): number | null | undefined {
  return policy.renews ? (renewedExpiry(policy, nowMs) ?? null) : undefined
}

/** When something that is kept now expires; undefined is for ever. */
export function renewedExpiry(policy: TagPolicy, nowMs: number): number | undefined {
  return policy.expirationMs === undefined ? undefined : nowMs + policy.expirationMs
}

/**
 * The expiry of a copy after such a pull. It never goes back, unless somebody had set it by hand: then it is as any
 * pull's (Quay).
 */
export function expiryAfterUse(
  copy: { expiresAtMs: number | undefined; isExpirySet: boolean },
  policy: TagPolicy,
  nowMs: number,
): number | undefined {
  if (!policy.renews) return copy.expiresAtMs
  const renewed = renewedExpiry(policy, nowMs)
  if (copy.isExpirySet) return renewed
  if (copy.expiresAtMs === undefined || renewed === undefined) return undefined
  return Math.max(copy.expiresAtMs, renewed)
}

export type FirstStep =
  | { kind: 'hit' }
  /** The upstream is known to be down: nobody waits to find out again. */
  | { kind: 'stale'; reason: StaleReason }
  /** `isPatient`: there is nothing to fall back on, so the answer is waited for. */
  | { kind: 'ask'; isPatient: boolean }

/**
 * Before the upstream is asked. `isReachable` is false when it is down, `canAsk` when there is none to ask (or frozen).
 */
export function firstStep(
  copy: TagCopy | undefined,
  policy: TagPolicy,
  situation: { nowMs: number; isDown: boolean; canAsk: boolean },
): FirstStep | { kind: 'unknown' } {
  const { nowMs } = situation
  const state = copyState(copy, policy, nowMs)
  if (!situation.canAsk) return state === 'alive' ? { kind: 'hit' } : { kind: 'unknown' }
  if (copy !== undefined && state === 'alive' && nowMs - copy.confirmedAtMs < policy.revalidateAfterMs) {
    return { kind: 'hit' }
  }
  const hasFallback = mayBeStale(copy, policy, nowMs)
  if (hasFallback && situation.isDown) return { kind: 'stale', reason: 'down' }
  return { kind: 'ask', isPatient: !hasFallback }
}

/** After the upstream has failed us: serve the copy as stale for this reason, or pass the failure on. */
export function staleReasonAfter(
  failure: UpstreamFailure,
  copy: TagCopy | undefined,
  policy: TagPolicy,
  nowMs: number,
): StaleReason | undefined {
  const isAlive = copyState(copy, policy, nowMs) === 'alive'
  switch (failure) {
    case 'not_found':
      return isAlive ? 'gone' : undefined
    case 'denied':
      return isAlive && !policy.refuseWhenDenied ? 'denied' : undefined
    case 'unreachable':
    case 'timeout':
    case 'rate_limited':
    case 'server_error':
    case 'protocol':
      return mayBeStale(copy, policy, nowMs) ? failure : undefined
    default:
      throw new Error(`unhandled upstream failure: ${failure satisfies never}`)
  }
}
