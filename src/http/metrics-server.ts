/** Prometheus metrics on an address of their own: they need no password, so they are kept inside. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SECOND_MS } from '../base/units.ts'

export type MetricsServerOptions = {
  host: string
  /** 0 takes a free one. */
  port: number
  /** The text of all metrics, and its content type. */
  render: () => Promise<string>
  contentType: string
}

export interface RunningMetricsServer {
  readonly url: string
  close(): Promise<void>
}

/** Errors: of listening. */
export async function startMetricsServer(options: MetricsServerOptions): Promise<RunningMetricsServer> {
  const { host, port, render, contentType } = options
  const server = createServer(
    { requestTimeout: 10 * SECOND_MS, headersTimeout: 5 * SECOND_MS },
    (request, response) => {
      const path = (request.url ?? '').split('?', 1)[0]
      const isRead = request.method === 'GET' || request.method === 'HEAD'
      if (path !== '/metrics' || !isRead) {
        response.writeHead(path === '/metrics' ? 405 : 404, { 'content-type': 'text/plain' }).end('see /metrics\n')
        return
      }
      render().then(
        (text) => response.writeHead(200, { 'content-type': contentType }).end(text),
        () => response.writeHead(500, { 'content-type': 'text/plain' }).end('a metric could not be collected\n'),
      )
    },
  )
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen({ host, port }, resolve)
  await promise
  server.off('error', reject)
  const address = server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${address.port}/metrics`,
    close() {
      return new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      })
    },
  }
}
