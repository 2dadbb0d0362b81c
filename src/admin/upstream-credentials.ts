/** An organization's proxy configuration to how its upstream is contacted; the credentials are sealed at rest. */
import type { ProxyCache } from '../metadata/proxy-caches.ts'
import type { CredentialSource, UpstreamConfig } from '../oci/registry.ts'
import { isNotAnUpstreamName, parseUpstreamName } from '../oci/upstream-name.ts'
import type { SecretSealer } from './settings.ts'

/** What the operator has configured for an organization: a row of `UPSTREAM_CREDENTIALS`. */
export type OperatorsCredential = {
  readonly registry: string
  readonly username: string
  readonly insecure: boolean
  readonly organizationCa: boolean
} & (
  | { readonly kind: 'file'; readonly passwordFile: string }
  | { readonly kind: 'command'; readonly passwordCommand: readonly string[] }
)

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

/**
 * What the operator has configured goes before what the organization's administrators have stored, but only at the
 * registry, host and port, that it is for. The attack is an administrator who wants to read the operator's password:
 * pointing the organization elsewhere gets none, and plain HTTP or a certificate of their own gets a refusal.
 */
export function withOperatorsCredential(
  credential: OperatorsCredential | undefined,
  upstream: UpstreamConfig,
): UpstreamConfig {
  if (credential === undefined) return upstream
  const registry = parseUpstreamName(credential.registry)
  if (isNotAnUpstreamName(registry) || registry.host !== upstream.host) return upstream
  const problem = problemOf(credential, upstream)
  if (problem !== undefined) return { ...upstream, credentials: { kind: 'withheld', problem } }
  const { username } = credential
  if (credential.kind === 'file') {
    return { ...upstream, credentials: { kind: 'file', username, path: credential.passwordFile } }
  }
  return { ...upstream, credentials: { kind: 'command', username, command: credential.passwordCommand } }
}

function problemOf(credential: OperatorsCredential, { scheme, host, caPem }: UpstreamConfig): string | undefined {
  if (scheme === 'http' && !credential.insecure) {
    return `refused to send the operator's password to ${host} over plain HTTP: unset "insecure" of the organization's upstream, or set "insecure: true" beside the password in UPSTREAM_CREDENTIALS`
  }
  if (scheme === 'https' && caPem !== undefined && !credential.organizationCa) {
    return `refused to send the operator's password to ${host}, whose certificate the organization's own CA may vouch for: remove "ca_certificate" from the organization, or set "organization_ca: true" beside the password in UPSTREAM_CREDENTIALS`
  }
  return undefined
}

export function credentialsOf(username: string | undefined, password: string | undefined): CredentialSource {
  if (username === undefined || password === undefined) return { kind: 'anonymous' }
  return { kind: 'password', username, password }
}

function contextOf(organizationId: number, column: Column): string {
  return `proxy_cache:${organizationId}:${column}`
}
