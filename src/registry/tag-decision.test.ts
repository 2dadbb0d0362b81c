import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DAY_MS, MINUTE_MS, SECOND_MS } from '../base/units.ts'
import type { UpstreamFailure } from '../errors.ts'
import {
  copyState,
  expiryAfterUse,
  firstStep,
  mayBeStale,
  renewedExpiry,
  staleReasonAfter,
  type TagCopy,
  type TagPolicy,
} from './tag-decision.ts'

const nowMs = 1_800_000_000_000
const policy: TagPolicy = {
  expirationMs: DAY_MS,
  revalidateAfterMs: 0,
  maxStaleMs: undefined,
  refuseWhenDenied: false,
  windowMs: 14 * DAY_MS,
  renews: true,
}
const alive: TagCopy = { confirmedAtMs: nowMs - MINUTE_MS, expiresAtMs: nowMs + 1 }
const kept: TagCopy = { confirmedAtMs: nowMs - DAY_MS, expiresAtMs: nowMs }
const gone: TagCopy = { confirmedAtMs: nowMs - 20 * DAY_MS, expiresAtMs: nowMs - 14 * DAY_MS }
const up = { nowMs, isDown: false, canAsk: true }

test('a tag is alive until its expiry, kept for the window after it, and then nothing', () => {
  assert.equal(copyState(alive, policy, nowMs), 'alive')
  assert.equal(copyState({ ...alive, expiresAtMs: undefined }, policy, nowMs), 'alive')
  assert.equal(copyState(kept, policy, nowMs), 'kept')
  assert.equal(copyState(gone, policy, nowMs), 'none')
  assert.equal(copyState(undefined, policy, nowMs), 'none')
})

test('the upstream is not asked while an alive copy is younger than revalidate_after_s', () => {
  const lazy = { ...policy, revalidateAfterMs: 2 * MINUTE_MS }
  assert.deepEqual(firstStep(alive, lazy, up), { kind: 'hit' })
  assert.deepEqual(firstStep(alive, policy, up), { kind: 'ask', isPatient: false })
  assert.deepEqual(firstStep({ ...kept, confirmedAtMs: nowMs }, lazy, up), { kind: 'ask', isPatient: false })
  const old = { ...alive, confirmedAtMs: nowMs - 2 * MINUTE_MS }
  assert.deepEqual(firstStep(old, lazy, up), { kind: 'ask', isPatient: false })
})

test('a question is waited for when there is nothing to fall back on', () => {
  assert.deepEqual(firstStep(undefined, policy, up), { kind: 'ask', isPatient: true })
  assert.deepEqual(firstStep(gone, policy, up), { kind: 'ask', isPatient: true })
  const strict = { ...policy, maxStaleMs: 30 * SECOND_MS }
  assert.deepEqual(firstStep(alive, strict, up), { kind: 'ask', isPatient: true })
})

test('while the upstream is down a copy is served at once and a miss is still tried', () => {
  const down = { ...up, isDown: true }
  assert.deepEqual(firstStep(alive, policy, down), { kind: 'stale', reason: 'down' })
  assert.deepEqual(firstStep(kept, policy, down), { kind: 'stale', reason: 'down' })
  assert.deepEqual(firstStep(undefined, policy, down), { kind: 'ask', isPatient: true })
})

test('with nobody to ask, what is alive is a hit and all else is unknown', () => {
  const frozen = { ...up, canAsk: false }
  assert.deepEqual(firstStep(alive, policy, frozen), { kind: 'hit' })
  assert.deepEqual(firstStep(kept, policy, frozen), { kind: 'unknown' })
  assert.deepEqual(firstStep(undefined, policy, frozen), { kind: 'unknown' })
})

const NOTHING_USABLE: UpstreamFailure[] = ['unreachable', 'timeout', 'rate_limited', 'server_error', 'protocol']

for (const failure of NOTHING_USABLE) {
  test(`${failure}: an alive or kept copy is served stale within max_stale_s, and not beyond it`, () => {
    assert.equal(staleReasonAfter(failure, alive, policy, nowMs), failure)
    assert.equal(staleReasonAfter(failure, kept, policy, nowMs), failure)
    assert.equal(staleReasonAfter(failure, gone, policy, nowMs), undefined)
    assert.equal(staleReasonAfter(failure, undefined, policy, nowMs), undefined)
    const strict = { ...policy, maxStaleMs: MINUTE_MS }
    assert.equal(staleReasonAfter(failure, alive, strict, nowMs), failure)
    assert.equal(
      staleReasonAfter(failure, { ...alive, confirmedAtMs: nowMs - MINUTE_MS - 1 }, strict, nowMs),
      undefined,
    )
  })
}

test('gone upstream: an alive copy is served, a kept one is not', () => {
  assert.equal(staleReasonAfter('not_found', alive, policy, nowMs), 'gone')
  assert.equal(staleReasonAfter('not_found', kept, policy, nowMs), undefined)
})

test('denied: an alive copy is served unless the policy refuses with the upstream; a kept one never is', () => {
  assert.equal(staleReasonAfter('denied', alive, policy, nowMs), 'denied')
  assert.equal(staleReasonAfter('denied', alive, { ...policy, refuseWhenDenied: true }, nowMs), undefined)
  assert.equal(staleReasonAfter('denied', kept, policy, nowMs), undefined)
})

test('max_stale_s counts from the last confirmation', () => {
  const strict = { ...policy, maxStaleMs: MINUTE_MS }
  assert.equal(mayBeStale(alive, strict, nowMs), true)
  assert.equal(mayBeStale(alive, strict, nowMs + 1), false)
})

test('a pull renews the expiry by expiration_s, and an expiration of 0 is for ever', () => {
  assert.equal(renewedExpiry(policy, nowMs), nowMs + DAY_MS)
  assert.equal(renewedExpiry({ ...policy, expirationMs: undefined }, nowMs), undefined)
})

test('a pull lets an expiry grow, for ever stays, and what was set by hand gives way to it', () => {
  const renewed = nowMs + DAY_MS
  const cases: [expiresAtMs: number | undefined, isExpirySet: boolean, after: number | undefined][] = [
    [nowMs, false, renewed],
    [renewed + 1, false, renewed + 1],
    [undefined, false, undefined],
    [renewed + 1, true, renewed],
    [nowMs + 1, true, renewed],
  ]
  for (const [expiresAtMs, isExpirySet, after] of cases) {
    assert.equal(expiryAfterUse({ expiresAtMs, isExpirySet }, policy, nowMs), after)
  }
  const forEver = { ...policy, expirationMs: undefined }
  assert.equal(expiryAfterUse({ expiresAtMs: nowMs, isExpirySet: true }, forEver, nowMs), undefined)
})
