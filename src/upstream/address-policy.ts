/** Which addresses an upstream may have: the attack is an upstream that points into our own network. */
import { BlockList, isIP, isIPv4 } from 'node:net'

/** The verdict on one address. `line` is what an operator adds to `SSRF_ALLOWED_HOSTS` to allow it. */
export type AddressVerdict = { isAllowed: true } | { isAllowed: false; kind: string; line: string }

/** What was asked for, before DNS: `host` without brackets. */
export type AddressTarget = { host: string; port: number }

type Network = readonly [cidr: string, kind: string]

/** IANA's special-purpose addresses that are not global, and the metadata services of clouds. */
const REFUSED_V4: readonly Network[] = [
  ['168.63.129.16/32', 'metadata'], // Azure's, on an address that looks public.
  ['169.254.169.254/32', 'metadata'],
  ['0.0.0.0/8', 'unspecified'],
  ['10.0.0.0/8', 'private'],
  ['100.64.0.0/10', 'carrier-grade NAT'],
  ['127.0.0.0/8', 'loopback'],
  ['169.254.0.0/16', 'link-local'],
  ['172.16.0.0/12', 'private'],
  ['192.0.0.0/24', 'reserved'],
  ['192.0.2.0/24', 'reserved'],
  ['192.88.99.0/24', 'reserved'],
  ['192.168.0.0/16', 'private'],
  ['198.18.0.0/15', 'reserved'],
  ['198.51.100.0/24', 'reserved'],
  ['203.0.113.0/24', 'reserved'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved'],
]

/** Inside 2000::/3, which is all of IPv6 that is global. */
const REFUSED_GLOBAL_V6: readonly Network[] = [
  ['2001::/23', 'reserved'],
  ['2001:db8::/32', 'reserved'],
  ['3fff::/20', 'reserved'],
]

/** Outside it, only for the name of what it is. */
const NAMED_V6: readonly Network[] = [
  ['::/128', 'unspecified'],
  ['::1/128', 'loopback'],
  ['fd00:ec2::254/128', 'metadata'],
  ['fc00::/7', 'unique local'],
  ['fe80::/10', 'link-local'],
  ['fec0::/10', 'site-local'],
  ['ff00::/8', 'multicast'],
]

/** Prefixes of 96 bits whose last 32 are an IPv4 address: mapped, translated, NAT64. Judged as that address. */
const EMBEDDING_PREFIXES: readonly (readonly number[])[] = [
  [0, 0, 0, 0, 0, 0xffff],
  [0, 0, 0, 0, 0xffff, 0],
  [0x64, 0xff9b, 0, 0, 0, 0],
]

export class AddressPolicy {
  readonly #hosts = new Set<string>()
  readonly #networks = new BlockList()

  /** `allowed` is `SSRF_ALLOWED_HOSTS`: host, host:port, address, CIDR. Throws on an entry that is none of them. */
  constructor(allowed: readonly string[]) {
    for (const entry of allowed) this.#allow(entry.trim().toLowerCase())
  }

  /** Judge the address that a target turned out to have. */
  judge(target: AddressTarget, address: string): AddressVerdict {
    const plain = withoutZone(address)
    const kind = refusedKind(plain)
    if (kind === undefined || this.#isTargetAllowed(target)) return { isAllowed: true }
    if (this.#isAddressAllowed(plain)) return { isAllowed: true }
    return { isAllowed: false, kind, line: formatLine(target) }
  }

  /**
   * Judge a target whose address we never see, because a proxy resolves it: addresses as above, and names that only
   * mean something in a local network.
   */
  judgeUnresolved(target: AddressTarget): AddressVerdict {
    if (isIP(withoutZone(target.host)) !== 0) return this.judge(target, target.host)
    if (!isLocalName(target.host) || this.#isTargetAllowed(target)) return { isAllowed: true }
    return { isAllowed: false, kind: 'local', line: formatLine(target) }
  }

  #allow(entry: string): void {
    const slash = entry.indexOf('/')
    const address = (slash === -1 ? entry : entry.slice(0, slash)).replace(/^\[(.*)\]$/, '$1')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    if (slash !== -1) {
      const bits = entry.slice(slash + 1)
      if (isIP(address) === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 'ipv4' ? 32 : 128)) {
        throw new Error(`cannot use "${entry}" in SSRF_ALLOWED_HOSTS: expected a host, host:port or CIDR`)
      }
      this.#networks.addSubnet(address, Number(bits), family)
    } else if (isIP(address) !== 0) {
      this.#networks.addAddress(address, family)
    } else {
      if (!/^[^\s/@]+$/.test(entry)) {
        throw new Error(`cannot use "${entry}" in SSRF_ALLOWED_HOSTS: expected a host, host:port or CIDR`)
      }
      this.#hosts.add(entry.replace(/\.$/, ''))
    }
  }

  #isTargetAllowed({ host, port }: AddressTarget): boolean {
    const name = host.toLowerCase().replace(/\.$/, '')
    return this.#hosts.has(name) || this.#hosts.has(isIP(name) === 6 ? `[${name}]:${port}` : `${name}:${port}`)
  }

  #isAddressAllowed(address: string): boolean {
    if (this.#networks.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')) return true
    const embedded = embeddedV4(address)
    return embedded !== undefined && this.#networks.check(embedded, 'ipv4')
  }
}

/** What an address that is not global is; undefined for a global one. Text that is no address is refused. */
function refusedKind(address: string): string | undefined {
  if (isIP(address) === 0) return 'malformed'
  if (isIPv4(address)) return findKind(REFUSED_V4, address)
  const embedded = embeddedV4(address)
  if (embedded !== undefined) return findKind(REFUSED_V4, embedded)
  const [first = 0] = parseGroups(address)
  if (first >= 0x2000 && first <= 0x3fff) return findKind(REFUSED_GLOBAL_V6, address)
  return findKind(NAMED_V6, address) ?? 'reserved'
}

/** The IPv4 address that an IPv6 one stands for: mapped, translated, NAT64, 6to4. */
function embeddedV4(address: string): string | undefined {
  if (isIP(address) !== 6) return undefined
  const groups = parseGroups(address)
  if (groups[0] === 0x2002) return formatV4(groups[1] ?? 0, groups[2] ?? 0)
  const embeds = EMBEDDING_PREFIXES.some((prefix) => prefix.every((group, index) => group === groups[index]))
  return embeds ? formatV4(groups[6] ?? 0, groups[7] ?? 0) : undefined
}

function formatV4(high: number, low: number): string {
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** The eight groups of a valid IPv6 address. The URL parser writes them all in hexadecimal. */
function parseGroups(address: string): number[] {
  const hexadecimal = new URL(`http://[${address}]/`).hostname.slice(1, -1)
  const [before = '', after] = hexadecimal.split('::')
  const head = before === '' ? [] : before.split(':')
  const tail = after === undefined || after === '' ? [] : after.split(':')
  const zeros = after === undefined ? 0 : 8 - head.length - tail.length
  return [...head, ...Array<string>(zeros).fill('0'), ...tail].map((group) => Number.parseInt(group, 16))
}

const lists = new Map<Network, BlockList>()

function findKind(networks: readonly Network[], address: string): string | undefined {
  const family = isIPv4(address) ? 'ipv4' : 'ipv6'
  return networks.find((network) => listOf(network).check(address, family))?.[1]
}

function listOf(network: Network): BlockList {
  const made = lists.get(network)
  if (made !== undefined) return made
  const list = new BlockList()
  const [address = '', bits = ''] = network[0].split('/')
  list.addSubnet(address, Number(bits), isIPv4(address) ? 'ipv4' : 'ipv6')
  lists.set(network, list)
  return list
}

function withoutZone(address: string): string {
  return address.replace(/%.*$/, '')
}

/** Names that no public DNS answers. */
function isLocalName(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  return !name.includes('.') || /\.(?:localhost|local|internal|intranet|lan|home|corp|home\.arpa)$/.test(name)
}

function formatLine({ host, port }: AddressTarget): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}
