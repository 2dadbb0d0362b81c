/** Connections to origins, kept for the next request: HTTP/1.1, one pool for each origin and trust. */
import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { getCACertificates } from 'node:tls'
import { type Dispatcher, Pool, ProxyAgent } from 'undici'
import type { Clock } from '../base/clock.ts'
import type { AddressPolicy, AddressTarget } from './address-policy.ts'
import { createConnector, refusal } from './connector.ts'
import type { EgressProxy } from './egress-proxy.ts'
import { EgressTunnels } from './egress-tunnel.ts'
import type { UpstreamLimits } from './limits.ts'
import { RecentMap } from './recent-map.ts'

export type ConnectionPoolsOptions = {
  clock: Clock
  policy: AddressPolicy
  proxy: EgressProxy | undefined
  limits: UpstreamLimits
}

type Entry = { dispatcher: Dispatcher; usedAtMs: number }

/** Whom to trust: `caPem` instead of the system's authorities, or (`isForeign`, another host) beside them. */
export type Trust = { caPem: string | undefined; isForeign: boolean }

export class ConnectionPools {
  readonly #options: ConnectionPoolsOptions
  readonly #pools: RecentMap<Entry>
  readonly #sockets = new WeakMap<Error, Socket>()

  constructor(options: ConnectionPoolsOptions) {
    this.#options = options
    this.#pools = new RecentMap(options.limits.connectionPoolsMax, closeGently)
  }

  /** The connections to an origin. Throws AddressRefusedError for a target that a proxy must not be asked for. */
  find(url: URL, trust: Trust): Dispatcher {
    const { proxy, policy, clock } = this.#options
    const target = targetOf(url)
    const proxied = proxy?.isUsedFor(target) === true ? proxy : undefined
    if (proxied !== undefined) {
      const verdict = policy.judgeUnresolved(target)
      if (!verdict.isAllowed) throw refusal(target, verdict)
    }
    this.#closeIdle()
    const certificates = trust.caPem === undefined ? '' : createHash('sha256').update(trust.caPem).digest('hex')
    const key = `${url.origin} ${certificates} ${trust.isForeign} ${proxied !== undefined}`
    const entry = this.#pools.findOrCreate(key, () => ({
      dispatcher: proxied === undefined ? this.#open(url, target, trust) : this.#openProxied(proxied, trust),
      usedAtMs: 0,
    }))
    entry.usedAtMs = clock()
    return entry.dispatcher
  }

  /** Whether an error came from a connection that had answered before, so that the upstream may just have closed it. */
  wasReused(error: unknown): boolean {
    if (!(error instanceof Error) || !('code' in error)) return false
    if (error.code === 'ECONNRESET' || error.code === 'EPIPE') return (this.#sockets.get(error)?.bytesRead ?? 0) > 0
    if (error.code !== 'UND_ERR_SOCKET' || !('socket' in error)) return false
    const { socket } = error
    return typeof socket === 'object' && socket !== null && 'bytesRead' in socket && Number(socket.bytesRead) > 0
  }

  async close(): Promise<void> {
    await Promise.all([...this.#pools.entries()].map(([, entry]) => entry.dispatcher.destroy()))
  }

  #closeIdle(): void {
    const idleBeforeMs = this.#options.clock() - this.#options.limits.connectionPoolIdleMs
    for (const [key, entry] of this.#pools.entries()) {
      if (entry.usedAtMs >= idleBeforeMs) return // The rest were used later.
      this.#pools.delete(key)
      closeGently(entry) // It waits for what is still being read.
    }
  }

  #open(url: URL, target: AddressTarget, trust: Trust): Dispatcher {
    const { policy, limits } = this.#options
    const connect = createConnector({
      policy,
      target,
      timeoutMs: limits.connectMs,
      ca: authorities(trust),
      onSocket: (socket) => socket.on('error', (error) => this.#sockets.set(error, socket)),
    })
    return new Pool(url.origin, { connect, pipelining: 1, allowH2: false })
  }

  #openProxied(proxy: EgressProxy, trust: Trust): Dispatcher {
    const { connectMs, headersMs } = this.#options.limits
    const ca = authorities(trust)
    return new ProxyAgent({
      uri: proxy.uri,
      proxyTunnel: true,
      allowH2: false,
      // The proxy resolves and connects before it answers.
      clientFactory: (origin) => new EgressTunnels(origin, { connectMs, answerMs: headersMs }),
      requestTls: { allowH2: false, timeout: connectMs, ...(ca === undefined ? {} : { ca }) },
    })
  }
}

export function targetOf(url: URL): AddressTarget {
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port }
}

/** A redirect leads to a host that the organization's private authority may know nothing of. */
function authorities({ caPem, isForeign }: Trust): string[] | undefined {
  if (caPem === undefined) return undefined
  return isForeign ? [caPem, ...getCACertificates('default')] : [caPem]
}

function closeGently({ dispatcher }: Entry): void {
  dispatcher.close().catch(() => {}) // It was closed already: nothing is left to do.
}
