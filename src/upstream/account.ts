/** What all organizations share that contact one upstream with the same credentials. */
import { PassingMap } from '../base/bounded-map.ts'
import type { Clock } from '../base/clock.ts'
import type { UpstreamError } from '../errors.ts'
import type { CredentialSource, Manifest, UpstreamState } from '../oci/registry.ts'
import { Authorizer } from './authorizer.ts'
import type { AnswerHeaders } from './bounded-body.ts'
import { Credentials } from './credentials.ts'
import type { Endpoint } from './endpoint.ts'
import type { UpstreamLimits } from './limits.ts'
import { parseRateLimit, RateGate } from './rate-gate.ts'
import { TokenIssuer } from './token-issuer.ts'
import type { Transport } from './transport.ts'
import type { ObserveUpstream } from './upstream-event.ts'

export type AccountOptions = {
  endpoint: Endpoint
  source: CredentialSource
  transport: Transport
  clock: Clock
  limits: UpstreamLimits
  observe: ObserveUpstream
  realmHosts: readonly string[]
}

export class Account {
  readonly endpoint: Endpoint
  readonly isAnonymous: boolean
  readonly gate: RateGate
  readonly authorizer: Authorizer
  /** Manifests that came instead of a HEAD's answer, for the GET that follows. */
  readonly keptManifests: PassingMap<Manifest>
  /** Repositories without the referrers API, of which only the referrers tag is asked. */
  readonly noReferrersApi: PassingMap<true>
  readonly #clock: Clock
  #rateLimit: UpstreamState['rateLimit']
  #lastError: UpstreamState['lastError']
  #refusedSinceMs: number | undefined

  constructor(options: AccountOptions) {
    const { endpoint, clock, limits, observe } = options
    const { host } = endpoint
    this.endpoint = endpoint
    this.#clock = clock
    this.isAnonymous = options.source.kind === 'anonymous'
    this.gate = new RateGate(clock, host)
    this.keptManifests = new PassingMap(limits.keptManifestsMax)
    this.noReferrersApi = new PassingMap(limits.noReferrersApiMax)
    const { transport, realmHosts } = options
    this.authorizer = new Authorizer({
      clock,
      limits,
      host,
      credentials: new Credentials({ source: options.source, host, clock, limits }),
      issuer: new TokenIssuer({
        ...{ transport, clock, limits, observe, realmHosts },
        upstream: endpoint.url,
        caPem: endpoint.caPem,
      }),
      onCredentialsAccepted: () => {
        this.#refusedSinceMs = undefined
      },
      onCredentialsRefused: () => {
        if (this.#refusedSinceMs !== undefined) return
        this.#refusedSinceMs = clock()
        observe({ event: 'credentials_refused', host })
      },
    })
  }

  /** The registry answered: note what it says of the rate limit. */
  answered(headers: AnswerHeaders): void {
    const rateLimit = parseRateLimit(headers)
    if (rateLimit !== undefined) this.#rateLimit = { ...rateLimit, atMs: this.#clock() }
  }

  /** The registry gave what was asked, to these credentials. */
  accepted(): void {
    this.#refusedSinceMs = undefined
  }

  failed(error: UpstreamError): void {
    this.#lastError = { message: error.message, atMs: this.#clock() }
  }

  state(): UpstreamState {
    const { health } = this.endpoint
    const errors = [this.#lastError, health.lastError].filter((error) => error !== undefined)
    return {
      availability: health.availability,
      sinceMs: health.sinceMs,
      lastError: errors.sort((left, right) => right.atMs - left.atMs)[0],
      rateLimitedUntilMs: this.gate.closedUntilMs(),
      rateLimit: this.#rateLimit,
      credentialsRefusedSinceMs: this.#refusedSinceMs,
    }
  }
}
