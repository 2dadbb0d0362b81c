/** One question to a registry: its turn, its authorization, and what its status means. */
import { type Clock, monotonicMs } from '../base/clock.ts'
import { UpstreamError } from '../errors.ts'
import type { RequestOptions } from '../oci/registry.ts'
import type { Account } from './account.ts'
import type { Authorization } from './authorizer.ts'
import { oneHeader, readDocument } from './bounded-body.ts'
import { protocolError, speaksTls } from './errors.ts'
import type { UpstreamLimits } from './limits.ts'
import { parseRetryAfter, rateLimited } from './rate-gate.ts'
import type { Answer, Transport } from './transport.ts'
import type { ObserveUpstream, UpstreamRequestKind } from './upstream-event.ts'

export type SessionRequest = {
  method: 'GET' | 'HEAD'
  /** Path and query. */
  path: string
  kind: UpstreamRequestKind
  headers: Readonly<Record<string, string>>
  /** Of the token, when the upstream wants one. */
  scope: string
  headersMs: number
  /** Whose turn is waited for, until the body has ended. */
  limiter: 'manifest' | 'blob'
  /** Statuses that the caller understands; every other one is an UpstreamError. */
  expected: readonly number[]
}

export type SessionOptions = {
  account: Account
  transport: Transport
  clock: Clock
  limits: UpstreamLimits
  observe: ObserveUpstream
}

/** After the first answer: with the token that is held, and with a fresh one. */
const authorizationsMax = 2
/** Enough for the sentence by which servers tell that plain HTTP was spoken to a port for TLS. */
const hintBounds = { bytesMax: 4096, ms: 2000 }

export class Session {
  readonly account: Account
  readonly transport: Transport
  readonly limits: UpstreamLimits
  readonly clock: Clock
  readonly #observe: ObserveUpstream

  constructor(options: SessionOptions) {
    this.account = options.account
    this.transport = options.transport
    this.limits = options.limits
    this.clock = options.clock
    this.#observe = options.observe
  }

  get host(): string {
    return this.account.endpoint.host
  }

  /**
   * Ask, when it is this request's turn. The caller consumes or destroys the body, and the turn ends with it.
   * Errors: UpstreamError; the reason of the signal when it was aborted.
   */
  async ask(request: SessionRequest, options: RequestOptions = {}): Promise<Answer> {
    const { gate, endpoint } = this.account
    gate.pass()
    const limiter = endpoint.limiters[request.limiter]
    const { priority = 'client', signal, promoted } = options
    const release = await limiter.acquire(priority, signal, () => this.#overloaded(), promoted)
    try {
      gate.pass() // It may have closed while we waited.
      const answer = await this.#observed(request, signal)
      if (answer.body.closed) release()
      else answer.body.once('close', release)
      return answer
    } catch (error) {
      release()
      throw error
    }
  }

  async #observed(request: SessionRequest, signal: AbortSignal | undefined): Promise<Answer> {
    const { account, host } = this
    const started = monotonicMs()
    const event = { event: 'request', host, kind: request.kind } as const
    try {
      const answer = await this.#interpret(request, await this.#authorized(request, signal))
      this.#observe({ ...event, status: answer.status, failure: undefined, ms: monotonicMs() - started })
      return answer
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error // The caller gave up.
      const { status, failure } = error
      // An outage that was a status has been counted with the answer.
      if (error.outage && status === undefined) account.endpoint.health.failed(error)
      if (!error.outage && failure !== 'not_found') account.failed(error)
      this.#observe({ ...event, status, failure, ms: monotonicMs() - started })
      throw error
    }
  }

  async #authorized(request: SessionRequest, signal: AbortSignal | undefined): Promise<Answer> {
    const { authorizer } = this.account
    let used = await abortable(authorizer.prepare(request.scope), signal)
    let answer = await this.#send(request, used, signal)
    for (let tries = 0; tries < authorizationsMax; tries += 1) {
      // Elsewhere, our token was not even shown: a new one would change nothing.
      if ((answer.status !== 401 && answer.status !== 403) || !answer.isHome) break
      this.transport.discard(answer)
      const next = await abortable(authorizer.reconsider(answer, request.scope, used), signal)
      if (next === undefined) break
      used = next
      answer = await this.#send(request, used, signal)
    }
    if (answer.status < 300 && used !== undefined) this.account.accepted()
    return answer
  }

  #send(request: SessionRequest, used: Authorization | undefined, signal: AbortSignal | undefined): Promise<Answer> {
    const { account, transport } = this
    return transport.ask({
      url: new URL(request.path, account.endpoint.url),
      method: request.method,
      headers: request.headers,
      authorization: used?.header,
      caPem: account.endpoint.caPem,
      isRegistry: true,
      headersMs: request.headersMs,
      signal,
      onHomeAnswer: (status, headers) => {
        account.answered(headers)
        account.endpoint.answered(status)
      },
    })
  }

  /** The statuses that mean the same for every question. */
  async #interpret({ expected }: SessionRequest, answer: Answer): Promise<Answer> {
    const { status, host } = answer
    if (expected.includes(status) && !(status === 400 && this.account.endpoint.url.protocol === 'http:')) return answer
    if (status === 400 && (await this.#wantsTls(answer))) throw speaksTls(host, status)
    if (expected.includes(status)) return answer
    this.transport.discard(answer)
    if (status === 404) throw new UpstreamError('not_found', host, `${host} answered 404: it is not there`, { status })
    if (status === 401 || status === 403) throw this.#denied(answer)
    if (status === 429) throw this.#rateLimited(answer)
    if (status >= 500) throw this.#serverError(answer)
    throw protocolError(host, `answered ${status}, which no registry should`, status)
  }

  #denied({ status, host }: Answer): UpstreamError {
    const what = this.account.isAnonymous ? 'anonymous access' : "this organization's credentials"
    const message = `${host} answered ${status}: it refuses ${what} here; check the repository's name and the credentials`
    return new UpstreamError('denied', host, message, { status })
  }

  #rateLimited({ host, headers, isHome }: Answer): UpstreamError {
    const forMs = parseRetryAfter(oneHeader(headers['retry-after']), this.clock(), this.limits)
    if (isHome) this.account.gate.close(forMs)
    return rateLimited(host, forMs)
  }

  #serverError({ status, host, isHome }: Answer): UpstreamError {
    const outage = isHome && status >= 502 && status <= 504
    return new UpstreamError('server_error', host, `${host} answered ${status}; try again later`, { status, outage })
  }

  /** Servers for TLS that answer plain HTTP do it with a sentence. Only asked of plain HTTP and a 400. */
  async #wantsTls(answer: Answer): Promise<boolean> {
    if (answer.url.protocol !== 'http:') return false
    try {
      const text = (await readDocument(answer, hintBounds)).toString('latin1')
      return /HTTP request (?:was sent )?to (?:an )?HTTPS/i.test(text)
    } catch {
      return false // What it says is only a hint; the status stands.
    }
  }

  #overloaded(): UpstreamError {
    const { host } = this
    return new UpstreamError('timeout', host, `too many requests are waiting for ${host}; try again later`)
  }
}

/** Wait for shared work, but not longer than the caller wants. */
function abortable<Value>(work: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (signal === undefined) return work
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
