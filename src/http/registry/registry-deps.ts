/** What the `/v2` server is handed. */

import type { Authenticator, PullPermission } from '../../admin/identity.ts'
import type { Clock } from '../../base/clock.ts'
import type { RegistryDirectory } from '../../registry/directory.ts'
import type { ObserveAccess } from '../access-record.ts'
import type { ClientOrigin } from '../client-origin.ts'

export type RegistryDeps = {
  directory: RegistryDirectory
  authenticator: Authenticator
  permission: PullPermission
  clock: Clock
  origin: ClientOrigin
  settings: RegistrySettings
  observe: ObserveAccess
  /** What nobody expected, with the request's id; never a secret. */
  report: (event: string, fields: Readonly<Record<string, unknown>>) => void
}

export type RegistrySettings = {
  /** SERVER_HOSTNAME: the `service` of challenges, and the realm's host when the request's is unusable. */
  serverHostname: string
  /** PREFERRED_URL_SCHEME; undefined: as the request came. */
  preferredScheme: 'http' | 'https' | undefined
  /** ROOT_ORGANIZATION */
  rootOrganization: string | undefined
  /** Default `HTTP_LIMITS.clientIdleMs`. */
  clientIdleMs?: number
}
