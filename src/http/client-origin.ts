/** Who a request comes from and what it believes it talks to, whether or not a trusted proxy stands between. */
import type { IncomingMessage } from 'node:http'
import { BlockList, isIP, isIPv6 } from 'node:net'
import type { TLSSocket } from 'node:tls'

/** A proxy that adds itself to a longer chain than this is not believed. */
const forwardedAddressesMax = 20
/** RFC 3986, 3.2.2, as far as a registry is named: a name, an IPv4 address or an IPv6 address in brackets; a port. */
const HOST = /^(?:[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i

/** What is believed of a request. */
export interface ClientOrigin {
  /** The client's IP address. */
  address(request: IncomingMessage): string
  /** `https` when the client speaks TLS, to us or to a trusted proxy. */
  scheme(request: IncomingMessage): 'http' | 'https'
  /** `host[:port]` as the client wrote it; undefined when it is absent or malformed. */
  host(request: IncomingMessage): string | undefined
}

/**
 * `trustedProxies`: addresses and CIDR blocks whose `X-Forwarded-For`, `-Proto` and `-Host` are believed.
 * Errors: TypeError when one is malformed.
 */
export function makeClientOrigin(trustedProxies: readonly string[]): ClientOrigin {
  const trusted = new BlockList()
  for (const block of trustedProxies) addBlock(trusted, block)
  const isTrusted = (address: string): boolean =>
    trustedProxies.length > 0 && isIP(address) !== 0 && trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  const isForwarded = (request: IncomingMessage) => isTrusted(peerOf(request))
  return {
    address(request) {
      const peer = peerOf(request)
      return isTrusted(peer) ? forwardedAddress(request, peer, isTrusted) : peer
    },
    scheme(request) {
      const sent = isForwarded(request) ? lastOf(request, 'x-forwarded-proto') : undefined
      if (sent === 'http' || sent === 'https') return sent
      return (request.socket as Partial<TLSSocket>).encrypted === true ? 'https' : 'http'
    },
    host(request) {
      const sent = isForwarded(request) ? lastOf(request, 'x-forwarded-host') : undefined
      const host = sent ?? request.headers.host
      return host !== undefined && HOST.test(host) ? host : undefined
    },
  }
}

function addBlock(list: BlockList, block: string): void {
  const [address = '', bits] = block.split('/')
  const family = isIPv6(address) ? 'ipv6' : 'ipv4'
  if (bits === undefined) list.addAddress(address, family)
  else list.addSubnet(address, Number(bits), family)
}

/** The socket's other end; an IPv4 address in IPv6 form is written as the IPv4 address. */
function peerOf(request: IncomingMessage): string {
  const address = request.socket.remoteAddress ?? ''
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** The nearest address that is none of our proxies': what stands left of it may be the client's invention. */
function forwardedAddress(request: IncomingMessage, peer: string, isTrusted: (address: string) => boolean): string {
  const chain = String(request.headers['x-forwarded-for'] ?? '').split(',', forwardedAddressesMax + 1)
  if (chain.length > forwardedAddressesMax) return peer
  let nearest = peer
  for (const entry of chain.toReversed()) {
    const address = entry.trim().replace(/^\[(.*)\]$/, '$1')
    if (isIP(address) === 0) break
    nearest = address
    if (!isTrusted(address)) break
  }
  return nearest
}

/** What the nearest proxy said, when several did. */
function lastOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' ? value.slice(value.lastIndexOf(',') + 1).trim() : undefined
}
