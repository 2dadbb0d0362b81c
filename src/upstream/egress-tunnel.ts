/** Connections to the egress proxy itself: what fails before the tunnel stands is the proxy's doing, and says so. */
import { isIP } from 'node:net'
import { buildConnector, type Dispatcher, Pool } from 'undici'
import { EgressProxyError, findCode } from './errors.ts'

type ConnectOptions = Omit<Dispatcher.ConnectOptions, 'origin'>
type Callback = (error: Error | null, data: Dispatcher.ConnectData) => void

export class EgressTunnels extends Pool {
  constructor(proxy: URL, { connectMs, answerMs }: { connectMs: number; answerMs: number }) {
    const connect = buildConnector({ timeout: connectMs, allowH2: false })
    super(proxy, {
      headersTimeout: answerMs,
      connect: (options, callback) => connect({ ...options, ...serverNameOf(proxy) }, callback),
    })
  }

  override connect(options: ConnectOptions): Promise<Dispatcher.ConnectData>
  override connect(options: ConnectOptions, callback: Callback): void
  /** Resolves with an open tunnel. Errors: EgressProxyError. */
  override connect(options: ConnectOptions, callback?: Callback): Promise<Dispatcher.ConnectData> | undefined {
    if (callback !== undefined) throw new TypeError('tunnels are opened by promise only')
    return this.#open(options)
  }

  async #open(options: ConnectOptions): Promise<Dispatcher.ConnectData> {
    const tunnel = await super.connect(options).catch((error: unknown) => {
      throw new EgressProxyError({ code: findCode(error) })
    })
    if (tunnel.statusCode === 200) return tunnel
    tunnel.socket.on('error', () => {}) // It is given up: how it ends says nothing more.
    tunnel.socket.destroy()
    throw new EgressProxyError({ status: tunnel.statusCode })
  }
}

/** undici names the proxy to itself in TLS even when it is an address, which TLS does not allow (RFC 6066, 3). */
function serverNameOf({ hostname }: URL): { servername?: string } {
  return isIP(hostname.replace(/^\[|\]$/g, '')) === 0 ? {} : { servername: '' }
}
