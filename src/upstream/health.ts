/** Whether an upstream answers at all (DESIGN part 4, Down). */
import type { Clock } from '../base/clock.ts'
import { afterMs } from '../base/timers.ts'
import type { UpstreamError } from '../errors.ts'
import type { UpstreamAvailability } from '../oci/registry.ts'
import type { UpstreamLimits } from './limits.ts'

/** Runs `work` once after `ms`; the function it returns cancels that. */
export type Schedule = (ms: number, work: () => void) => () => void

/** Never keeps the process alive. */
export const systemSchedule: Schedule = (ms, work) => {
  const timer = afterMs(ms, work)
  return () => timer.cancel()
}

export type HealthOptions = {
  clock: Clock
  schedule: Schedule
  limits: UpstreamLimits
  /** Ask the upstream whether it is there, and report what came of it by `answered` or `failed`. Never rejects. */
  probe: () => Promise<void>
  onChange: (availability: UpstreamAvailability, message: string | undefined) => void
}

export class UpstreamHealth {
  readonly #options: HealthOptions
  #availability: UpstreamAvailability = 'up'
  #sinceMs: number
  #lastError: { message: string; atMs: number } | undefined
  #outages = 0
  #firstOutageAtMs = 0
  #cancelProbe: (() => void) | undefined
  #isClosed = false

  constructor(options: HealthOptions) {
    this.#options = options
    this.#sinceMs = options.clock()
  }

  get availability(): UpstreamAvailability {
    return this.#availability
  }

  get sinceMs(): number {
    return this.#sinceMs
  }

  get lastError(): { message: string; atMs: number } | undefined {
    return this.#lastError
  }

  /** Any answer of the registry itself, but 502, 503 and 504. */
  answered(): void {
    this.#outages = 0
    if (this.#availability === 'down') this.#change('up')
  }

  /** A question failed. Only outages count. */
  failed(error: UpstreamError): void {
    if (!error.outage || this.#isClosed) return
    const nowMs = this.#options.clock()
    this.#lastError = { message: error.message, atMs: nowMs }
    if (this.#outages === 0 || nowMs < this.#firstOutageAtMs) this.#firstOutageAtMs = nowMs
    this.#outages += 1
    const { outagesToDown, outagesOverMs } = this.#options.limits
    const isEnough = this.#outages >= outagesToDown && nowMs - this.#firstOutageAtMs >= outagesOverMs
    if (isEnough && this.#availability === 'up') this.#change('down')
  }

  close(): void {
    this.#isClosed = true
    this.#cancelProbe?.()
  }

  #change(availability: UpstreamAvailability): void {
    this.#availability = availability
    this.#sinceMs = this.#options.clock()
    this.#cancelProbe?.()
    this.#cancelProbe = undefined
    if (availability === 'down') this.#scheduleProbe()
    this.#options.onChange(availability, availability === 'down' ? this.#lastError?.message : undefined)
  }

  #scheduleProbe(): void {
    this.#cancelProbe = this.#options.schedule(this.#options.limits.probeMs, () => {
      void this.#options.probe().then(() => {
        if (this.#availability === 'down' && !this.#isClosed) this.#scheduleProbe()
      })
    })
  }
}
