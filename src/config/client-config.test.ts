import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientConfigOf } from './client-config.ts'
import { loadConfig } from './load.ts'
import { SETTINGS } from './schema.ts'

test('what a browser is told has Quay’s forms', () => {
  const { config, features } = clientConfigOf(loadConfig({ env: {}, readFile: () => undefined }))
  assert.deepEqual(config['TAG_EXPIRATION_OPTIONS'], ['0s', '1d', '1w', '2w', '4w'])
  assert.equal(config['DEFAULT_TAG_EXPIRATION'], '2w')
  assert.equal(config['FRESH_LOGIN_TIMEOUT'], '10m')
  assert.equal(features['PROXY_CACHE'], true)
})

test('a browser is told no secret, no path and no address, whatever is configured', () => {
  const yaml = `DB_URI: postgresql://mark-user:mark-password@mark-host/mark-database
DATABASE_SECRET_KEY: mark-secret-key
EGRESS_PROXY: {uri: "http://u:mark-proxy@mark-proxy-host:3128", no_proxy: [mark-no-proxy]}
UPSTREAM_CREDENTIALS: {hub: {registry: docker.io, username: mark-name, password_file: mark-file}}
DISTRIBUTED_STORAGE_CONFIG: {default: [LocalStorage, {storage_path: mark-storage}]}
TLS_CERTIFICATE_FILE: mark-certificate
TLS_KEY_FILE: mark-key
SUPER_USERS: [mark-superuser]
GLOBAL_READONLY_SUPER_USERS: [mark-reader]
SSRF_ALLOWED_HOSTS: [mark-allowed]
UPSTREAM_REALM_HOSTS: [mark-realm]
TRUSTED_PROXIES: [192.0.2.77]
METRICS_HOST: 192.0.2.78`
  const config = loadConfig({ env: { ENTREPOT_DATA: '/mark-data' }, readFile: () => yaml })
  const told = clientConfigOf(config)
  assert.doesNotMatch(JSON.stringify(told), /mark-|192\.0\.2/)
  for (const [key, setting] of Object.entries(SETTINGS)) {
    if (setting.secret) assert.equal(Object.hasOwn(told.config, key), false, key)
  }
})
