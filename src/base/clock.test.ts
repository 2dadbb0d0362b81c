import assert from 'node:assert/strict'
import { test } from 'node:test'
import { monotonicMs, systemClock } from './clock.ts'

test('the system clock tells milliseconds since the epoch', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_234_567 })
  assert.equal(systemClock(), 1_234_567)
})

test('durations are not changed by somebody who sets the clock back', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 5_000_000 })
  const before = monotonicMs()
  t.mock.timers.setTime(0)
  assert.ok(monotonicMs() >= before)
})
