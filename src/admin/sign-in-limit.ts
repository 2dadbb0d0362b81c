/** Guessing a password is slowed per account and address, so that its owner elsewhere is never locked out. */
import { isIPv6 } from 'node:net'
import { BoundedMap } from '../base/bounded-map.ts'
import type { Clock } from '../base/clock.ts'
import { MINUTE_MS } from '../base/units.ts'

export const SIGN_IN_LIMITS = {
  /** Failures of one account from one address before it must wait. */
  failuresMax: 10,
  /** How long a failure counts. */
  windowMs: 5 * MINUTE_MS,
  /** Pairs of account and address that are remembered. */
  pairsMax: 50_000,
} as const

export class SignInLimit {
  readonly #clock: Clock
  readonly #failures = new BoundedMap<string, { count: number; untilMs: number }>(SIGN_IN_LIMITS.pairsMax)

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Count an attempt as failed before it is judged, since many may be under way at once.
   * Resolves to how long to wait when there were too many: then the attempt must not be judged.
   */
  begin(username: string, address: string): { waitMs: number } | undefined {
    const key = pairOf(username, address)
    const nowMs = this.#clock()
    const known = this.#failures.get(key)
    const isOver = known === undefined || known.untilMs <= nowMs
    if (!isOver && known.count >= SIGN_IN_LIMITS.failuresMax) return { waitMs: known.untilMs - nowMs }
    if (isOver) this.#failures.set(key, { count: 1, untilMs: nowMs + SIGN_IN_LIMITS.windowMs })
    else known.count += 1
    return undefined
  }

  /** The attempt was right: it does not count, and neither do the failures before it. */
  succeed(username: string, address: string): void {
    this.#failures.delete(pairOf(username, address))
  }

  /** The attempt was not judged at all: it does not count. */
  withdraw(username: string, address: string): void {
    const known = this.#failures.peek(pairOf(username, address))
    if (known !== undefined) known.count -= 1
  }
}

function pairOf(username: string, address: string): string {
  return `${networkOf(address)} ${username.slice(0, 255).toLowerCase()}`
}

/** Whoever holds one IPv6 address holds its whole /64 (RFC 6177). */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  const bare = address.split('%', 1)[0] ?? address
  if (!isIPv6(bare)) return address
  const [head = '', tail] = bare.split('::', 2)
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const after = tail === '' ? 0 : tail.split(':').length
    while (groups.length < 8 - after) groups.push('0')
    if (tail !== '') groups.push(...tail.split(':'))
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, '').toLowerCase())
    .join(':')}::/64`
}
