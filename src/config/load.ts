/** Environment and file to one frozen Config, or every mistake at once. */
import { readFileSync, statSync } from 'node:fs'
import { isIP, isIPv6 } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import type { z } from 'zod'
import { MiB, SECOND_MS } from '../base/units.ts'
import { nearestKey } from './nearest-key.ts'
import { QUAY_KEYS_WITHOUT_EFFECT_YET, QUAY_KEYS_WITHOUT_MEANING } from './quay-keys.ts'
import { ENVIRONMENT, SETTINGS, type Setting, type SettingKey, type SettingValues } from './schema.ts'
import { credentialsOf, type UpstreamCredential } from './upstream-credentials.ts'
import { isListenHost, isProxyUri } from './values.ts'
import { parseYamlText } from './yaml-text.ts'

export const configFileBytesMax = MiB
/** More are counted, not shown: nobody reads on. */
const mistakesMax = 100

export type Environment = Readonly<Record<string, string | undefined>>

/** Everything the server is told from outside. Paths are absolute, units stand in the names. */
export type Config = {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly dataFolder: string
  readonly blobFolder: string
  readonly configFile: string | undefined
  /** `host[:port]` as clients write it. */
  readonly serverHostname: string
  readonly urlScheme: 'http' | 'https'
  /** PREFERRED_URL_SCHEME as it was set; undefined: as each request came. */
  readonly preferredUrlScheme: 'http' | 'https' | undefined
  readonly tls: { readonly certificateFile: string; readonly keyFile: string } | undefined
  /** Addresses and CIDR blocks. */
  readonly trustedProxies: readonly string[]
  /** Undefined: SQLite in the data folder. Holds a password. */
  readonly databaseUri: string | undefined
  /** Undefined: `secretKeyFile`. */
  readonly databaseSecretKey: string | undefined
  readonly secretKeyFile: string
  /** Undefined: 5 % of the disk, at least 1 GiB. */
  readonly minimumFreeBytes: number | undefined
  /** Of the whole store; undefined: as far as the disk goes. */
  readonly storageLimitBytes: number | undefined
  readonly featureProxyCache: boolean
  readonly featureProxyCacheBlobDownload: boolean
  readonly featureAnonymousAccess: boolean
  readonly featureUserInitialize: boolean
  readonly featureUserCreation: boolean
  readonly featureDirectLogin: boolean
  readonly freshLoginSeconds: number
  readonly featureAppSpecificTokens: boolean
  /** Undefined: application tokens do not expire. */
  readonly appTokenSeconds: number | undefined
  readonly featureSuperusersFullAccess: boolean
  readonly featureQuotaManagement: boolean
  readonly featureEditQuota: boolean
  readonly featureOrganizationAdminsEditQuota: boolean
  /** The limit of organizations without a quota; undefined: none. */
  readonly defaultSystemRejectQuotaBytes: number | undefined
  readonly featureGarbageCollection: boolean
  readonly garbageCollectionMs: number
  readonly usageLogMs: number
  readonly featureChangeTagExpiration: boolean
  readonly superUsers: readonly string[]
  readonly globalReadonlySuperUsers: readonly string[]
  readonly defaultTagExpirationSeconds: number
  readonly tagExpirationOptionsSeconds: readonly number[]
  readonly tokenLifetimeSeconds: number
  readonly rootOrganization: string | undefined
  /** host, host:port, address or CIDR block. */
  readonly ssrfAllowedHosts: readonly string[]
  readonly upstreamRealmHosts: readonly string[]
  /** By organization name. */
  readonly upstreamCredentials: ReadonlyMap<string, UpstreamCredential>
  /** The URI can hold a password. */
  readonly egressProxy: { readonly uri: string; readonly noProxy: readonly string[] } | undefined
  readonly metricsHost: string
  /** 0 takes a free one. */
  readonly metricsPort: number
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  readonly shutdownGraceMs: number
  /** What the operator should know, one sentence each. */
  readonly notices: readonly string[]
}

/** The configuration cannot be used. `mistakes` are sentences that begin with the key; none holds a secret. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly mistakes: readonly string[]
  readonly notices: readonly string[]

  constructor(mistakes: readonly string[], notices: readonly string[]) {
    super(`the configuration has ${mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`}`)
    this.mistakes = mistakes
    this.notices = notices
  }
}

export type LoadOptions = {
  env: Environment
  /** The file's text; undefined when there is none. Throws when it cannot be read. */
  readFile?: (path: string) => string | undefined
}

/** What is known so far. A raw value comes with the folder that its relative paths start from. */
type Loading = {
  raw: Map<SettingKey, { value: unknown; folder: string; source: string }>
  mistakes: string[]
  notices: string[]
}

/** Load the configuration. Errors: ConfigError with every mistake at once. */
export function loadConfig(options: LoadOptions): Config {
  const { env, readFile = readConfigFile } = options
  const loading: Loading = { raw: new Map(), mistakes: [], notices: [] }
  const dataFolder = resolve(env['ENTREPOT_DATA'] || ENVIRONMENT.ENTREPOT_DATA.fallback)
  const configFile = readSettingsFile(env['ENTREPOT_CONFIG'], dataFolder, readFile, loading)
  readSettingsEnvironment(env, loading)
  const listen = readListenAddress(env, loading)
  const settings = parseSettings(loading)
  const egressProxy = readEgressProxy(env, settings, loading)
  checkTogether(settings, loading)
  const { mistakes, notices } = loading
  if (mistakes.length > mistakesMax) mistakes.splice(mistakesMax, Infinity, `and ${mistakes.length - mistakesMax} more`)
  if (mistakes.length > 0) throw new ConfigError(mistakes, notices)
  return buildConfig(settings as SettingValues, loading, { ...listen, dataFolder, configFile, egressProxy })
}

/** Whether only this machine can reach a server that listens on `host`. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

function readConfigFile(path: string): string | undefined {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return undefined
  if (!stats.isFile()) throw new Error('it is not a file')
  if (stats.size > configFileBytesMax) throw new Error(`it is larger than ${configFileBytesMax} bytes`)
  return readFileSync(path, 'utf8')
}

/** Reads the file into `loading`; resolves to its path, undefined when there is none. */
function readSettingsFile(
  given: string | undefined,
  dataFolder: string,
  readFile: (path: string) => string | undefined,
  loading: Loading,
): string | undefined {
  const path = given ? resolve(given) : join(dataFolder, 'config.yaml')
  const text = attemptRead(path, readFile, loading)
  if (text === undefined) {
    if (given && loading.mistakes.length === 0) loading.mistakes.push(`ENTREPOT_CONFIG: there is no file ${path}`)
    return undefined
  }
  const parsed = parseYamlText(text)
  loading.mistakes.push(...parsed.mistakes.map((mistake) => `${path}: ${mistake}`))
  if (parsed.mistakes.length > 0 || parsed.value === null || parsed.value === undefined) return path
  if (typeof parsed.value !== 'object' || Array.isArray(parsed.value)) {
    loading.mistakes.push(`${path}: expected a map of settings, such as LOG_LEVEL: info`)
    return path
  }
  for (const [key, value] of Object.entries(parsed.value)) {
    if (isSettingKey(key)) {
      // `KEY:` with nothing after it is how people leave a setting out.
      if (value !== null) loading.raw.set(key, { value, folder: dirname(path), source: key })
    } else if (Object.hasOwn(ENVIRONMENT, key)) {
      loading.mistakes.push(`${key}: is set in the environment, not in the file`)
    } else reportOtherKey(key, '', loading)
  }
  return path
}

function attemptRead(
  path: string,
  readFile: (path: string) => string | undefined,
  loading: Loading,
): string | undefined {
  try {
    const text = readFile(path)
    if (text === undefined || Buffer.byteLength(text) <= configFileBytesMax) return text
    loading.mistakes.push(`${path}: cannot be read: it is larger than ${configFileBytesMax} bytes`)
  } catch (error) {
    loading.mistakes.push(`${path}: cannot be read: ${error instanceof Error ? error.message : 'unknown error'}`)
  }
  return undefined
}

/** Names that are the command line's, a test's, or that Kubernetes sets for a service named `entrepot`. */
const OTHER_VARIABLES = new RegExp(
  '^ENTREPOT_(?:DATA|CONFIG|SERVER|TOKEN|USER|PASSWORD|NEW_PASSWORD|UPSTREAM_PASSWORD|SETUP_TOKEN|' +
    'TEST_.*|SERVICE_.*|PORT(?:_.*)?)$',
)

function readSettingsEnvironment(env: Environment, loading: Loading): void {
  for (const [name, text] of Object.entries(env)) {
    // An empty variable is one that was left out: compose files and unit files cannot say it otherwise.
    if (!name.startsWith('ENTREPOT_') || text === undefined || text === '' || OTHER_VARIABLES.test(name)) continue
    const key = name.slice('ENTREPOT_'.length)
    if (!isSettingKey(key)) {
      reportOtherKey(key, 'ENTREPOT_', loading)
      continue
    }
    const parsed = parseVariable(SETTINGS[key].environment, text)
    if (parsed.mistakes.length > 0) loading.mistakes.push(`${name}: is no YAML: ${parsed.mistakes.join('; ')}`)
    else loading.raw.set(key, { value: parsed.value, folder: resolve('.'), source: name })
  }
}

function parseVariable(kind: Setting<unknown>['environment'], text: string): ReturnType<typeof parseYamlText> {
  if (kind === 'text') return { value: text, mistakes: [] }
  if (kind === 'list' && !text.trimStart().startsWith('[')) {
    return { value: text.split(',').map((entry) => entry.trim()), mistakes: [] }
  }
  return parseYamlText(text)
}

function reportOtherKey(key: string, prefix: string, loading: Loading): void {
  const shown = /^[\w.-]{1,80}$/.test(key) ? prefix + key : `${JSON.stringify(prefix + key.slice(0, 80))}`
  if (QUAY_KEYS_WITHOUT_EFFECT_YET.has(key)) {
    loading.notices.push(`${shown}: a setting of Quay that has no effect yet`)
  } else if (QUAY_KEYS_WITHOUT_MEANING.has(key)) {
    loading.notices.push(`${shown}: a setting of Quay that has no meaning here`)
  } else {
    // Hints cost time, and only the first mistakes are shown.
    const nearest = loading.mistakes.length < mistakesMax ? nearestKey(key, Object.keys(SETTINGS)) : undefined
    const hint =
      nearest === undefined ? '; docs/configuration.md lists the settings' : `; did you mean ${prefix}${nearest}?`
    loading.mistakes.push(`${shown}: unknown setting${hint}`)
  }
}

function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(SETTINGS, key)
}

function readListenAddress(env: Environment, loading: Loading): { host: string; port: number } {
  const host = env['HOST'] || ENVIRONMENT.HOST.fallback
  const port = env['PORT'] || ENVIRONMENT.PORT.fallback
  if (!isListenHost(host)) loading.mistakes.push(`HOST: cannot use ${quote(host)}: expected an address or host name`)
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    loading.mistakes.push(`PORT: cannot use ${quote(port)}: expected a whole number from 0 to 65535`)
  }
  return { host, port: Number(port) }
}

/** Each setting by itself. A setting with a mistake is left out of the answer. */
function parseSettings(loading: Loading): Partial<SettingValues> {
  const settings: Partial<Record<SettingKey, unknown>> = {}
  for (const key of Object.keys(SETTINGS).filter(isSettingKey)) {
    const setting: Setting<unknown> = SETTINGS[key]
    const raw = loading.raw.get(key)
    const value = raw === undefined ? setting.fallback : raw.value
    if (value === undefined) continue
    const parsed = setting.value.safeParse(value)
    if (parsed.success) settings[key] = parsed.data
    else loading.mistakes.push(...describeIssues(raw?.source ?? key, value, parsed.error.issues, setting.secret))
  }
  return settings as Partial<SettingValues>
}

function describeIssues(
  source: string,
  value: unknown,
  issues: readonly z.core.$ZodIssue[],
  isSecret: boolean,
): string[] {
  return issues.slice(0, mistakesMax).map((issue) => {
    const where = [source, ...issue.path.map(String)].join('.')
    const culprit = issue.path.reduce<unknown>(
      (inner, step) => (typeof inner === 'object' && inner !== null ? Reflect.get(inner, step) : undefined),
      value,
    )
    // A map or list is long, and may hold what is secret in it.
    const isShown = !isSecret && culprit !== undefined && (typeof culprit !== 'object' || culprit === null)
    return isShown ? `${where}: cannot use ${quote(culprit)}: ${issue.message}` : `${where}: ${issue.message}`
  })
}

function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

/** The setting, or else what the environment says to every program (curl's convention). */
function readEgressProxy(env: Environment, settings: Partial<SettingValues>, loading: Loading): Config['egressProxy'] {
  if (settings.EGRESS_PROXY !== undefined) {
    return Object.freeze({ uri: settings.EGRESS_PROXY.uri, noProxy: Object.freeze(settings.EGRESS_PROXY.no_proxy) })
  }
  const uri = env['https_proxy'] || env['HTTPS_PROXY']
  if (!uri || loading.raw.has('EGRESS_PROXY')) return undefined
  if (!isProxyUri(uri)) {
    loading.mistakes.push('HTTPS_PROXY: expected http://HOST:PORT or https://HOST:PORT')
    return undefined
  }
  const noProxy = (env['no_proxy'] || env['NO_PROXY'] || '').split(/[\s,]+/).filter((host) => host !== '')
  return Object.freeze({ uri, noProxy: Object.freeze(noProxy) })
}

const TLS_PAIRS = [
  ['TLS_CERTIFICATE_FILE', 'TLS_KEY_FILE'],
  ['TLS_KEY_FILE', 'TLS_CERTIFICATE_FILE'],
] as const

/** What settings say of each other. */
function checkTogether(settings: Partial<SettingValues>, loading: Loading): void {
  const { DEFAULT_TAG_EXPIRATION: expiration, TAG_EXPIRATION_OPTIONS: options } = settings
  if (expiration !== undefined && options !== undefined && !options.includes(expiration)) {
    loading.mistakes.push(
      'DEFAULT_TAG_EXPIRATION: must be one of TAG_EXPIRATION_OPTIONS; add it there, or choose another',
    )
  }
  for (const [present, absent] of TLS_PAIRS) {
    if (loading.raw.has(present) && !loading.raw.has(absent)) {
      loading.mistakes.push(`${absent}: is missing, since ${present} is set: set both, or neither`)
    }
  }
}

type Surroundings = Pick<Config, 'host' | 'port' | 'dataFolder' | 'configFile' | 'egressProxy'>

function buildConfig(settings: SettingValues, loading: Loading, around: Surroundings): Config {
  const path = (key: SettingKey, value: string) => resolve(loading.raw.get(key)?.folder ?? '.', value)
  const { TLS_CERTIFICATE_FILE: certificate, TLS_KEY_FILE: key, DISTRIBUTED_STORAGE_CONFIG: storage } = settings
  const hasTls = certificate !== undefined && key !== undefined
  const urlScheme = settings.PREFERRED_URL_SCHEME ?? (hasTls ? 'https' : 'http')
  return Object.freeze({
    ...around,
    blobFolder: storage === undefined ? join(around.dataFolder, 'blobs') : path('DISTRIBUTED_STORAGE_CONFIG', storage),
    serverHostname: settings.SERVER_HOSTNAME ?? hostnameOf(around.host, around.port, urlScheme),
    urlScheme,
    preferredUrlScheme: settings.PREFERRED_URL_SCHEME,
    tls: hasTls
      ? Object.freeze({
          certificateFile: path('TLS_CERTIFICATE_FILE', certificate),
          keyFile: path('TLS_KEY_FILE', key),
        })
      : undefined,
    trustedProxies: Object.freeze(settings.TRUSTED_PROXIES),
    databaseUri: settings.DB_URI,
    databaseSecretKey: settings.DATABASE_SECRET_KEY,
    secretKeyFile: join(around.dataFolder, 'secret.key'),
    minimumFreeBytes: settings.MINIMUM_FREE_BYTES,
    storageLimitBytes: settings.STORAGE_LIMIT_BYTES,
    featureProxyCache: settings.FEATURE_PROXY_CACHE,
    featureProxyCacheBlobDownload: settings.FEATURE_PROXY_CACHE_BLOB_DOWNLOAD,
    featureAnonymousAccess: settings.FEATURE_ANONYMOUS_ACCESS,
    featureUserInitialize: settings.FEATURE_USER_INITIALIZE,
    featureUserCreation: settings.FEATURE_USER_CREATION,
    featureDirectLogin: settings.FEATURE_DIRECT_LOGIN,
    freshLoginSeconds: settings.FRESH_LOGIN_TIMEOUT,
    featureAppSpecificTokens: settings.FEATURE_APP_SPECIFIC_TOKENS,
    appTokenSeconds: settings.APP_SPECIFIC_TOKEN_EXPIRATION,
    featureSuperusersFullAccess: settings.FEATURE_SUPERUSERS_FULL_ACCESS,
    featureQuotaManagement: settings.FEATURE_QUOTA_MANAGEMENT,
    featureEditQuota: settings.FEATURE_EDIT_QUOTA,
    featureOrganizationAdminsEditQuota: settings.FEATURE_ORGANIZATION_ADMINS_EDIT_QUOTA,
    defaultSystemRejectQuotaBytes: settings.DEFAULT_SYSTEM_REJECT_QUOTA_BYTES || undefined,
    featureGarbageCollection: settings.FEATURE_GARBAGE_COLLECTION,
    garbageCollectionMs: settings.GARBAGE_COLLECTION_FREQUENCY * SECOND_MS,
    usageLogMs: settings.USAGE_LOG_RETENTION * SECOND_MS,
    featureChangeTagExpiration: settings.FEATURE_CHANGE_TAG_EXPIRATION,
    superUsers: Object.freeze(settings.SUPER_USERS),
    globalReadonlySuperUsers: Object.freeze(settings.GLOBAL_READONLY_SUPER_USERS),
    defaultTagExpirationSeconds: settings.DEFAULT_TAG_EXPIRATION,
    tagExpirationOptionsSeconds: Object.freeze(settings.TAG_EXPIRATION_OPTIONS),
    tokenLifetimeSeconds: settings.TOKEN_LIFETIME,
    rootOrganization: settings.ROOT_ORGANIZATION,
    ssrfAllowedHosts: Object.freeze(settings.SSRF_ALLOWED_HOSTS),
    upstreamRealmHosts: Object.freeze(settings.UPSTREAM_REALM_HOSTS),
    upstreamCredentials: credentialsOf(settings.UPSTREAM_CREDENTIALS, (value) => path('UPSTREAM_CREDENTIALS', value)),
    metricsHost: settings.METRICS_HOST,
    metricsPort: settings.METRICS_PORT,
    logLevel: settings.LOG_LEVEL,
    shutdownGraceMs: settings.SHUTDOWN_GRACE_SECONDS * SECOND_MS,
    notices: Object.freeze(loading.notices),
  })
}

/** The name that a client on this machine, or of this address, would write. */
function hostnameOf(host: string, port: number, scheme: 'http' | 'https'): string {
  const isHere = isLoopbackHost(host) || host === '0.0.0.0' || host === '::'
  const name = isHere ? 'localhost' : isIPv6(host) ? `[${host}]` : host
  return port === (scheme === 'https' ? 443 : 80) ? name : `${name}:${port}`
}
