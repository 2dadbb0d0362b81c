/** The tokens of one set of credentials at one upstream, by scope: asked for once, renewed before they end. */

import { BoundedMap } from '../base/bounded-map.ts'
import type { Clock } from '../base/clock.ts'
import { SingleFlight } from '../base/single-flight.ts'
import { UpstreamError } from '../errors.ts'
import type { UpstreamLimits } from './limits.ts'
import type { Token, TokenRequest } from './token-issuer.ts'

/** `isFresh`: it was fetched for this call, so a refusal of it is final. */
export type Grant = { token: string; isFresh: boolean }

type Entry = {
  token: string | undefined
  /** Renewed from then on. */
  renewAtMs: number
  /** When a fresh token was refused or an old one thrown away. */
  renewedAtMs: number
  denial: { error: UpstreamError; untilMs: number } | undefined
}

export class TokenCache {
  readonly #clock: Clock
  readonly #limits: UpstreamLimits
  readonly #fetch: (request: TokenRequest) => Promise<Token>
  readonly #fetches = new SingleFlight<string>()
  readonly #entries: BoundedMap<string, Entry>

  constructor(options: { clock: Clock; limits: UpstreamLimits; fetch: (request: TokenRequest) => Promise<Token> }) {
    this.#clock = options.clock
    this.#limits = options.limits
    this.#fetch = options.fetch
    this.#entries = new BoundedMap(options.limits.tokensMax)
  }

  /** A token for a scope. Errors: as TokenIssuer; a `denied` is remembered for a short time. */
  async get(request: TokenRequest): Promise<Grant> {
    const entry = this.#entry(request)
    const nowMs = this.#clock()
    if (entry.token !== undefined && nowMs < entry.renewAtMs) return { token: entry.token, isFresh: false }
    if (entry.denial !== undefined && nowMs < entry.denial.untilMs) throw entry.denial.error
    return { token: await this.#renew(request, entry), isFresh: true }
  }

  /**
   * The registry refused a token. Resolves to another one, or to undefined when there was a new one less than
   * `tokenRenewalMs` ago: then the refusal stands.
   */
  async replace(request: TokenRequest, refused: Grant): Promise<Grant | undefined> {
    const entry = this.#entry(request)
    const isCurrent = entry.token === refused.token
    if (!isCurrent && entry.token !== undefined) return { token: entry.token, isFresh: true }
    const nowMs = this.#clock()
    const isTooSoon = nowMs - entry.renewedAtMs < this.#limits.tokenRenewalMs && nowMs >= entry.renewedAtMs
    if (refused.isFresh) {
      if (!isTooSoon) entry.renewedAtMs = nowMs
      return undefined
    }
    if (isTooSoon) return undefined
    entry.renewedAtMs = nowMs
    entry.token = undefined
    return { token: await this.#renew(request, entry), isFresh: true }
  }

  #entry(request: TokenRequest): Entry {
    const key = keyOf(request)
    const known = this.#entries.get(key)
    if (known !== undefined) return known
    const entry: Entry = { token: undefined, renewAtMs: 0, renewedAtMs: Number.NEGATIVE_INFINITY, denial: undefined }
    this.#entries.set(key, entry)
    return entry
  }

  #renew(request: TokenRequest, entry: Entry): Promise<string> {
    return this.#fetches.run(keyOf(request), async () => {
      try {
        const { token, lifetimeMs } = await this.#fetch(request)
        const marginMs = Math.min(this.#limits.tokenMarginMs, lifetimeMs / 5)
        entry.token = token
        entry.renewAtMs = this.#clock() + lifetimeMs - marginMs
        entry.denial = undefined
        return token
      } catch (error) {
        if (error instanceof UpstreamError && error.failure === 'denied') {
          entry.denial = { error, untilMs: this.#clock() + this.#limits.tokenDeniedMs }
        }
        throw error
      }
    })
  }
}

function keyOf({ realm, service, scope }: TokenRequest): string {
  return JSON.stringify([realm, service, scope])
}
