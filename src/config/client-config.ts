/**
 * What a browser is told of the configuration: exactly the keys below, so that a new setting is secret until somebody
 * says otherwise. Source: Quay's CLIENT_WHITELIST (its config.py) and `GET /config`.
 */
import type { Config } from './load.ts'

export type ClientConfig = {
  /** By Quay's keys. */
  config: Readonly<Record<string, string | boolean | number | readonly string[]>>
  /** By Quay's keys without `FEATURE_`. */
  features: Readonly<Record<string, boolean>>
}

export function clientConfigOf(config: Config): ClientConfig {
  return {
    config: {
      SERVER_HOSTNAME: config.serverHostname,
      PREFERRED_URL_SCHEME: config.urlScheme,
      AUTHENTICATION_TYPE: 'Database',
      AVATAR_KIND: 'local',
      REGISTRY_TITLE: 'Entrepot',
      REGISTRY_TITLE_SHORT: 'Entrepot',
      DEFAULT_TAG_EXPIRATION: formatDuration(config.defaultTagExpirationSeconds),
      TAG_EXPIRATION_OPTIONS: config.tagExpirationOptionsSeconds.map(formatDuration),
      FRESH_LOGIN_TIMEOUT: formatDuration(config.freshLoginSeconds),
      PERMANENTLY_DELETE_TAGS: true,
      QUOTA_BACKFILL: false,
    },
    features: {
      ANONYMOUS_ACCESS: config.featureAnonymousAccess,
      APP_SPECIFIC_TOKENS: config.featureAppSpecificTokens,
      CHANGE_TAG_EXPIRATION: config.featureChangeTagExpiration,
      DIRECT_LOGIN: config.featureDirectLogin,
      EDIT_QUOTA: config.featureEditQuota,
      GARBAGE_COLLECTION: config.featureGarbageCollection,
      MAILING: false,
      ORGANIZATION_ADMINS_EDIT_QUOTA: config.featureOrganizationAdminsEditQuota,
      PROXY_CACHE: config.featureProxyCache,
      QUOTA_MANAGEMENT: config.featureQuotaManagement,
      REPO_MIRROR: false,
      SUPER_USERS: true,
      SUPERUSERS_FULL_ACCESS: config.featureSuperusersFullAccess,
      USER_CREATION: config.featureUserCreation,
      USER_INITIALIZE: config.featureUserInitialize,
    },
  }
}

const UNITS = [
  ['w', 7 * 86_400],
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
] as const

/** Quay's form, in the largest unit that leaves no rest. */
function formatDuration(seconds: number): string {
  const fitting = UNITS.find(([, size]) => seconds !== 0 && seconds % size === 0)
  return fitting === undefined ? `${seconds}s` : `${seconds / fitting[1]}${fitting[0]}`
}
