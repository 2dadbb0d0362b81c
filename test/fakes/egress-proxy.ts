/** An HTTP proxy that leads every name to a server on loopback, so that names of the internet can be tested. */
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { TestLife } from './fake-upstream.ts'

export type EgressProxy = {
  uri: string
  /** `host:port` of each CONNECT. */
  asked: string[]
  /** Settable: what every CONNECT is answered instead of a tunnel; `hang` for nothing, `close` for an end. */
  refusal: number | 'hang' | 'close' | undefined
}

/** `routes`: what is asked for (`registry-1.docker.io:443`) to where it is (`127.0.0.1:4711`); the rest is refused. */
export async function startEgressProxy(life: TestLife, routes: ReadonlyMap<string, string>): Promise<EgressProxy> {
  const asked: string[] = []
  const proxy: EgressProxy = { uri: '', asked, refusal: undefined }
  const sockets = new Set<Socket>()
  const server: Server = createServer((_, response) => response.writeHead(400).end())
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {}) // Either side may break off.
  })
  server.on('connect', (request, client: Socket) => {
    const target = request.url ?? ''
    asked.push(target)
    if (proxy.refusal === 'hang') return
    if (proxy.refusal === 'close') return void client.destroy()
    if (proxy.refusal !== undefined) return void client.end(`HTTP/1.1 ${proxy.refusal} No\r\n\r\n`)
    const [host, port] = (routes.get(target) ?? '').split(':')
    if (host === undefined || port === undefined) return void client.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    const upstream = connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      upstream.pipe(client)
      client.pipe(upstream)
    })
    sockets.add(upstream)
    upstream.on('error', () => client.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  life.after(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  })
  proxy.uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return proxy
}
