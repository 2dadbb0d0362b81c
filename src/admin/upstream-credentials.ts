/** An organization's proxy configuration to how its upstream is contacted; the credentials are sealed at rest. */
import type { ProxyCache } from '../metadata/proxy-caches.ts'
import type { CredentialSource, UpstreamConfig } from '../oci/registry.ts'
import { isNotAnUpstreamName, parseUpstreamName } from '../oci/upstream-name.ts'
import type { SecretSealer } from './settings.ts'

type Column = 'username' | 'password'

export function sealUpstreamCredential(
  secretBox: SecretSealer,
  organizationId: number,
  column: Column,
  plaintext: string | undefined,
): string | undefined {
  return plaintext === undefined ? undefined : secretBox.seal(plaintext, contextOf(organizationId, column))
}

export function openUpstreamCredential(
  secretBox: SecretSealer,
  organizationId: number,
  column: Column,
  sealed: string | undefined,
): string | undefined {
  return sealed === undefined ? undefined : secretBox.open(sealed, contextOf(organizationId, column))
}

/** Errors: those of the secret box, when the key is another. */
export function upstreamConfigOf(
  secretBox: SecretSealer,
  organization: { id: number; caPem: string | undefined },
  proxyCache: ProxyCache,
): UpstreamConfig {
  const parsed = parseUpstreamName(proxyCache.upstreamRegistry)
  if (isNotAnUpstreamName(parsed)) throw new Error('cannot read a stored upstream')
  const { usernameEncrypted, passwordEncrypted } = proxyCache
  const username = openUpstreamCredential(secretBox, organization.id, 'username', usernameEncrypted)
  const password = openUpstreamCredential(secretBox, organization.id, 'password', passwordEncrypted)
  return {
    scheme: proxyCache.insecure ? 'http' : 'https',
    host: parsed.host,
    caPem: organization.caPem,
    credentials: credentialsOf(username, password),
  }
}

export function credentialsOf(username: string | undefined, password: string | undefined): CredentialSource {
  if (username === undefined || password === undefined) return { kind: 'anonymous' }
  return { kind: 'password', username, password }
}

function contextOf(organizationId: number, column: Column): string {
  return `proxy_cache:${organizationId}:${column}`
}
