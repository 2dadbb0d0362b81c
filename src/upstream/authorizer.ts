/** What to say to a registry's 401: which of its challenges to take, and with which token or password. */
import { BoundedMap } from '../base/bounded-map.ts'
import type { Clock } from '../base/clock.ts'
import { UpstreamError } from '../errors.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import type { Credentials } from './credentials.ts'
import type { UpstreamLimits } from './limits.ts'
import { RateGate } from './rate-gate.ts'
import { type Grant, TokenCache } from './token-cache.ts'
import { CredentialsRefusedError, type Token, type TokenIssuer, type TokenRequest } from './token-issuer.ts'
import type { Answer } from './transport.ts'

/** What one request was sent with. */
export type Authorization =
  | { kind: 'basic'; header: string }
  | { kind: 'bearer'; header: string; request: TokenRequest; grant: Grant }

/** How this upstream wants to be asked, remembered so that the next request needs no 401. */
type Method = { kind: 'basic' } | { kind: 'bearer'; realm: string; service: string | undefined }

export type AuthorizerOptions = {
  clock: Clock
  limits: UpstreamLimits
  credentials: Credentials
  issuer: TokenIssuer
  onCredentialsRefused: () => void
  onCredentialsAccepted: () => void
  host: string
}

export class Authorizer {
  readonly #options: AuthorizerOptions
  readonly #tokens: TokenCache
  readonly #gate: RateGate
  /** Scopes that the upstream names otherwise than the specification, by ours. */
  readonly #scopes: BoundedMap<string, string>
  #method: Method | undefined

  constructor(options: AuthorizerOptions) {
    this.#options = options
    this.#gate = new RateGate(options.clock, options.host)
    this.#scopes = new BoundedMap(options.limits.tokensMax)
    this.#tokens = new TokenCache({
      clock: options.clock,
      limits: options.limits,
      fetch: (request) => this.#fetchToken(request),
    })
  }

  /** What to send at once: undefined until the upstream has asked for something. `scope` may be empty (ping). */
  async prepare(scope: string): Promise<Authorization | undefined> {
    const method = this.#method
    if (method === undefined) return undefined
    if (method.kind === 'basic') return this.#basic()
    const { realm, service } = method
    return this.#bearer({ realm, service, scope: this.#scopes.get(scope) ?? scope })
  }

  /** After a 401 or 403 of the registry to `used`: what to try instead, or undefined when the refusal stands. */
  async reconsider(answer: Answer, scope: string, used: Authorization | undefined): Promise<Authorization | undefined> {
    if (answer.status === 403) return used?.kind === 'bearer' ? this.#replace(used) : undefined
    const challenge = this.#choose(parseChallenges(answer.headers['www-authenticate']))
    if (challenge === undefined) return undefined
    if (challenge.scheme === 'basic') return this.#answerBasic(used)
    const realm = challenge.parameters.get('realm') ?? ''
    const service = challenge.parameters.get('service')
    const request = { realm, service, scope: challenge.parameters.get('scope') ?? scope }
    this.#method = { kind: 'bearer', realm, service }
    if (request.scope !== scope) this.#scopes.set(scope, request.scope)
    if (used?.kind === 'bearer' && isSame(used.request, request)) return this.#replace(used)
    return this.#bearer(request)
  }

  /** Bearer before Basic: it does not send the password to the registry on each request. */
  #choose(challenges: readonly Challenge[]): Challenge | undefined {
    const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm'))
    return bearer ?? challenges.find(({ scheme }) => scheme === 'basic')
  }

  async #answerBasic(used: Authorization | undefined): Promise<Authorization | undefined> {
    if (this.#options.credentials.isAnonymous) return undefined
    this.#method = { kind: 'basic' }
    if (used?.kind === 'basic' && !(await this.#options.credentials.refresh(used.header))) {
      this.#options.onCredentialsRefused()
      return undefined
    }
    return this.#basic()
  }

  async #basic(): Promise<Authorization | undefined> {
    const header = await this.#options.credentials.basic()
    return header === undefined ? undefined : { kind: 'basic', header }
  }

  async #bearer(request: TokenRequest): Promise<Authorization> {
    return authorize(request, await this.#tokens.get(request))
  }

  async #replace(used: Extract<Authorization, { kind: 'bearer' }>): Promise<Authorization | undefined> {
    const grant = await this.#tokens.replace(used.request, used.grant)
    return grant && authorize(used.request, grant)
  }

  /** With the password as it is; when that is refused, once more with the password as it is now. */
  async #fetchToken(request: TokenRequest): Promise<Token> {
    this.#gate.pass()
    const { credentials } = this.#options
    const basic = await credentials.basic()
    try {
      return await this.#fetchTokenWith(request, basic)
    } catch (error) {
      if (!(error instanceof CredentialsRefusedError) || basic === undefined) throw error
      if (await credentials.refresh(basic)) {
        return await this.#fetchTokenWith(request, await credentials.basic())
      }
      throw error
    }
  }

  async #fetchTokenWith(request: TokenRequest, basic: string | undefined): Promise<Token> {
    try {
      const token = await this.#options.issuer.fetch(request, basic)
      if (basic !== undefined) this.#options.onCredentialsAccepted()
      return token
    } catch (error) {
      if (error instanceof CredentialsRefusedError) this.#options.onCredentialsRefused()
      if (error instanceof UpstreamError && error.retryAfterMs !== undefined) this.#gate.close(error.retryAfterMs)
      throw error
    }
  }
}

function authorize(request: TokenRequest, grant: Grant): Authorization {
  return { kind: 'bearer', header: `Bearer ${grant.token}`, request, grant }
}

function isSame(left: TokenRequest, right: TokenRequest): boolean {
  return left.realm === right.realm && left.service === right.service && left.scope === right.scope
}
