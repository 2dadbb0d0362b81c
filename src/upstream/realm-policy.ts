/** Where an organization's password may be sent: the attack is a realm that names the attacker's own server. */
import { isIP } from 'node:net'
import { getDomain } from 'tldts'
import { hostCharactersMax } from './limits.ts'

export type RealmQuestion = {
  realm: URL
  upstream: URL
  /** `UPSTREAM_REALM_HOSTS`: `host` or `host:port`. */
  realmHosts: readonly string[]
}

/**
 * Whether a realm may be asked at all: an upstream that is spoken to over TLS does not send us to plain HTTP.
 * Anonymous questions hold no secret, so the host does not matter to this one.
 */
export function mayAskRealm({ realm, upstream }: Pick<RealmQuestion, 'realm' | 'upstream'>): boolean {
  if (realm.hostname.length > hostCharactersMax) return false
  if (realm.username !== '' || realm.password !== '') return false
  return realm.protocol === 'https:' || (realm.protocol === 'http:' && upstream.protocol === 'http:')
}

/**
 * Whether Basic credentials may go to a realm (DESIGN part 4, Upstream authentication): only over https, and only to
 * the same host, under the same registrable domain, or to a host that the operator named; for an IP address or a name
 * of one label only to the same host; with `insecure` also over http, to the same host.
 */
export function mayCarryCredentials({ realm, upstream, realmHosts }: RealmQuestion): boolean {
  if (!mayAskRealm({ realm, upstream })) return false
  const [there, here] = [plainHost(realm), plainHost(upstream)]
  if (there === here) return true
  if (realm.protocol !== 'https:') return false
  if (realmHosts.some((entry) => isNamed(entry, realm, there))) return true
  const domain = registrableDomain(here)
  return domain !== undefined && domain === registrableDomain(there)
}

/** Without brackets and the dot of the root. */
function plainHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
}

function isNamed(entry: string, realm: URL, host: string): boolean {
  const name = entry.trim().toLowerCase()
  return name === host || name === `${host}:${realm.port === '' ? '443' : realm.port}`
}

/** With the list's private part, so that `a.github.io` and `b.github.io` are strangers. */
function registrableDomain(host: string): string | undefined {
  if (isIP(host) !== 0 || !host.includes('.')) return undefined
  return getDomain(host, { allowPrivateDomains: true }) ?? undefined
}
