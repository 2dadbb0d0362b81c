/** One question to a token service: a realm, a service and a scope, for a token. */
import type { Clock } from '../base/clock.ts'
import { monotonicMs } from '../base/clock.ts'
import { SECOND_MS } from '../base/units.ts'
import { UpstreamError } from '../errors.ts'
import { oneHeader, readDocument } from './bounded-body.ts'
import { protocolError } from './errors.ts'
import type { UpstreamLimits } from './limits.ts'
import { parseRetryAfter, rateLimited } from './rate-gate.ts'
import { mayAskRealm, mayCarryCredentials } from './realm-policy.ts'
import type { Answer, Transport } from './transport.ts'
import type { ObserveUpstream } from './upstream-event.ts'

export type TokenRequest = { realm: string; service: string | undefined; scope: string }
export type Token = { token: string; lifetimeMs: number }

export type TokenIssuerOptions = {
  transport: Transport
  clock: Clock
  limits: UpstreamLimits
  observe: ObserveUpstream
  upstream: URL
  caPem: string | undefined
  realmHosts: readonly string[]
}

/** The token service refused the credentials themselves (401), not only what was asked for. */
export class CredentialsRefusedError extends UpstreamError {}

export class TokenIssuer {
  readonly #options: TokenIssuerOptions

  constructor(options: TokenIssuerOptions) {
    this.#options = options
  }

  /**
   * Get a token, with the `basic` header if it may go to the realm, else anonymously.
   * Errors: UpstreamError, never an outage of the registry: `denied` for 401 and 403 (401 with credentials as
   * CredentialsRefusedError), `rate_limited`, `server_error`, `unreachable`, `timeout`, `protocol`.
   * Source: Docker's token authentication specification.
   */
  async fetch(request: TokenRequest, basic: string | undefined): Promise<Token> {
    const { upstream, realmHosts, observe } = this.#options
    const realm = URL.canParse(request.realm) ? new URL(request.realm) : undefined
    if (realm === undefined || !mayAskRealm({ realm, upstream })) {
      throw protocolError(upstream.host, 'names a token realm that is no https address, which is refused')
    }
    realm.hash = ''
    if (request.service !== undefined) realm.searchParams.set('service', request.service)
    if (request.scope !== '') realm.searchParams.set('scope', request.scope)
    const isTrusted = mayCarryCredentials({ realm, upstream, realmHosts })
    const started = monotonicMs()
    // Not the realm's host: an upstream names another with each answer, and each name is a series of the metrics.
    const event = { event: 'request', host: upstream.host, kind: 'token' } as const
    let status: number | undefined
    try {
      const answer = await this.#ask(realm, isTrusted ? basic : undefined)
      status = answer.status
      const token = await this.#read(answer, realm, basic, isTrusted)
      observe({ ...event, status, failure: undefined, ms: monotonicMs() - started })
      return token
    } catch (error) {
      const failure = error instanceof UpstreamError ? error.failure : 'unreachable'
      observe({ ...event, status, failure, ms: monotonicMs() - started })
      throw error
    }
  }

  #ask(url: URL, authorization: string | undefined): Promise<Answer> {
    const { transport, limits, caPem } = this.#options
    return transport.ask({
      url,
      method: 'GET',
      headers: { accept: 'application/json' },
      authorization,
      caPem,
      isRegistry: false,
      headersMs: limits.headersMs,
      signal: undefined, // Shared by all who wait for this token.
    })
  }

  async #read(answer: Answer, realm: URL, basic: string | undefined, isTrusted: boolean): Promise<Token> {
    const { transport, limits, clock } = this.#options
    const { status, headers } = answer
    if (status === 200) {
      const bytes = await readDocument(answer, { bytesMax: limits.tokenBytesMax, ms: limits.documentMs })
      return parseToken(bytes, answer.host, limits)
    }
    transport.discard(answer)
    if (status === 401 || status === 403) throw this.#denied(status, realm, basic, isTrusted)
    if (status === 429) {
      throw rateLimited(answer.host, parseRetryAfter(oneHeader(headers['retry-after']), clock(), limits))
    }
    if (status >= 500) {
      const message = `the token service of ${this.#options.upstream.host}, ${answer.host}, answered ${status}; try again later`
      throw new UpstreamError('server_error', answer.host, message, { status })
    }
    throw protocolError(answer.host, `answered ${status} to a question for a token`, status)
  }

  #denied(status: number, realm: URL, basic: string | undefined, isTrusted: boolean): UpstreamError {
    const { host } = this.#options.upstream
    if (basic === undefined) {
      const message = `${host} gives no anonymous token: give the organization credentials, or check the repository's name`
      return new UpstreamError('denied', host, message, { status })
    }
    if (!isTrusted) {
      const message = `${host} wants its credentials sent to ${realm.host}, on another domain: if that is right, add "${realm.host}" to UPSTREAM_REALM_HOSTS`
      return new UpstreamError('denied', host, message, { status })
    }
    const message = `${host} refuses the organization's credentials for this: check username, password and what they may read`
    if (status === 401) return new CredentialsRefusedError('denied', host, message, { status })
    return new UpstreamError('denied', host, message, { status })
  }
}

function parseToken(bytes: Buffer, host: string, limits: UpstreamLimits): Token {
  const document = parseJson(bytes)
  if (document === undefined) throw protocolError(host, 'answered a question for a token without JSON')
  const token = [document['token'], document['access_token']].find((value) => typeof value === 'string' && value !== '')
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw protocolError(host, 'answered a question for a token without one')
  }
  if (token.length > limits.tokenCharactersMax) {
    throw protocolError(host, `gave a token of more than ${limits.tokenCharactersMax} characters`)
  }
  const seconds = document['expires_in']
  const isLifetime = typeof seconds === 'number' && Number.isFinite(seconds) && seconds > 0
  const lifetimeMs = isLifetime ? seconds * SECOND_MS : limits.tokenLifetimeDefaultMs
  return { token, lifetimeMs: Math.min(lifetimeMs, limits.tokenLifetimeMaxMs) }
}

/** A JSON object, or undefined. */
export function parseJson(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const document: unknown = JSON.parse(bytes.toString('utf8'))
    const isObject = typeof document === 'object' && document !== null && !Array.isArray(document)
    return isObject ? (document as Record<string, unknown>) : undefined
  } catch {
    return undefined // Not JSON: the caller says so.
  }
}
