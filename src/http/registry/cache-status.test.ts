import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Outcome, StaleReason } from '../../registry/served.ts'
import { chooseCacheControl, formatAge, formatCacheStatus } from './cache-status.ts'

const provenance = (outcome: Outcome, staleReason?: StaleReason) => ({
  outcome,
  staleReason,
  confirmedAtMs: 10_000,
  upstreamMs: 0,
})

test('each outcome has its words of RFC 9211', () => {
  assert.equal(formatCacheStatus(provenance('hit')), 'entrepot; hit')
  assert.equal(formatCacheStatus(provenance('revalidated')), 'entrepot; fwd=stale; detail=revalidated')
  assert.equal(formatCacheStatus(provenance('miss')), 'entrepot; fwd=miss; detail=miss')
})

test('a stale answer says why; a known outage is not asked again', () => {
  assert.equal(formatCacheStatus(provenance('stale', 'timeout')), 'entrepot; fwd=stale; detail="stale: timeout"')
  assert.equal(formatCacheStatus(provenance('stale', 'down')), 'entrepot; hit; detail="stale: down"')
})

test('the age is in whole seconds and never negative', () => {
  assert.equal(formatAge(provenance('hit'), 12_999), '2')
  assert.equal(formatAge(provenance('hit'), 5_000), '0')
})

test('only anonymous answers may be kept by others', () => {
  assert.equal(chooseCacheControl(false, true), 'private')
  assert.equal(chooseCacheControl(true, true), 'public, max-age=31536000, immutable')
  assert.equal(chooseCacheControl(true, false), 'no-cache')
})
