/** The one server: sockets, time-outs, TLS, which part answers, and a graceful end. */
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { monotonicMs } from '../base/clock.ts'
import { afterMs, everyMs } from '../base/timers.ts'
import { RegistryError } from '../errors.ts'
import type { ObserveAccess } from './access-record.ts'
import { type CertificateFiles, readCertificate, watchCertificate } from './certificate-files.ts'
import type { ClientOrigin } from './client-origin.ts'
import { HTTP_LIMITS } from './limits.ts'
import { toErrorAnswer } from './registry/error-answer.ts'
import { makeRequestIds } from './request-ids.ts'
import { routeOf } from './route.ts'

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void

export type HttpServerOptions = {
  host: string
  /** 0 takes a free one. */
  port: number
  /** Undefined: plain HTTP. */
  tls: CertificateFiles | undefined
  /** `/v2` and `/<org>/v2`; it observes its requests itself. */
  registryHandler: RequestHandler
  /** Everything else: `fastify.routing`, once Fastify is ready. */
  apiHandler: RequestHandler
  origin: ClientOrigin
  observe: ObserveAccess
  /** `certificate_reloaded`, `certificate_unusable`. */
  report: (event: string, fields: Readonly<Record<string, unknown>>) => void
}

export interface RunningServer {
  /** `http://127.0.0.1:8080` */
  readonly url: string
  /** Look at the certificate's files now; nothing without TLS. */
  reloadCertificate(): Promise<void>
  /** No new requests; running ones have `graceMs` to finish, then their connections are cut. Idempotent. */
  close(graceMs: number): Promise<void>
}

const idleSweepMs = 50

/** Errors: of listening (EADDRINUSE, EACCES), and of the certificate's files. */
export async function startServer(options: HttpServerOptions): Promise<RunningServer> {
  const { tls, report } = options
  const pair = tls && (await readCertificate(tls))
  const secureServer = pair && createTlsServer({ ...SERVER_OPTIONS, ...pair })
  const server: Server = secureServer ?? createServer(SERVER_OPTIONS)
  const state = { isStopping: false }
  limit(server)
  route(server, options, state)
  await listen(server, options)
  const certificates =
    tls &&
    pair &&
    watchCertificate(
      tls,
      pair,
      (changed) => {
        secureServer?.setSecureContext(changed)
        report('certificate_reloaded', {})
      },
      (error) => report('certificate_unusable', { error }),
    )
  let closed: Promise<void> | undefined
  return {
    url: formatUrl(server, options),
    async reloadCertificate() {
      await certificates?.check()
    },
    close(graceMs) {
      state.isStopping = true
      certificates?.close()
      closed ??= closeGracefully(server, graceMs)
      return closed
    },
  }
}

const SERVER_OPTIONS: ServerOptions = {
  maxHeaderSize: HTTP_LIMITS.headerBytesMax,
  headersTimeout: HTTP_LIMITS.headersMs,
  requestTimeout: HTTP_LIMITS.requestMs,
  keepAliveTimeout: HTTP_LIMITS.keepAliveMs,
  noDelay: true,
  // A request without a body is not read to its end: a fifth of what a small answer costs.
  optimizeEmptyRequests: true,
}

function limit(server: Server): void {
  server.maxHeadersCount = HTTP_LIMITS.headersMax
  server.maxConnections = HTTP_LIMITS.connectionsMax
  // A socket on which nothing moves for so long is cut, unless whoever answers listens and knows better.
  server.timeout = HTTP_LIMITS.clientIdleMs
}

function route(server: Server, options: HttpServerOptions, state: { isStopping: boolean }): void {
  const { registryHandler } = options
  const nextId = makeRequestIds()
  const answerApi: RequestHandler = (request, response) => {
    observeApi(request, response, nextId(), options)
    // A body that is not there has no type: Fastify would wait for an end that `optimizeEmptyRequests` leaves out.
    if (!hasBody(request)) delete request.headers['content-type']
    options.apiHandler(request, response)
  }
  server.on('request', (request, response) => {
    const kind = state.isStopping ? 'stopping' : routeOf(request.url ?? '')
    if (kind === 'registry') registryHandler(request, response)
    else if (kind === 'api') answerApi(request, response)
    else refuse(request, response, kind === 'stopping' ? 'OVERLOADED' : 'REQUEST_INVALID', nextId(), options)
  })
  // Whoever waits for our leave before sending a body to the registry is told at once that nobody wants it.
  server.on('checkContinue', (request, response) => {
    if (routeOf(request.url ?? '') !== 'registry') response.writeContinue()
    server.emit('request', request, response)
  })
}

/** RFC 9112, 6.3 */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  why: 'OVERLOADED' | 'REQUEST_INVALID',
  id: string,
  options: HttpServerOptions,
): void {
  observeApi(request, response, id, options)
  const { status, headers, body } = toErrorAnswer(new RegistryError(why), id, () => '')
  response.writeHead(status, headers)
  response.end(body)
}

function observeApi(request: IncomingMessage, response: ServerResponse, id: string, options: HttpServerOptions): void {
  const startMs = monotonicMs()
  const address = options.origin.address(request)
  response.once('close', () => {
    options.observe({
      id,
      method: request.method ?? '',
      path: (request.url ?? '').split('?', 1)[0] ?? '',
      kind: 'api',
      organization: undefined,
      repository: undefined,
      reference: undefined,
      status: response.headersSent ? response.statusCode : 0,
      outcome: undefined,
      bytes: Number(response.getHeader('content-length') ?? 0),
      ms: monotonicMs() - startMs,
      upstreamMs: 0,
      principal: undefined,
      address,
      isAborted: !response.writableFinished,
      error: undefined,
    })
  })
}

function listen(server: Server, { host, port }: HttpServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function formatUrl(server: Server, { host, tls }: HttpServerOptions): string {
  const { port } = server.address() as AddressInfo
  return `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

async function closeGracefully(server: Server, graceMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.close(() => resolve())
  // Connections whose answer has just ended are idle now, and would be kept for the next request.
  const sweep = everyMs(idleSweepMs, () => server.closeIdleConnections(), { keepsAlive: true })
  const cut = afterMs(graceMs, () => server.closeAllConnections(), { keepsAlive: true })
  await promise
  sweep.cancel()
  cut.cancel()
}
