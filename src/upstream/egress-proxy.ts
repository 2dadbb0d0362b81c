/** The proxy that upstreams are contacted through, and what is contacted without it. */
import { BlockList, isIP, isIPv4 } from 'node:net'
import type { AddressTarget } from './address-policy.ts'

/** `noProxy`: `*`, host, host:port, `.domain`, address, CIDR. A host also stands for the names under it. */
export class EgressProxy {
  /** May hold the proxy's password: never shown. */
  readonly uri: string
  readonly #noProxy: readonly string[]

  constructor(options: { uri: string; noProxy: readonly string[] }) {
    this.uri = options.uri
    this.#noProxy = options.noProxy.map((entry) => entry.trim().toLowerCase()).filter((entry) => entry !== '')
  }

  isUsedFor(target: AddressTarget): boolean {
    return !this.#noProxy.some((entry) => isMatch(entry, target))
  }
}

function isMatch(entry: string, { host, port }: AddressTarget): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  if (entry === '*' || entry === name || entry === `${name}:${port}`) return true
  if (isIP(name) !== 0) return isInNetwork(entry, name)
  const domain = entry.replace(/^\*?\./, '')
  return name === domain || name.endsWith(`.${domain}`)
}

function isInNetwork(entry: string, address: string): boolean {
  const [base = '', bits = ''] = entry.split('/')
  if (isIP(base) !== isIP(address) || !/^\d{1,3}$/.test(bits) || Number(bits) > (isIPv4(base) ? 32 : 128)) return false
  const family = isIPv4(base) ? 'ipv4' : 'ipv6'
  const network = new BlockList()
  network.addSubnet(base, Number(bits), family)
  return network.check(address, family)
}
