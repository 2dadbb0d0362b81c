/** What an administrator writes to name an upstream: `host[:port][/namespace]`, Quay's `upstream_registry`. */
import { isIPv4, isIPv6 } from 'node:net'
import { parseRepositoryName, type RepositoryName } from './repository-name.ts'

/** Quay's limit (its column's width). */
export const upstreamNameCharactersMax = 270
/** RFC 1035, 2.3.4: 255 octets on the wire are 253 characters of text. */
const hostCharactersMax = 253

/** Where Docker Hub's registry is contacted, whatever it is called (DESIGN part 4, Names). */
export const DOCKER_HUB_HOST = 'registry-1.docker.io'
const DOCKER_HUB_ALIASES = new Set(['docker.io', 'index.docker.io', DOCKER_HUB_HOST, 'registry.hub.docker.com'])

export type UpstreamName = {
  /** `host[:port]` as contacted: lower case, IPv6 in brackets, Docker Hub's aliases replaced. */
  host: string
  /** What is put in front of every repository's name; undefined for a whole registry. */
  namespace: RepositoryName | undefined
  isDockerHub: boolean
}

/** Why a text names no upstream. The problem never repeats the text: somebody may have pasted a password. */
export type NotAnUpstreamName = { problem: string }

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const HOST_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`)
/** RFC 3986, 3.2.2: an address in brackets; or all that is not a port. */
const AUTHORITY = /^(?:\[(?<ipv6>[0-9a-f:.]+)\]|(?<name>[^:[\]]+))(?::(?<port>\d{1,5}))?$/

/** Text to upstream; never throws. */
export function parseUpstreamName(text: string): UpstreamName | NotAnUpstreamName {
  const trimmed = text.trim()
  if (trimmed === '') return { problem: 'expected host[:port][/namespace]' }
  if (trimmed.length > upstreamNameCharactersMax)
    return { problem: `more than ${upstreamNameCharactersMax} characters` }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed)) return { problem: 'expected a host without https:// in front' }
  if (trimmed.includes('@')) return { problem: 'credentials do not belong to the host; use the username and password' }
  const slash = trimmed.indexOf('/')
  const host = parseHost((slash === -1 ? trimmed : trimmed.slice(0, slash)).toLowerCase())
  if (typeof host !== 'string') return host
  const rest = slash === -1 ? '' : trimmed.slice(slash + 1).replace(/\/$/, '')
  const namespace = rest === '' ? undefined : parseRepositoryName(rest)
  if (rest !== '' && namespace === undefined) {
    return { problem: 'the namespace after the host is not a repository path (lower-case letters, digits, . _ - /)' }
  }
  const isDockerHub = DOCKER_HUB_ALIASES.has(host)
  return { host: isDockerHub ? DOCKER_HUB_HOST : host, namespace, isDockerHub }
}

export function isNotAnUpstreamName(parsed: UpstreamName | NotAnUpstreamName): parsed is NotAnUpstreamName {
  return 'problem' in parsed
}

/** Text that `parseUpstreamName` reads back as the same upstream; equal text means equal content. */
export function formatUpstreamName(upstream: UpstreamName): string {
  return upstream.namespace === undefined ? upstream.host : `${upstream.host}/${upstream.namespace}`
}

/** `host[:port]` without its port and brackets: `[::1]:5000` to `::1`. */
export function hostWithoutPort(host: string): string {
  const groups = AUTHORITY.exec(host)?.groups
  return groups?.['ipv6'] ?? groups?.['name'] ?? host
}

function parseHost(text: string): string | NotAnUpstreamName {
  const groups = AUTHORITY.exec(text)?.groups
  if (groups === undefined) return { problem: 'expected host[:port][/namespace]; an IPv6 address stands in brackets' }
  const port = parsePort(groups['port'])
  if (port === undefined) return { problem: 'the port must be a number from 1 to 65535' }
  const { ipv6, name } = groups
  if (ipv6 !== undefined) return isIPv6(ipv6) ? `[${compressIpv6(ipv6)}]${port}` : { problem: 'not an IPv6 address' }
  if (name === undefined || name.length > hostCharactersMax) return { problem: 'the host is too long' }
  // A name of other letters looks like another host; whoever means it writes its xn-- form.
  if (!/^[\x21-\x7e]+$/.test(name)) return { problem: 'write an internationalized host in its xn-- form' }
  if (!HOST_NAME.test(name)) return { problem: 'the host is not a host name or an IP address' }
  // 127.1, 0x7f000001 and 2130706433 are addresses to some resolvers: only the one dotted form is taken.
  if (/^(?:0x[0-9a-f]*|\d+)$/.test(name.slice(name.lastIndexOf('.') + 1)) && !isIPv4(name)) {
    return { problem: 'write an IPv4 address as four decimal numbers' }
  }
  return `${name}${port}`
}

function parsePort(digits: string | undefined): string | undefined {
  if (digits === undefined) return ''
  const port = Number(digits)
  return port >= 1 && port <= 65_535 ? `:${port}` : undefined
}

/** The WHATWG URL parser writes an address in its one canonical form. */
function compressIpv6(address: string): string {
  return new URL(`http://[${address}]/`).hostname.slice(1, -1)
}
