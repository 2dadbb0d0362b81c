import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { mock, test } from 'node:test'
import { afterMs, delayMs, everyMs, timerMsMax } from './timers.ts'

mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })

test('work is done once, when its time has come', () => {
  const work = mock.fn()
  afterMs(100, work)
  mock.timers.tick(99)
  assert.equal(work.mock.callCount(), 0)
  mock.timers.tick(1)
  mock.timers.tick(1000)
  assert.equal(work.mock.callCount(), 1)
})

test('a cancelled timer never fires, and may be cancelled twice', () => {
  const work = mock.fn()
  const timer = afterMs(100, work)
  timer.cancel()
  timer.cancel()
  mock.timers.tick(1000)
  assert.equal(work.mock.callCount(), 0)
})

test('work is repeated until it is cancelled', () => {
  const work = mock.fn()
  const timer = everyMs(100, work)
  mock.timers.tick(350)
  timer.cancel()
  mock.timers.tick(1000)
  assert.equal(work.mock.callCount(), 3)
})

test('a delay resolves when its time has come, and leaves no listener on the signal', async () => {
  const { signal } = new AbortController()
  const delay = delayMs(50, { signal })
  mock.timers.tick(50)
  await delay
  assert.equal(getEventListeners(signal, 'abort').length, 0)
})

test('an aborted delay rejects at once with the reason', async () => {
  const controller = new AbortController()
  const delay = delayMs(50, { signal: controller.signal })
  controller.abort(new Error('the server stops'))
  await assert.rejects(delay, /the server stops/)
  await assert.rejects(delayMs(50, { signal: controller.signal }), /the server stops/)
})

test('a delay that Node would cut to nothing is refused', () => {
  for (const ms of [timerMsMax + 1, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => afterMs(ms, () => {}), RangeError)
    assert.throws(() => everyMs(ms, () => {}), RangeError)
  }
})
