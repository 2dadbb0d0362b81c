/** One question over HTTP, with its redirects: no authentication, no meaning of statuses. */
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { afterMs } from '../base/timers.ts'
import type { AnswerHeaders } from './bounded-body.ts'
import type { ConnectionPools } from './connection-pools.ts'
import { type FailurePlace, toUpstreamError } from './errors.ts'
import type { UpstreamLimits } from './limits.ts'
import { isRedirect, resolveRedirect } from './redirect.ts'

export type Question = {
  url: URL
  method: 'GET' | 'HEAD'
  headers: Readonly<Record<string, string>>
  /** Sent only to the question's own scheme, host and port, and not again after a redirect has left them. */
  authorization: string | undefined
  caPem: string | undefined
  /** The registry itself is asked: its failures count towards *down*. */
  isRegistry: boolean
  headersMs: number
  signal: AbortSignal | undefined
  /** Told of each answer of the one that was asked, before a redirect is followed. */
  onHomeAnswer?: (status: number, headers: AnswerHeaders) => void
}

export type Answer = {
  status: number
  headers: AnswerHeaders
  /** Consume or destroy it. Its errors are UpstreamErrors; destroying it without one is silent. */
  body: Readable
  /** Who answered in the end. */
  url: URL
  host: string
  /** Whether that was the one who was asked, not somebody it redirected to. */
  isHome: boolean
}

export class Transport {
  readonly #pools: ConnectionPools
  readonly #limits: UpstreamLimits
  readonly #userAgent: string

  constructor(options: { pools: ConnectionPools; limits: UpstreamLimits; userAgent: string }) {
    this.#pools = options.pools
    this.#limits = options.limits
    this.#userAgent = options.userAgent
  }

  /**
   * Ask, and follow redirects. Resolves with any status but a redirect, when the headers are there.
   * Errors: UpstreamError; the reason of `signal` when it was aborted.
   */
  async ask(question: Question): Promise<Answer> {
    const seen = [question.url]
    let isHome = true
    for (let url = question.url; ; ) {
      const place: FailurePlace = { host: url.host, scheme: schemeOf(url), isRegistry: question.isRegistry && isHome }
      const response = await this.#exchange(question, url, isHome, place)
      const { statusCode: status, headers } = response
      if (isHome) question.onHomeAnswer?.(status, headers)
      if (!isRedirect(status)) {
        return {
          status,
          headers,
          body: withUpstreamErrors(response.body, place, question.signal),
          url,
          host: url.host,
          isHome,
        }
      }
      discard(response.body, this.#limits)
      const location = Array.isArray(headers['location']) ? headers['location'][0] : headers['location']
      url = resolveRedirect(location, seen, this.#limits.redirectsMax)
      seen.push(url)
      isHome &&= url.origin === question.url.origin
    }
  }

  /** Give an answer's body back without reading it, keeping the connection if little is left of it. */
  discard(answer: Answer): void {
    discard(answer.body, this.#limits)
  }

  async #exchange(
    question: Question,
    url: URL,
    isHome: boolean,
    place: FailurePlace,
  ): Promise<Dispatcher.ResponseData> {
    for (let isRetry = false; ; isRetry = true) {
      try {
        return await this.#send(question, url, isHome, place)
      } catch (error) {
        if (question.signal?.aborted === true) throw question.signal.reason
        // A kept connection that the upstream closed while we wrote to it: nothing of an answer came, and GET and
        // HEAD are safe to send again (RFC 9112, 9.3.1). Nothing else is retried here.
        if (isRetry || !this.#pools.wasReused(error)) throw toUpstreamError(error, place)
      }
    }
  }

  /**
   * undici's time for the headers begins anew with each interim answer (1xx), of which an upstream may send any number;
   * so there is a time for the whole exchange up to the headers.
   */
  async #send(question: Question, url: URL, isHome: boolean, place: FailurePlace): Promise<Dispatcher.ResponseData> {
    const deadline = new AbortController()
    const { connectMs } = this.#limits
    const timer = afterMs(question.headersMs + this.#limits.headersMs + 2 * connectMs, () => {
      deadline.abort(toUpstreamError({ code: 'UND_ERR_HEADERS_TIMEOUT' }, place))
    })
    try {
      const { signal } = question
      const ended = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal])
      return await this.#request(question, url, isHome, ended)
    } finally {
      timer.cancel()
    }
  }

  #request(question: Question, url: URL, isHome: boolean, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const dispatcher = this.#pools.find(url, { caPem: question.caPem, isForeign: !isHome || !question.isRegistry })
    const headers: Record<string, string> = {
      'user-agent': this.#userAgent,
      // What is hashed and passed on must be the bytes themselves.
      'accept-encoding': 'identity',
      ...question.headers,
    }
    if (isHome && question.authorization !== undefined) headers['authorization'] = question.authorization
    return dispatcher.request({
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method: question.method,
      headers,
      headersTimeout: question.headersMs,
      bodyTimeout: this.#limits.bodyIdleMs,
      signal,
    })
  }
}

function schemeOf(url: URL): 'https' | 'http' {
  return url.protocol === 'https:' ? 'https' : 'http'
}

function discard(body: Readable, limits: UpstreamLimits): void {
  if (!('dump' in body) || typeof body.dump !== 'function') return void body.destroy()
  // A body may come so slowly that it is never idle and never over.
  const timer = afterMs(limits.documentMs, () => body.destroy())
  body.once('close', () => timer.cancel())
  const dumped: Promise<unknown> = body.dump({ limit: limits.unwantedBytesMax })
  dumped.catch(() => {}) // Nobody wanted it: its failure says nothing about the question.
}

/** The same stream, with errors in our words. Its bytes are not touched, so that a blob costs nothing extra. */
function withUpstreamErrors(body: Readable, place: FailurePlace, signal: AbortSignal | undefined): Readable {
  const destroyBody = body._destroy.bind(body)
  body._destroy = (error, callback) => {
    destroyBody(error, (reason) => {
      // undici turns a plain `destroy()` into an abort error; whoever gave up needs no error event.
      if (error === null || reason === null || reason === undefined) return callback(null)
      callback(signal?.aborted === true ? error : toUpstreamError(reason, place, true))
    })
  }
  return body
}
