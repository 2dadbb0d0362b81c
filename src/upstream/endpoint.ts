/** One upstream as the network sees it: scheme, host, port, authority and proxy. All its organizations share this. */
import { type Clock, monotonicMs } from '../base/clock.ts'
import { UpstreamError } from '../errors.ts'
import { type Schedule, UpstreamHealth } from './health.ts'
import { Limiter } from './limiter.ts'
import type { UpstreamLimits } from './limits.ts'
import type { Transport } from './transport.ts'
import type { ObserveUpstream } from './upstream-event.ts'

export type EndpointOptions = {
  url: URL
  caPem: string | undefined
  transport: Transport
  clock: Clock
  schedule: Schedule
  limits: UpstreamLimits
  observe: ObserveUpstream
}

export class Endpoint {
  readonly url: URL
  readonly host: string
  readonly caPem: string | undefined
  readonly health: UpstreamHealth
  readonly limiters: { readonly manifest: Limiter; readonly blob: Limiter }
  readonly #options: EndpointOptions
  readonly #stop = new AbortController()

  constructor(options: EndpointOptions) {
    const { url, limits, clock, schedule, observe } = options
    this.#options = options
    this.url = url
    this.host = url.host
    this.caPem = options.caPem
    const shared = { backgroundMax: limits.backgroundRequestsMax, waitingMax: limits.waitingRequestsMax }
    this.limiters = {
      manifest: new Limiter({ ...shared, runningMax: limits.manifestRequestsMax }),
      blob: new Limiter({ ...shared, runningMax: limits.blobRequestsMax }),
    }
    this.health = new UpstreamHealth({
      clock,
      schedule,
      limits,
      probe: () => this.#probe(),
      onChange: (availability, message) => observe({ event: 'availability', host: url.host, availability, message }),
    })
  }

  /** The registry itself answered with this status: 502, 503 and 504 are outages. */
  answered(status: number): void {
    if (status < 502 || status > 504) {
      this.health.answered()
      return
    }
    const message = `${this.host} answered ${status}; try again later`
    this.health.failed(new UpstreamError('server_error', this.host, message, { status, outage: true }))
  }

  close(): void {
    this.#stop.abort()
    this.health.close()
  }

  /** Whether it is there again: 401 is an answer, so no credentials are needed. */
  async #probe(): Promise<void> {
    const { transport, limits, observe } = this.#options
    const event = { event: 'request', host: this.host, kind: 'ping' } as const
    const started = monotonicMs()
    try {
      const answer = await transport.ask({
        url: new URL('/v2/', this.url),
        method: 'GET',
        headers: {},
        authorization: undefined,
        caPem: this.caPem,
        isRegistry: true,
        headersMs: limits.headersMs,
        signal: this.#stop.signal,
        onHomeAnswer: (status) => this.answered(status),
      })
      transport.discard(answer)
      observe({ ...event, status: answer.status, failure: undefined, ms: monotonicMs() - started })
    } catch (error) {
      if (!(error instanceof UpstreamError)) return // Stopped.
      this.health.failed(error)
      observe({ ...event, status: undefined, failure: error.failure, ms: monotonicMs() - started })
    }
  }
}
