/** What administration needs of the configuration, and of the parts it does not know. */
import type { Clock } from '../base/clock.ts'
import type { Db, Metadata } from '../metadata/open.ts'
import type { Removal } from '../metadata/removal.ts'
import type { UpstreamConfig } from '../oci/registry.ts'
import type { Wanted } from '../registry/admission.ts'
import type { Transfers } from '../registry/transfers.ts'
import type { Verification } from '../registry/verification.ts'
import type { RightsEpoch } from './rights-epoch.ts'

export type AdminSettings = {
  /** SERVER_HOSTNAME: `host[:port]`. Issuer and audience of registry tokens. */
  serverHostname: string
  /** TOKEN_LIFETIME. */
  registryTokenSeconds: number
  /** FEATURE_PROXY_CACHE */
  hasProxyCache: boolean
  /** FEATURE_ANONYMOUS_ACCESS */
  hasAnonymousAccess: boolean
  /** FEATURE_USER_INITIALIZE */
  hasUserInitialize: boolean
  /** FEATURE_USER_CREATION: anyone may make an account of their own. */
  hasUserCreation: boolean
  /** FEATURE_DIRECT_LOGIN: the console lets people sign in with their password. */
  hasDirectLogin: boolean
  /** FEATURE_APP_SPECIFIC_TOKENS */
  hasAppTokens: boolean
  /** APP_SPECIFIC_TOKEN_EXPIRATION: how long new application tokens are good; undefined: for ever. */
  appTokenSeconds: number | undefined
  /** FRESH_LOGIN_TIMEOUT */
  freshLoginSeconds: number
  /** PREFERRED_URL_SCHEME; undefined: as each request came. */
  preferredUrlScheme: 'http' | 'https' | undefined
  /** FEATURE_SUPERUSERS_FULL_ACCESS */
  hasSuperusersFullAccess: boolean
  /** FEATURE_QUOTA_MANAGEMENT */
  hasQuotaManagement: boolean
  /** FEATURE_EDIT_QUOTA */
  canEditQuota: boolean
  /** FEATURE_ORGANIZATION_ADMINS_EDIT_QUOTA */
  mayOrganizationAdminsEditQuota: boolean
  /** DEFAULT_SYSTEM_REJECT_QUOTA_BYTES; undefined: none. */
  systemRejectBytes: number | undefined
  /** FEATURE_CHANGE_TAG_EXPIRATION */
  canChangeTagExpiration: boolean
  /** SUPER_USERS, beside the accounts that are marked. */
  superUsers: readonly string[]
  /** GLOBAL_READONLY_SUPER_USERS */
  globalReadonlySuperUsers: readonly string[]
  /** DEFAULT_TAG_EXPIRATION */
  defaultTagExpirationSeconds: number
  /** TAG_EXPIRATION_OPTIONS */
  tagExpirationOptionsSeconds: readonly number[]
}

export interface SecretSealer {
  seal(plaintext: string, context: string): string
  open(sealed: string, context: string): string
}

/**
 * Ask an upstream whether it answers as a registry and takes the credentials: `GET /v2/` after the token dance.
 * valid: 200 (with credentials, if there are any). anonymous: 401 or 403 to a request without credentials.
 * Errors: UpstreamError; `denied` when there are credentials and they are refused.
 */
export type ProbeUpstream = (config: UpstreamConfig) => Promise<'valid' | 'anonymous'>

/**
 * Judge an address that stands where a host is expected: undefined, or what `kind` of address it is that may not be
 * contacted, and the `line` that would allow it in SSRF_ALLOWED_HOSTS. Names are judged when they are connected to.
 */
export type RefuseUpstreamAddress = (target: {
  host: string
  port: number
}) => { kind: string; line: string } | undefined

export type AdminDependencies = {
  metadata: Metadata
  secretBox: SecretSealer
  clock: Clock
  settings: AdminSettings
  /** Printed at the start while there is no user; undefined when there is none. */
  setupToken: string | undefined
  probeUpstream: ProbeUpstream
  refuseUpstreamAddress: RefuseUpstreamAddress
  /** After every committed change of an organization, its proxy configuration included, and after its deletion. */
  onOrganizationChange: (name: string) => void
  /** After every committed change of a quota or its limits: the charge may be above it now. */
  onLimitChange: (organizationId: number) => void
  /** The one verification of this process. */
  verification: Pick<Verification, 'start' | 'state' | 'cancel'>
  /** What is being received: it is not purged. */
  transfers: Transfers
  /** After a commit that changed tags: what is remembered of them is old. */
  onTagsChanged?: (organizationName: string, repositoryId: number, tagNames: readonly string[]) => void
  /** Write the uses that are only in memory, before a change that they would undo. */
  writeUses?: () => Promise<void>
  /** After a commit that removed images: forget them, and remove their bytes. */
  forgetRemoved?: (removal: Removal) => Promise<void>
  /** Evict for what a pin completes, in its transaction and under its lock. Undefined: it cannot be made to fit. */
  makeRoom?: (tx: Db, wanted: Wanted) => Promise<readonly Removal[] | undefined>
  /** A change or a refusal worth a line in the log; never holds a secret. */
  report: (event: string, fields: Readonly<Record<string, unknown>>) => void
}

/** What the parts of administration share. */
export type AdminContext = AdminDependencies & { epoch: RightsEpoch }
