import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UPSTREAM_LIMITS } from './limits.ts'
import { parseRateLimit, parseRetryAfter, RateGate } from './rate-gate.ts'

const NOW_MS = Date.UTC(2027, 0, 15, 12, 0, 0)

const RETRY_AFTER: [header: string | undefined, ms: number][] = [
  ['120', 120_000],
  [' 5 ', 5000],
  ['0', 1000],
  ['Fri, 15 Jan 2027 12:00:30 GMT', 30_000],
  ['Fri, 15 Jan 2027 11:00:00 GMT', 1000],
  ['999999', UPSTREAM_LIMITS.retryAfterMaxMs],
  [undefined, UPSTREAM_LIMITS.retryAfterDefaultMs],
  ['', UPSTREAM_LIMITS.retryAfterDefaultMs],
  ['soon', UPSTREAM_LIMITS.retryAfterDefaultMs],
  ['-5', UPSTREAM_LIMITS.retryAfterDefaultMs],
  ['1e3', UPSTREAM_LIMITS.retryAfterDefaultMs],
  ['2027', 2_027_000],
]

for (const [header, ms] of RETRY_AFTER) {
  test(`Retry-After "${header}" is ${ms} ms`, () => {
    assert.equal(parseRetryAfter(header, NOW_MS, UPSTREAM_LIMITS), ms)
  })
}

test('a closed gate refuses until its time, and is not opened by a shorter wish', () => {
  let nowMs = NOW_MS
  const gate = new RateGate(() => nowMs, 'quay.io')
  gate.pass()
  gate.close(10_000)
  gate.close(1000)
  assert.throws(() => gate.pass(), { failure: 'rate_limited', host: 'quay.io', retryAfterMs: 10_000, outage: false })
  assert.equal(gate.closedUntilMs(), NOW_MS + 10_000)
  nowMs += 10_000
  gate.pass()
  assert.equal(gate.closedUntilMs(), undefined)
})

test('the remaining rate limit is read in the forms of Docker Hub and of GitHub', () => {
  assert.deepEqual(parseRateLimit({ 'ratelimit-remaining': '76;w=21600', 'ratelimit-limit': '100;w=21600' }), {
    limit: 100,
    remaining: 76,
  })
  assert.deepEqual(parseRateLimit({ 'x-ratelimit-remaining': '5' }), { limit: undefined, remaining: 5 })
  assert.equal(parseRateLimit({}), undefined)
  assert.equal(parseRateLimit({ 'ratelimit-remaining': 'many' }), undefined)
})
