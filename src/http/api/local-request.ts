/** Whether a request was made on this machine by its own user, and not by a web page or through a proxy. */
import { BlockList, isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { hostWithoutPort } from '../../oci/upstream-name.ts'

const FORWARDING_HEADERS = [
  'forwarded',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-forwarded-server',
  'x-real-ip',
  'x-client-ip',
  'x-original-host',
  'true-client-ip',
  'cf-connecting-ip',
] as const

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/**
 * Peer and `Host` are loopback, no proxy has touched it, and the body is JSON (which a page of another origin cannot
 * send without asking first; a name that was rebound to loopback shows in `Host`). Source: DESIGN part 6.
 */
export function isLocalRequest(request: FastifyRequest): boolean {
  const { headers } = request
  if (FORWARDING_HEADERS.some((name) => headers[name] !== undefined)) return false
  if (!/^application\/json\s*(?:;|$)/i.test(headers['content-type'] ?? '')) return false
  if (!isLoopback(request.raw.socket.remoteAddress ?? '')) return false
  const host = (headers.host ?? '').toLowerCase()
  if (!isLoopbackHost(host)) return false
  return headers.origin === undefined || originHost(headers.origin) === host
}

function isLoopbackHost(host: string): boolean {
  const name = hostWithoutPort(host)
  return name === 'localhost' || isLoopback(name)
}

function isLoopback(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address
  const family = isIP(mapped)
  return family !== 0 && LOOPBACK.check(mapped, family === 4 ? 'ipv4' : 'ipv6')
}

function originHost(origin: string): string | undefined {
  return URL.parse(origin)?.host.toLowerCase()
}
