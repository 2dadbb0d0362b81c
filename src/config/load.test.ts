import assert from 'node:assert/strict'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { type Config, ConfigError, configFileBytesMax, isLoopbackHost, loadConfig } from './load.ts'

type Files = Record<string, string>

function load(env: Record<string, string> = {}, files: Files = {}): Config {
  return loadConfig({ env, readFile: (path) => files[path] })
}

/** Loads `yaml` as the file that ENTREPOT_CONFIG names. */
function loadText(yaml: string, env: Record<string, string> = {}): Config {
  return load({ ENTREPOT_CONFIG: '/etc/entrepot/config.yaml', ...env }, { '/etc/entrepot/config.yaml': yaml })
}

function mistakesOf(work: () => unknown): readonly string[] {
  try {
    work()
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    return error.mistakes
  }
  return assert.fail('there was no mistake')
}

test('with no file and no environment everything has its default', () => {
  const config = load()
  const data = resolve('./data')
  assert.deepEqual(config, {
    host: '127.0.0.1',
    port: 8080,
    dataFolder: data,
    blobFolder: join(data, 'blobs'),
    configFile: undefined,
    serverHostname: 'localhost:8080',
    urlScheme: 'http',
    preferredUrlScheme: undefined,
    tls: undefined,
    trustedProxies: [],
    databaseUri: undefined,
    databaseSecretKey: undefined,
    secretKeyFile: join(data, 'secret.key'),
    minimumFreeBytes: undefined,
    storageLimitBytes: undefined,
    featureProxyCache: true,
    featureProxyCacheBlobDownload: true,
    featureAnonymousAccess: true,
    featureUserInitialize: false,
    featureUserCreation: true,
    featureDirectLogin: true,
    freshLoginSeconds: 600,
    featureAppSpecificTokens: true,
    appTokenSeconds: undefined,
    featureSuperusersFullAccess: true,
    featureQuotaManagement: true,
    featureEditQuota: true,
    featureOrganizationAdminsEditQuota: false,
    defaultSystemRejectQuotaBytes: undefined,
    featureGarbageCollection: true,
    garbageCollectionMs: 30_000,
    usageLogMs: 90 * 86_400_000,
    featureChangeTagExpiration: true,
    superUsers: [],
    globalReadonlySuperUsers: [],
    defaultTagExpirationSeconds: 14 * 86_400,
    tagExpirationOptionsSeconds: [0, 86_400, 7 * 86_400, 14 * 86_400, 28 * 86_400],
    tokenLifetimeSeconds: 300,
    rootOrganization: undefined,
    ssrfAllowedHosts: [],
    upstreamRealmHosts: [],
    upstreamCredentials: new Map(),
    egressProxy: undefined,
    metricsHost: '127.0.0.1',
    metricsPort: 9091,
    logLevel: 'info',
    shutdownGraceMs: 30_000,
    notices: [],
  })
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.superUsers))
})

test('config.yaml in the data folder is read when it is there', () => {
  const config = load({ ENTREPOT_DATA: '/srv/entrepot' }, { '/srv/entrepot/config.yaml': 'LOG_LEVEL: debug' })
  assert.equal(config.logLevel, 'debug')
  assert.equal(config.configFile, '/srv/entrepot/config.yaml')
})

test('a file that ENTREPOT_CONFIG names and that is not there is a mistake', () => {
  assert.deepEqual(
    mistakesOf(() => load({ ENTREPOT_CONFIG: '/nowhere.yaml' })),
    ['ENTREPOT_CONFIG: there is no file /nowhere.yaml'],
  )
})

test('every setting can be overridden from the environment, and an empty variable is none', () => {
  const config = loadText('LOG_LEVEL: debug\nSUPER_USERS: [file]\nMETRICS_PORT: 1', {
    ENTREPOT_LOG_LEVEL: 'warn',
    ENTREPOT_SUPER_USERS: 'alice, bob',
    ENTREPOT_SSRF_ALLOWED_HOSTS: '["10.0.0.0/8", "registry.lan:5000"]',
    ENTREPOT_FEATURE_PROXY_CACHE: 'false',
    ENTREPOT_DISTRIBUTED_STORAGE_CONFIG: 'default: [LocalStorage, {storage_path: /mnt/blobs}]',
    ENTREPOT_DATABASE_SECRET_KEY: '0123456789012345678901234567890123456789',
    ENTREPOT_METRICS_PORT: '',
    HOST: '10.1.2.3',
    PORT: '443',
    ENTREPOT_PREFERRED_URL_SCHEME: 'https',
  })
  assert.equal(config.logLevel, 'warn')
  assert.deepEqual(config.superUsers, ['alice', 'bob'])
  assert.deepEqual(config.ssrfAllowedHosts, ['10.0.0.0/8', 'registry.lan:5000'])
  assert.equal(config.featureProxyCache, false)
  assert.equal(config.blobFolder, '/mnt/blobs')
  assert.equal(config.databaseSecretKey, '0123456789012345678901234567890123456789', 'digits are not rounded')
  assert.equal(config.metricsPort, 1)
  assert.equal(config.serverHostname, '10.1.2.3', 'the usual port is left out')
})

test('all mistakes are told at once, by key, in file and environment alike', () => {
  const mistakes = mistakesOf(() =>
    loadText(
      `FEATURE_PROXY_CACHE: yes please
METRICS_PORT: 70000
SSRF_ALLOWED_HOSTS: [ok.example, "http://no.example", 10.0.0.0/33]
DEFAULT_TAG_EXPIRATION: 3w
TLS_KEY_FILE: key.pem
MINIMUM_FREE_BYTES: lots
HOST: 0.0.0.0`,
      { PORT: 'http', ENTREPOT_LOG_LEVEL: 'loud' },
    ),
  )
  assert.deepEqual(mistakes, [
    'HOST: is set in the environment, not in the file',
    'PORT: cannot use "http": expected a whole number from 0 to 65535',
    'MINIMUM_FREE_BYTES: cannot use "lots": expected a number of bytes, or a size such as 500 MB or 2 GiB',
    'FEATURE_PROXY_CACHE: cannot use "yes please": expected true or false',
    'SSRF_ALLOWED_HOSTS.1: cannot use "http://no.example": expected a host, HOST:PORT or CIDR block',
    'SSRF_ALLOWED_HOSTS.2: cannot use "10.0.0.0/33": expected a host, HOST:PORT or CIDR block',
    'METRICS_PORT: cannot use 70000: expected a whole number from 0 to 65535',
    'ENTREPOT_LOG_LEVEL: cannot use "loud": expected one of debug, info, warn, error, silent',
    'DEFAULT_TAG_EXPIRATION: must be one of TAG_EXPIRATION_OPTIONS; add it there, or choose another',
    'TLS_CERTIFICATE_FILE: is missing, since TLS_KEY_FILE is set: set both, or neither',
  ])
})

test('an unknown key is named, with the key that was meant', () => {
  const mistakes = mistakesOf(() =>
    loadText('FEATURE_PROXY_CACH: true\nsuper_users: []\nCOLOUR: red\n"bad\\nkey": 1', {
      ENTREPOT_FEATURE_ANONYMUS_ACCESS: 'false',
    }),
  )
  assert.deepEqual(mistakes, [
    'FEATURE_PROXY_CACH: unknown setting; did you mean FEATURE_PROXY_CACHE?',
    'super_users: unknown setting; did you mean SUPER_USERS?',
    'COLOUR: unknown setting; docs/configuration.md lists the settings',
    '"bad\\nkey": unknown setting; docs/configuration.md lists the settings',
    'ENTREPOT_FEATURE_ANONYMUS_ACCESS: unknown setting; did you mean ENTREPOT_FEATURE_ANONYMOUS_ACCESS?',
  ])
})

test('the variables that Kubernetes sets for a service named entrepot are no settings', () => {
  const env = { ENTREPOT_PORT: 'tcp://10.0.0.1:80', ENTREPOT_PORT_80_TCP_ADDR: '10.0.0.1', ENTREPOT_SERVICE_HOST: 'x' }
  assert.equal(load(env).port, 8080)
})

test("Quay's keys that mean nothing here are accepted, each with one notice", () => {
  const config = loadText('FEATURE_MAILING: true\nBUILDLOGS_REDIS: {host: redis, password: hunter2}')
  assert.deepEqual(config.notices, [
    'FEATURE_MAILING: a setting of Quay that has no effect yet',
    'BUILDLOGS_REDIS: a setting of Quay that has no meaning here',
  ])
})

test('no mistake repeats a secret', () => {
  const yaml = `DB_URI: mysql://root:hunter2@db/quay
DATABASE_SECRET_KEY: 4815162342
EGRESS_PROXY: {uri: "socks://u:hunter2@proxy", hunter2: 1}
UPSTREAM_CREDENTIALS: {hub: {username: hunter2, password: hunter2}, ecr: {username: a, password_command: [[hunter2]]}}`
  const mistakes = mistakesOf(() => loadText(yaml, { HTTPS_PROXY: 'hunter2' }))
  assert.ok(mistakes.length >= 5, mistakes.join('\n'))
  assert.doesNotMatch(mistakes.join('\n'), /hunter2|4815162342/)
  assert.match(mistakes.join('\n'), /DATABASE_SECRET_KEY: expected text; put it in quotes/)
  for (const broken of [
    'A: "hunter2',
    'A: *hunter2',
    'A: hunter2: b',
    'A: [hunter2',
    'A:\n\thunter2',
    'hunter2: 1\nhunter2: 2',
  ]) {
    assert.doesNotMatch(mistakesOf(() => loadText(broken)).join('\n'), /hunter2/, broken)
  }
})

test('broken YAML is told with its line', () => {
  const [mistake] = mistakesOf(() => loadText('LOG_LEVEL: info\nLOG_LEVEL: warn\n'))
  assert.equal(mistake, '/etc/entrepot/config.yaml: line 2, column 1: this key stands twice')
  assert.match(mistakesOf(() => loadText('- a\n- b')).join(), /expected a map of settings/)
})

test('a hostile file costs neither memory nor time', () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\n${[...'bcdefghij']
    .map((name, index) => `${name}: &${name} [${Array(10).fill(`*${'abcdefghi'[index]}`).join()}]`)
    .join('\n')}`
  assert.match(mistakesOf(() => loadText(bomb)).join(), /refer to each other too often/)
  assert.ok(mistakesOf(() => loadText('['.repeat(200_000))).length > 0)
  const many = Array.from({ length: 20_000 }, (_, index) => `FEATURE_PROXY_CACHE_${index}: 1`).join('\n')
  assert.equal(mistakesOf(() => loadText(many)).at(-1), 'and 19900 more')
  assert.match(mistakesOf(() => loadText(' '.repeat(configFileBytesMax + 1))).join(), /larger than 1048576 bytes/)
})

test('a polluting key changes nothing', () => {
  assert.deepEqual(mistakesOf(() => loadText('__proto__: {LOG_LEVEL: debug}\nconstructor: 1')).length, 2)
  assert.equal(loadText('UPSTREAM_CREDENTIALS: {}').upstreamCredentials.get('constructor'), undefined)
})

test('relative paths start at the folder of the file', () => {
  const config = loadText(`TLS_CERTIFICATE_FILE: tls.crt
TLS_KEY_FILE: /keys/tls.key
UPSTREAM_CREDENTIALS:
  ecr: {registry: 1.dkr.ecr.example, username: AWS, password_command: [aws, ecr, get-login-password]}
  quay: {registry: quay.io, username: bot, password_file: quay.txt}`)
  assert.deepEqual(config.tls, { certificateFile: '/etc/entrepot/tls.crt', keyFile: '/keys/tls.key' })
  assert.equal(config.urlScheme, 'https')
  const careful = { insecure: false, organizationCa: false }
  assert.deepEqual(
    [...config.upstreamCredentials],
    [
      [
        'ecr',
        {
          ...{ kind: 'command', registry: '1.dkr.ecr.example', username: 'AWS', ...careful },
          passwordCommand: ['aws', 'ecr', 'get-login-password'],
        },
      ],
      [
        'quay',
        { kind: 'file', registry: 'quay.io', username: 'bot', passwordFile: '/etc/entrepot/quay.txt', ...careful },
      ],
    ],
  )
})

test('only the operator lets a password go over plain HTTP, or over TLS with the organization’s own certificate', () => {
  const row = 'registry: r.example, username: u, password_file: p'
  const { upstreamCredentials } = loadText(
    `UPSTREAM_CREDENTIALS: {hub: {${row}, insecure: true, organization_ca: true}}`,
  )
  const { insecure, organizationCa } = upstreamCredentials.get('hub') ?? assert.fail()
  assert.deepEqual([insecure, organizationCa], [true, true])
  assert.match(
    mistakesOf(() => loadText(`UPSTREAM_CREDENTIALS: {hub: {${row}, insecure: 1}}`)).join(),
    /UPSTREAM_CREDENTIALS\.hub\.insecure: expected true or false/,
  )
})

test('only one local storage is accepted, and others are refused by name', () => {
  const s3 = 'DISTRIBUTED_STORAGE_CONFIG: {default: [RadosGWStorage, {secret_key: hunter2}]}'
  const two =
    'DISTRIBUTED_STORAGE_CONFIG: {a: [LocalStorage, {storage_path: /a}], b: [LocalStorage, {storage_path: /b}]}'
  for (const yaml of [s3, two, 'DISTRIBUTED_STORAGE_CONFIG: 1', 'DISTRIBUTED_STORAGE_CONFIG: {a: [LocalStorage]}']) {
    assert.match(mistakesOf(() => loadText(yaml)).join(), /other kinds of storage are not supported yet/)
  }
})

test('the egress proxy comes from the setting, else from the environment', () => {
  const env = { HTTPS_PROXY: 'http://proxy:3128', NO_PROXY: 'localhost, .lan' }
  assert.deepEqual(load(env).egressProxy, { uri: 'http://proxy:3128', noProxy: ['localhost', '.lan'] })
  const yaml = 'EGRESS_PROXY: {uri: "http://other:1"}'
  assert.deepEqual(loadText(yaml, env).egressProxy, { uri: 'http://other:1', noProxy: [] })
})

test('durations and sizes are read as Quay and people write them', () => {
  const config = loadText('TOKEN_LIFETIME: 10m\nMINIMUM_FREE_BYTES: 1.5 GiB')
  assert.equal(config.tokenLifetimeSeconds, 600)
  assert.equal(config.minimumFreeBytes, 1.5 * 1024 ** 3)
  assert.equal(loadText('MINIMUM_FREE_BYTES: 500 MB').minimumFreeBytes, 500_000_000)
  for (const wrong of ['TOKEN_LIFETIME: 1s', 'TOKEN_LIFETIME: -1', 'TOKEN_LIFETIME: 1y', 'MINIMUM_FREE_BYTES: 1 QB']) {
    assert.equal(mistakesOf(() => loadText(wrong)).length, 1, wrong)
  }
})

test('limits of space are sizes, and nothing that would refuse everything', () => {
  const config = loadText(
    'DEFAULT_SYSTEM_REJECT_QUOTA_BYTES: 10 GiB\nSTORAGE_LIMIT_BYTES: 1 TB\nGARBAGE_COLLECTION_FREQUENCY: 5',
  )
  assert.equal(config.defaultSystemRejectQuotaBytes, 10 * 1024 ** 3)
  assert.equal(config.storageLimitBytes, 1e12)
  assert.equal(config.garbageCollectionMs, 5000)
  assert.equal(loadText('DEFAULT_SYSTEM_REJECT_QUOTA_BYTES: 0').defaultSystemRejectQuotaBytes, undefined)
  const wrong = [
    'STORAGE_LIMIT_BYTES: 0',
    'STORAGE_LIMIT_BYTES: 8 PiB',
    'STORAGE_LIMIT_BYTES: -1',
    'STORAGE_LIMIT_BYTES: 1.5',
  ]
  for (const yaml of [...wrong, 'GARBAGE_COLLECTION_FREQUENCY: 0', 'GARBAGE_COLLECTION_FREQUENCY: 30s']) {
    assert.equal(mistakesOf(() => loadText(yaml)).length, 1, yaml)
  }
})

test('loopback is told from the rest', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) assert.ok(isLoopbackHost(host), host)
  for (const host of ['0.0.0.0', '::', '127.evil.example', '10.0.0.1']) assert.ok(!isLoopbackHost(host), host)
})
