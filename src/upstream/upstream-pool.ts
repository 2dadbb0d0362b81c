/** Opens upstreams, and owns what equal ones share. */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import type { Clock } from '../base/clock.ts'
import { UpstreamError } from '../errors.ts'
import { bareMediaType } from '../oci/media-type.ts'
import type { Upstream, UpstreamConfig, UpstreamPool } from '../oci/registry.ts'
import { Account } from './account.ts'
import { AddressPolicy, type AddressTarget } from './address-policy.ts'
import { oneHeader } from './bounded-body.ts'
import { ConnectionPools } from './connection-pools.ts'
import { EgressProxy } from './egress-proxy.ts'
import { Endpoint } from './endpoint.ts'
import { protocolError } from './errors.ts'
import { type Schedule, systemSchedule } from './health.ts'
import { UPSTREAM_LIMITS, type UpstreamLimits } from './limits.ts'
import { RecentMap } from './recent-map.ts'
import { Session } from './session.ts'
import { Transport } from './transport.ts'
import type { ObserveUpstream } from './upstream-event.ts'
import { UpstreamRegistry } from './upstream-registry.ts'

export type UpstreamPoolOptions = {
  clock: Clock
  /** SSRF_ALLOWED_HOSTS: host, host:port, CIDR. */
  ssrfAllowedHosts: readonly string[]
  /** UPSTREAM_REALM_HOSTS: hosts outside an upstream's domain that may be sent its credentials. */
  realmHosts: readonly string[]
  egressProxy?: { uri: string; noProxy: readonly string[] }
  limits?: Partial<UpstreamLimits>
  /** Told of every request and every change of state, for metrics and logs. It must not throw. */
  observe?: ObserveUpstream
  userAgent: string
  /** When probes are sent; tests set it. */
  schedule?: Schedule
}

/** Throws on an entry of `ssrfAllowedHosts` that is none. */
export function createUpstreamPool(options: UpstreamPoolOptions): HttpUpstreamPool {
  return new HttpUpstreamPool(options)
}

export class HttpUpstreamPool implements UpstreamPool {
  readonly #options: UpstreamPoolOptions
  readonly #limits: UpstreamLimits
  readonly #observe: ObserveUpstream
  readonly #policy: AddressPolicy
  readonly #pools: ConnectionPools
  readonly #transport: Transport
  readonly #endpoints: RecentMap<Endpoint>
  readonly #accounts: RecentMap<Account>

  constructor(options: UpstreamPoolOptions) {
    const { clock, egressProxy, userAgent } = options
    const limits = { ...UPSTREAM_LIMITS, ...options.limits }
    this.#options = options
    this.#limits = limits
    this.#observe = options.observe ?? (() => {})
    this.#policy = new AddressPolicy(options.ssrfAllowedHosts)
    const proxy = egressProxy && new EgressProxy(egressProxy)
    this.#pools = new ConnectionPools({ clock, policy: this.#policy, proxy, limits })
    this.#transport = new Transport({ pools: this.#pools, limits, userAgent })
    this.#endpoints = new RecentMap(limits.endpointsMax, (endpoint) => endpoint.close())
    this.#accounts = new RecentMap(limits.accountsMax)
  }

  /** Opens no connection. Errors: UpstreamError `unreachable` for a host that is none. */
  open(config: UpstreamConfig): Upstream {
    return new UpstreamRegistry(this.#session(config))
  }

  /**
   * Ask `GET /v2/`, as for every other question. valid: 200, with the credentials if there are any. anonymous: there
   * are none, and it wants some.
   * Errors: UpstreamError; `denied` when there are credentials and they are refused.
   */
  async probe(config: UpstreamConfig): Promise<'valid' | 'anonymous'> {
    const session = this.#session(config)
    try {
      const answer = await session.ask({
        method: 'GET',
        path: '/v2/',
        kind: 'ping',
        headers: {},
        scope: '',
        headersMs: this.#limits.headersMs,
        limiter: 'manifest',
        expected: [200],
      })
      this.#transport.discard(answer)
      if (bareMediaType(oneHeader(answer.headers['content-type']) ?? '') === 'text/html') {
        throw protocolError(answer.host, 'answered /v2/ with a web page')
      }
      return 'valid'
    } catch (error) {
      const isRefused = error instanceof UpstreamError && error.failure === 'denied'
      if (isRefused && config.credentials.kind === 'anonymous') return 'anonymous'
      throw error
    }
  }

  /** Judge an address before anything is stored; names are judged when they are connected to. */
  refuseAddress(target: AddressTarget): { kind: string; line: string } | undefined {
    const host = target.host.replace(/^\[|\]$/g, '')
    if (isIP(host) === 0) return undefined
    const verdict = this.#policy.judge({ ...target, host }, host)
    return verdict.isAllowed ? undefined : { kind: verdict.kind, line: verdict.line }
  }

  async close(): Promise<void> {
    for (const [, endpoint] of this.#endpoints.entries()) endpoint.close()
    await this.#pools.close()
  }

  #session(config: UpstreamConfig): Session {
    const { clock, realmHosts } = this.#options
    const [transport, limits, observe] = [this.#transport, this.#limits, this.#observe]
    const url = parseHost(config)
    const endpointKey = keyOf([url.origin, config.caPem])
    const endpoint = this.#endpoints.findOrCreate(endpointKey, () => {
      const schedule = this.#options.schedule ?? systemSchedule
      return new Endpoint({ url, caPem: config.caPem, transport, clock, schedule, limits, observe })
    })
    const source = config.credentials
    const account = this.#accounts.findOrCreate(keyOf([endpointKey, source]), () => {
      return new Account({ endpoint, source, transport, clock, limits, observe, realmHosts })
    })
    return new Session({ account, transport, clock, limits, observe })
  }
}

function parseHost({ scheme, host }: UpstreamConfig): URL {
  const text = `${scheme}://${host}/`
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || url.pathname !== '/' || url.username !== '' || url.search !== '' || url.hash !== '') {
    throw new UpstreamError('unreachable', 'the upstream', 'cannot contact the upstream: its host is not host[:port]')
  }
  return url
}

/** Passwords are part of what must be equal, and are not kept in a key. */
function keyOf(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex')
}
