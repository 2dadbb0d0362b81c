/**
 * A registry over memory that tests pull through: content from symbolic names, quirks on demand, and a transcript.
 * It is written from the distribution-spec alone, so that it shares no mistake with what it tests.
 */
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { loopbackCertificate } from './certificate.ts'
import { distort, errorAnswer, type FakeAnswer, json, send } from './fake-answer.ts'
import { Authority, type FakeAuthentication } from './fake-authentication.ts'
import { answerContent, parseTarget } from './fake-content-answers.ts'
import { FakeRepository, type FakeTags } from './fake-repository.ts'
import { type Quirks, QuirkTable } from './quirks.ts'
import { Transcript, type TranscriptEntry } from './transcript.ts'

/** What ends a fake at the end of a test: `t` of node:test, or anything alike. */
export type TestLife = { after: (work: () => Promise<void>) => void }

export type FakeUpstreamOptions = {
  tls?: boolean
  authentication?: FakeAuthentication
  /** Default 127.0.0.1. */
  address?: string
}

export async function startFakeUpstream(
  life: TestLife,
  repositories: Readonly<Record<string, FakeTags>> = {},
  options: FakeUpstreamOptions = {},
): Promise<FakeUpstream> {
  const certificate = options.tls ? await loopbackCertificate() : undefined
  const upstream = new FakeUpstream(certificate, options)
  for (const [name, tags] of Object.entries(repositories)) {
    for (const [tag, content] of Object.entries(tags)) upstream.repository(name).tag(tag, content)
  }
  await upstream.accept()
  life.after(() => upstream.refuse())
  return upstream
}

export class FakeUpstream {
  readonly transcript = new Transcript()
  readonly authority: Authority
  readonly caPem: string | undefined
  readonly #quirks = new QuirkTable()
  readonly #repositories = new Map<string, FakeRepository>()
  readonly #certificate: { key: string; cert: string } | undefined
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined
  readonly #address: string
  #port = 0

  constructor(certificate: { key: string; cert: string } | undefined, options: FakeUpstreamOptions) {
    this.#certificate = certificate
    this.caPem = certificate?.cert
    this.authority = new Authority(options.authentication ?? { kind: 'none' })
    this.#address = options.address ?? '127.0.0.1'
  }

  /** `host:port`. */
  get host(): string {
    return `${this.#address}:${this.#port}`
  }

  get url(): string {
    return `${this.#certificate === undefined ? 'http' : 'https'}://${this.host}`
  }

  /** The repository of that name, made if need be. */
  repository(name: string): FakeRepository {
    const found = this.#repositories.get(name)
    if (found !== undefined) return found
    const made = new FakeRepository()
    this.#repositories.set(name, made)
    return made
  }

  /** Switch quirks on for `[METHOD ]PATH` (`*` stands for anything); the returned function switches them off. */
  quirk(pattern: string, quirks: Quirks, times?: number): () => void {
    return this.#quirks.add(pattern, quirks, times)
  }

  clearQuirks(): void {
    this.#quirks.clear()
  }

  /** Close the port: connections are refused, open ones broken. */
  async refuse(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  /** Listen, on the same port as before. */
  async accept(): Promise<void> {
    const listener: RequestListener = (request, response) => void this.#answer(request, response)
    const server =
      this.#certificate === undefined ? createServer(listener) : createTlsServer(this.#certificate, listener)
    server.keepAliveTimeout = 60_000
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => {}) // The other side may break off whenever it likes.
      socket.once('close', () => this.#sockets.delete(socket))
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, this.#address, () => resolve())
    })
    this.#port = (server.address() as AddressInfo).port
    this.#server = server
  }

  /** Break all connections and go on listening. */
  breakConnections(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  get openConnections(): number {
    return this.#sockets.size
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = request.url ?? '/'
    const url = new URL(target, this.url)
    const method = request.method ?? 'GET'
    const quirks = this.#quirks.take(method, url.pathname)
    const entry = this.transcript.begin(method, target, request.headers)
    response.on('error', () => {}) // As above.
    request.resume()
    await this.#obey(request, response, url, quirks, entry)
    entry.isOver = true
    this.transcript.changed()
  }

  async #obey(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    quirks: Quirks,
    entry: TranscriptEntry,
  ): Promise<void> {
    if (quirks.latencyMs !== undefined) await delay(quirks.latencyMs)
    if (quirks.hangBeforeHeaders !== undefined) {
      const gone = new Promise<void>((resolve) => response.once('close', () => resolve()))
      await (quirks.hangBeforeHeaders === true ? gone : Promise.race([quirks.hangBeforeHeaders.passed, gone]))
      if (response.destroyed) return
    }
    if (quirks.reset) return void request.socket.resetAndDestroy()
    await send(response, this.#decide(request, url, quirks), quirks, entry, () => this.transcript.changed())
  }

  #decide(request: IncomingMessage, url: URL, quirks: Quirks): FakeAnswer {
    const target = `${url.pathname}${url.search}`
    if (quirks.status !== undefined) {
      const headers: Record<string, string> = { ...quirks.headers }
      if (quirks.retryAfter !== undefined) headers['retry-after'] = quirks.retryAfter
      return errorAnswer(quirks.status, quirks.code ?? 'FAKE', headers)
    }
    const location = quirks.redirectLoop ? `${this.url}${target}` : quirks.redirectTo
    if (location !== undefined) {
      const headers = { location: typeof location === 'string' ? location : location(target) }
      return { status: 307, headers, body: Buffer.alloc(0) }
    }
    if (quirks.htmlInsteadOfJson) {
      return { status: 200, headers: { 'content-type': 'text/html' }, body: Buffer.from('<html>log in first</html>') }
    }
    if (url.pathname === '/token') {
      const { status, body } = this.authority.giveToken(request, url)
      return json(status, body)
    }
    const parsed = parseTarget(url.pathname)
    const challenge = this.authority.challenge(request, parsed?.repository, this.url)
    if (challenge !== undefined) return errorAnswer(401, 'UNAUTHORIZED', { 'www-authenticate': challenge })
    if (parsed === undefined) return url.pathname === '/v2/' ? json(200, {}) : errorAnswer(404, 'UNSUPPORTED')
    const repository = this.#repositories.get(parsed.repository)
    return distort(answerContent(parsed, repository, url, request.headers.range, quirks), quirks)
  }
}
