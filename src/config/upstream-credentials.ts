/** Operator-given credentials of upstreams, from the setting UPSTREAM_CREDENTIALS. */
import type { SettingValues } from './schema.ts'

/**
 * An operator-given credential of an organization's upstream. It is for the one `registry`: whoever administers the
 * organization may point it elsewhere, and must not thereby learn the operator's password. For the same reason only the
 * operator can let it go over plain HTTP (`insecure`), or over TLS that the organization's own certificate vouches for
 * (`organizationCa`).
 */
export type UpstreamCredential = {
  readonly registry: string
  readonly username: string
  readonly insecure: boolean
  readonly organizationCa: boolean
} & (
  | { readonly kind: 'file'; readonly passwordFile: string }
  | { readonly kind: 'command'; readonly passwordCommand: readonly string[] }
)

/** By organization name. `path` makes a file's path absolute. */
export function credentialsOf(
  rows: SettingValues['UPSTREAM_CREDENTIALS'],
  path: (value: string) => string,
): ReadonlyMap<string, UpstreamCredential> {
  const credentials = new Map<string, UpstreamCredential>()
  for (const [organization, row] of Object.entries(rows)) {
    const { registry, username, insecure, organization_ca: organizationCa } = row
    const { password_file: file, password_command: command } = row
    const shared = { registry, username, insecure, organizationCa }
    if (file !== undefined) credentials.set(organization, { ...shared, kind: 'file', passwordFile: path(file) })
    else if (command !== undefined)
      credentials.set(organization, { ...shared, kind: 'command', passwordCommand: command })
  }
  return credentials
}
