/** How connections to upstreams are opened: every address is judged before a byte is sent to it. */
import { type LookupAddress, lookup } from 'node:dns'
import type { LookupFunction, Socket } from 'node:net'
import { buildConnector } from 'undici'
import type { AddressPolicy, AddressTarget, AddressVerdict } from './address-policy.ts'
import { AddressRefusedError } from './errors.ts'

export type ConnectorOptions = {
  policy: AddressPolicy
  target: AddressTarget
  timeoutMs: number
  /** PEM certificates instead of the system's. */
  ca: string[] | undefined
  /** Told of each new connection. */
  onSocket: (socket: Socket) => void
}

/**
 * A connector for one origin. DNS answers are judged, so that nothing connects to a refused address, and then the
 * socket's remote address, which is the one that counts: undici asks no lookup for IP literals. Only then TLS begins.
 */
export function createConnector(options: ConnectorOptions): buildConnector.connector {
  const { policy, target, timeoutMs, ca } = options
  const connectPlain = buildConnector({ timeout: timeoutMs, allowH2: false, lookup: judgedLookup(policy, target) })
  const connectTls = buildConnector({ timeout: timeoutMs, allowH2: false, ...(ca === undefined ? {} : { ca }) })

  return (request, callback) => {
    const literal = policy.judge(target, request.hostname.replace(/^\[|\]$/g, ''))
    if (!literal.isAllowed && literal.kind !== 'malformed') return callback(refusal(target, literal), null)
    connectPlain({ ...request, protocol: 'http:', port: String(target.port) }, (error, socket) => {
      if (error !== null) return callback(error, null)
      const verdict = policy.judge(target, socket.remoteAddress ?? '')
      if (!verdict.isAllowed) {
        socket.destroy()
        return callback(refusal(target, verdict), null)
      }
      if (request.protocol !== 'https:') {
        options.onSocket(socket)
        return callback(null, socket)
      }
      connectTls({ ...request, httpSocket: socket }, (tlsError, secured) => {
        if (tlsError !== null) {
          socket.destroy()
          return callback(tlsError, null)
        }
        options.onSocket(secured)
        callback(null, secured)
      })
    })
  }
}

export function refusal({ host }: AddressTarget, verdict: Exclude<AddressVerdict, { isAllowed: true }>): Error {
  const what = verdict.kind === 'local' ? 'a name of a local network' : `a ${verdict.kind} address`
  const message = `refused to contact ${host}: it has ${what}; to allow it, add "${verdict.line}" to SSRF_ALLOWED_HOSTS`
  return new AddressRefusedError(message)
}

/** DNS without the addresses that the policy refuses. */
function judgedLookup(policy: AddressPolicy, target: AddressTarget): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, options.all ? [] : '', 0)
      const verdicts = addresses.map(({ address }) => policy.judge(target, address))
      const allowed = addresses.filter((_, index) => verdicts[index]?.isAllowed === true)
      const [first] = allowed
      if (first !== undefined)
        return options.all ? callback(null, allowed) : callback(null, first.address, first.family)
      const refused = verdicts.find((verdict) => !verdict.isAllowed)
      const reason = refused === undefined ? notFound(hostname) : refusal(target, refused)
      callback(reason, options.all ? [] : '', 0)
    })
  }
}

function notFound(hostname: string): Error {
  return Object.assign(new Error(`no address for ${hostname}`), { code: 'ENOTFOUND' })
}
