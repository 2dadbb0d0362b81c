/** Every setting: its key, what it may be, its default and one sentence. `docs/configuration.md` is made from it. */
import type { z } from 'zod'
import { isOrganizationName } from '../oci/repository-name.ts'
import * as values from './values.ts'

export type Setting<Value> = {
  /** `quay` when Quay has the key too: then it means the same. */
  readonly origin: 'quay' | 'entrepot'
  readonly value: z.ZodType<Value>
  /** As it would be written in the file; undefined when leaving it out means something of its own. */
  readonly fallback: unknown
  /** What the documentation says instead of a fallback. */
  readonly fallbackText: string | undefined
  readonly unit: string
  readonly sentence: string
  /** Its value is never repeated in a message. */
  readonly secret: boolean
  /** How an environment variable is read: as it is, as a list at commas (or as YAML), or as YAML. */
  readonly environment: 'text' | 'list' | 'yaml'
}

type Row<Value> = {
  origin?: 'quay'
  value: z.ZodType<Value>
  unit: string
  sentence: string
  secret?: true
  environment?: 'text' | 'list'
}

function setting<Value>(row: Row<Value> & { fallback: unknown }): Setting<Value> {
  return { origin: 'entrepot', secret: false, environment: 'yaml', fallbackText: undefined, ...row }
}

function optional<Value>(row: Row<Value> & { fallbackText: string }): Setting<Value | undefined> {
  return { origin: 'entrepot', secret: false, environment: 'yaml', fallback: undefined, ...row }
}

function feature(fallback: boolean, sentence: string): Setting<boolean> {
  return setting({ origin: 'quay', value: values.flag, unit: 'true or false', fallback, sentence })
}

const userNames = values.list(values.text('a user name'), 'user names')

/** The settings of `config.yaml`, in the order of the documentation. Each can be overridden by `ENTREPOT_<KEY>`. */
export const SETTINGS = {
  SERVER_HOSTNAME: optional({
    origin: 'quay',
    value: values.text('HOST or HOST:PORT, without a scheme', values.isHostAndPort),
    unit: 'HOST[:PORT]',
    environment: 'text',
    fallbackText: 'from `HOST` and `PORT`: `localhost:8080`',
    sentence: 'The name under which clients reach this server; registry tokens are made for it.',
  }),
  PREFERRED_URL_SCHEME: optional({
    origin: 'quay',
    value: values.oneOf(['http', 'https']),
    unit: '`http` or `https`',
    environment: 'text',
    fallbackText: '`https` with `TLS_CERTIFICATE_FILE`, else `http`',
    sentence: 'The scheme under which clients reach this server; say `https` behind a proxy that speaks TLS.',
  }),
  TLS_CERTIFICATE_FILE: optional({
    value: values.text('the path of a PEM file'),
    unit: 'path',
    environment: 'text',
    fallbackText: 'none: plain HTTP',
    sentence: 'Certificate chain (PEM) to serve TLS with; read again when the file changes.',
  }),
  TLS_KEY_FILE: optional({
    value: values.text('the path of a PEM file'),
    unit: 'path',
    environment: 'text',
    fallbackText: 'none',
    sentence: 'Private key (PEM) that belongs to `TLS_CERTIFICATE_FILE`; both or neither must be set.',
  }),
  TRUSTED_PROXIES: setting({
    value: values.list(values.text('an address or CIDR block', values.isAddressBlock), 'addresses or CIDR blocks'),
    unit: 'addresses, CIDR blocks',
    environment: 'list',
    fallback: [],
    sentence: 'Proxies in front of this server whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.',
  }),
  DB_URI: optional({
    origin: 'quay',
    value: values.text(
      'postgresql://USER:PASSWORD@HOST[:PORT]/DATABASE; leave it out for SQLite in the data folder',
      values.isPostgresUri,
    ),
    unit: 'URI',
    secret: true,
    environment: 'text',
    fallbackText: 'SQLite in the data folder',
    sentence: 'PostgreSQL 15 or later for the metadata.',
  }),
  DATABASE_SECRET_KEY: optional({
    origin: 'quay',
    value: values.secretText,
    unit: 'text',
    secret: true,
    environment: 'text',
    fallbackText: '`secret.key` in the data folder, made at the first start',
    sentence:
      'Encrypts upstream passwords and tokens in the database (stretched with scrypt); keep it, and keep it long.',
  }),
  DISTRIBUTED_STORAGE_CONFIG: optional({
    origin: 'quay',
    value: values.storagePath,
    unit: '`NAME: [LocalStorage, {storage_path: PATH}]`',
    fallbackText: '`blobs` in the data folder',
    sentence: 'Where blobs are kept; one entry, and only `LocalStorage` is supported yet.',
  }),
  MINIMUM_FREE_BYTES: optional({
    value: values.byteSize,
    unit: 'bytes, or such as `2 GiB`',
    fallbackText: '5 % of the disk, at least 1 GiB',
    sentence: 'With less than this free on the disk nothing new is cached, and pulls stream straight through.',
  }),
  STORAGE_LIMIT_BYTES: optional({
    value: values.positiveByteSize,
    unit: 'bytes, or such as `500 GiB`',
    fallbackText: 'none: as far as `MINIMUM_FREE_BYTES` lets it grow',
    sentence:
      'The most that the blobs of all organizations together may take; what was used least recently goes first.',
  }),
  FEATURE_PROXY_CACHE: feature(true, 'Organizations can cache an upstream; when off, the API of that answers 404.'),
  FEATURE_PROXY_CACHE_BLOB_DOWNLOAD: feature(
    true,
    'When a client has asked for a layer of an image, the rest of the image is fetched in the background.',
  ),
  FEATURE_ANONYMOUS_ACCESS: feature(
    true,
    'Organizations may allow pulls without signing in; when off, none can, whatever they say.',
  ),
  FEATURE_USER_INITIALIZE: feature(
    false,
    'While there is no user, anyone may create the first; when off, only from loopback or with the set-up token.',
  ),
  FEATURE_USER_CREATION: feature(
    true,
    'Anyone who reaches the server may make an account of their own, which belongs to no organization at first.',
  ),
  FEATURE_DIRECT_LOGIN: feature(true, 'People sign in to the console with their password.'),
  FRESH_LOGIN_TIMEOUT: setting({
    origin: 'quay',
    value: values.duration(1),
    unit: 'duration',
    fallback: '10m',
    sentence: 'How long after giving the password a session may do what needs it, such as changing it.',
  }),
  FEATURE_APP_SPECIFIC_TOKENS: feature(true, 'Users may make application tokens: passwords for the registry only.'),
  APP_SPECIFIC_TOKEN_EXPIRATION: optional({
    origin: 'quay',
    value: values.duration(1),
    unit: 'duration',
    fallbackText: 'none: until they are revoked',
    sentence: 'How long new application tokens are good for.',
  }),
  FEATURE_SUPERUSERS_FULL_ACCESS: feature(true, 'Superusers may read and change every organization.'),
  FEATURE_QUOTA_MANAGEMENT: feature(
    true,
    'Organizations can have storage quotas; when off, there are no limits, and their API answers 404.',
  ),
  FEATURE_EDIT_QUOTA: feature(true, 'Quotas can be changed by the API; when off, they can only be read.'),
  FEATURE_ORGANIZATION_ADMINS_EDIT_QUOTA: setting({
    value: values.flag,
    unit: 'true or false',
    fallback: false,
    sentence: 'Administrators of an organization may change its quota too; when off, only superusers may.',
  }),
  DEFAULT_SYSTEM_REJECT_QUOTA_BYTES: setting({
    origin: 'quay',
    value: values.byteSize,
    unit: 'bytes, or such as `10 GiB`',
    fallback: 0,
    sentence: 'The limit of organizations that have no quota of their own; 0 is none.',
  }),
  FEATURE_GARBAGE_COLLECTION: feature(
    true,
    'What has expired, and is not in a Time Machine any more, is removed; when off, only eviction frees space.',
  ),
  GARBAGE_COLLECTION_FREQUENCY: setting({
    origin: 'quay',
    value: values.wholeNumber(1, 86_400),
    unit: 'seconds',
    fallback: 30,
    sentence: 'How often what has expired is looked for.',
  }),
  USAGE_LOG_RETENTION: setting({
    value: values.duration(3600),
    unit: 'duration',
    environment: 'text',
    fallback: '90d',
    sentence: 'How long usage logs are kept; of each organization at most the last 100,000 entries.',
  }),
  FEATURE_CHANGE_TAG_EXPIRATION: feature(true, 'The Time Machine window of an organization can be changed.'),
  SUPER_USERS: setting({
    origin: 'quay',
    value: userNames,
    unit: 'user names',
    environment: 'list',
    fallback: [],
    sentence: 'Superusers, beside the first user, who is always one.',
  }),
  GLOBAL_READONLY_SUPER_USERS: setting({
    origin: 'quay',
    value: userNames,
    unit: 'user names',
    environment: 'list',
    fallback: [],
    sentence: 'Users who may read everything and change nothing.',
  }),
  DEFAULT_TAG_EXPIRATION: setting({
    origin: 'quay',
    value: values.duration(),
    unit: 'duration',
    fallback: '2w',
    sentence: 'Time Machine window of new organizations; one of `TAG_EXPIRATION_OPTIONS`.',
  }),
  TAG_EXPIRATION_OPTIONS: setting({
    origin: 'quay',
    value: values.list(values.duration(), 'durations such as 1d or 2w'),
    unit: 'durations',
    environment: 'list',
    fallback: ['0s', '1d', '1w', '2w', '4w'],
    sentence: 'The Time Machine windows an organization can choose from.',
  }),
  TOKEN_LIFETIME: setting({
    value: values.duration(60, 3600),
    unit: 'duration, 60 s to 1 h',
    fallback: '300s',
    sentence: 'How long a registry token from `/v2/auth` is good for.',
  }),
  ROOT_ORGANIZATION: optional({
    value: values.text('the name of an organization', isOrganizationName),
    unit: 'organization',
    environment: 'text',
    fallbackText: 'none',
    sentence: "Answers names whose first component is no organization, for Docker's `registry-mirrors`.",
  }),
  SSRF_ALLOWED_HOSTS: setting({
    origin: 'quay',
    value: values.list(
      values.text('a host, HOST:PORT or CIDR block', values.isAllowedHost),
      'hosts, HOST:PORT or CIDR blocks',
    ),
    unit: 'hosts, HOST:PORT, CIDR blocks',
    environment: 'list',
    fallback: [],
    sentence: 'Upstreams that may be reached although their address is private, loopback or link-local.',
  }),
  UPSTREAM_REALM_HOSTS: setting({
    value: values.list(values.text('HOST or HOST:PORT', values.isHostAndPort), 'hosts'),
    unit: 'hosts',
    environment: 'list',
    fallback: [],
    sentence: "Token servers outside their registry's domain that may be sent the organization's password.",
  }),
  UPSTREAM_CREDENTIALS: setting({
    value: values.upstreamCredentials,
    unit: '`ORGANIZATION: {registry, username, password_file \\| password_command, insecure, organization_ca}`',
    secret: true,
    fallback: {},
    sentence:
      'Credentials that rotate, used while the upstream of the organization is at that registry: the password is read from a file, or printed by a command (a list: program, arguments), again after each 401. It is sent over plain HTTP only with `insecure: true`, and over TLS that the organization’s own CA certificate vouches for only with `organization_ca: true`.',
  }),
  EGRESS_PROXY: optional({
    value: values.egressProxy,
    unit: '`{uri, no_proxy}`',
    secret: true,
    fallbackText: '`HTTPS_PROXY` and `NO_PROXY` of the environment',
    sentence: 'The HTTP proxy through which upstreams are reached, and the hosts that are reached without it.',
  }),
  METRICS_HOST: setting({
    value: values.text('an address or host name', values.isListenHost),
    unit: 'address',
    environment: 'text',
    fallback: '127.0.0.1',
    sentence: 'Where Prometheus metrics are served; they need no password, so keep them inside.',
  }),
  METRICS_PORT: setting({
    value: values.wholeNumber(0, 65_535),
    unit: 'port',
    fallback: 9091,
    sentence: 'The port of the metrics; 0 takes a free one.',
  }),
  LOG_LEVEL: setting({
    value: values.oneOf(['debug', 'info', 'warn', 'error', 'silent']),
    unit: '`debug`, `info`, `warn`, `error`, `silent`',
    environment: 'text',
    fallback: 'info',
    sentence: 'The least important log lines that are written.',
  }),
  SHUTDOWN_GRACE_SECONDS: setting({
    value: values.wholeNumber(0, 3600),
    unit: 'seconds',
    fallback: 30,
    sentence: 'How long running pulls may take to finish when the server is stopped.',
  }),
} as const

export type SettingKey = keyof typeof SETTINGS
export type SettingValues = {
  [Key in SettingKey]: (typeof SETTINGS)[Key] extends Setting<infer Value> ? Value : never
}

/** What only the environment says, since it is needed before the file is read. */
export const ENVIRONMENT = {
  HOST: { fallback: '127.0.0.1', unit: 'address', sentence: 'The address to listen on; `0.0.0.0` for all of them.' },
  PORT: { fallback: '8080', unit: 'port', sentence: 'The port to listen on; 0 takes a free one.' },
  ENTREPOT_DATA: { fallback: './data', unit: 'path', sentence: 'The data folder; it is made when it is absent.' },
  ENTREPOT_CONFIG: {
    fallback: '`config.yaml` in the data folder, if there is one',
    unit: 'path',
    sentence: 'The configuration file.',
  },
} as const
