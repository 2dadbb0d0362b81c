/** 429: nothing more is asked with these credentials until the upstream said it may be (DESIGN part 4, Down). */
import type { Clock } from '../base/clock.ts'
import { SECOND_MS } from '../base/units.ts'
import { UpstreamError } from '../errors.ts'
import type { UpstreamLimits } from './limits.ts'

export class RateGate {
  readonly #clock: Clock
  readonly #host: string
  #untilMs = 0

  constructor(clock: Clock, host: string) {
    this.#clock = clock
    this.#host = host
  }

  /** Throws `rate_limited` while the gate is closed. */
  pass(): void {
    const untilMs = this.closedUntilMs()
    if (untilMs === undefined) return
    throw rateLimited(this.#host, untilMs - this.#clock())
  }

  /** Close for `forMs`; never shortens what was said before. */
  close(forMs: number): void {
    this.#untilMs = Math.max(this.#untilMs, this.#clock() + forMs)
  }

  closedUntilMs(): number | undefined {
    return this.#untilMs > this.#clock() ? this.#untilMs : undefined
  }
}

export function rateLimited(host: string, retryAfterMs: number): UpstreamError {
  const seconds = Math.ceil(retryAfterMs / SECOND_MS)
  const message = `${host} answered 429 (too many requests): asking again in ${seconds} s`
  return new UpstreamError('rate_limited', host, message, { status: 429, retryAfterMs })
}

/** `Retry-After` in milliseconds, bounded: seconds or an HTTP date. Source: RFC 9110, 10.2.3. */
export function parseRetryAfter(header: string | undefined, nowMs: number, limits: UpstreamLimits): number {
  const text = header?.trim() ?? ''
  const ms = /^\d{1,12}$/.test(text) ? Number(text) * SECOND_MS : parseHttpDate(text) - nowMs
  if (!Number.isFinite(ms)) return limits.retryAfterDefaultMs
  return Math.min(limits.retryAfterMaxMs, Math.max(SECOND_MS, ms))
}

/** Not everything that `Date.parse` takes: `12x` is no date. */
function parseHttpDate(text: string): number {
  return /^[A-Z][a-z]+,? /.test(text) ? Date.parse(text) : Number.NaN
}

/** The remaining requests that an answer tells of, in the forms of Docker Hub and of GitHub. */
export function parseRateLimit(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): { limit: number | undefined; remaining: number } | undefined {
  const remaining = parseCount(headers['ratelimit-remaining'] ?? headers['x-ratelimit-remaining'])
  if (remaining === undefined) return undefined
  return { remaining, limit: parseCount(headers['ratelimit-limit'] ?? headers['x-ratelimit-limit']) }
}

/** `100;w=21600` to 100. */
function parseCount(header: string | string[] | undefined): number | undefined {
  const text = Array.isArray(header) ? header[0] : header
  const digits = /^\s*(\d{1,12})\s*(?:[;,]|$)/.exec(text ?? '')?.[1]
  return digits === undefined ? undefined : Number(digits)
}
