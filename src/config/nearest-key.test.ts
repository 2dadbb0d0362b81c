import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nearestKey } from './nearest-key.ts'

const KNOWN = ['DB_URI', 'SUPER_USERS', 'FEATURE_PROXY_CACHE', 'FEATURE_PROXY_CACHE_BLOB_DOWNLOAD']

test('the nearest key is found, whatever its case', () => {
  assert.equal(nearestKey('DB_URL', KNOWN), 'DB_URI')
  assert.equal(nearestKey('superusers', KNOWN), 'SUPER_USERS')
  assert.equal(nearestKey('FEATURE_PROXY_CACHES', KNOWN), 'FEATURE_PROXY_CACHE')
})

test('what resembles nothing has no nearest key', () => {
  assert.equal(nearestKey('COLOUR', KNOWN), undefined)
  assert.equal(nearestKey('', KNOWN), undefined)
  assert.equal(nearestKey('A'.repeat(100_000), KNOWN), undefined)
})
