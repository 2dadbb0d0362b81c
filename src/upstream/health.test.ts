import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UpstreamError } from '../errors.ts'
import { UpstreamHealth } from './health.ts'
import { UPSTREAM_LIMITS } from './limits.ts'

const OUTAGE = new UpstreamError('timeout', 'quay.io', 'quay.io did not answer', { outage: true })
const REFUSAL = new UpstreamError('denied', 'quay.io', 'quay.io refuses')

function start() {
  const now = { ms: 1_000_000 }
  const changes: unknown[][] = []
  const scheduled: { ms: number; work: () => void }[] = []
  const probes: (() => void)[] = []
  const health = new UpstreamHealth({
    clock: () => now.ms,
    limits: UPSTREAM_LIMITS,
    schedule: (ms, work) => {
      const entry = { ms, work }
      scheduled.push(entry)
      return () => void scheduled.splice(scheduled.indexOf(entry), 1)
    },
    probe: () => new Promise((resolve) => probes.push(resolve)),
    onChange: (...change) => changes.push(change),
  })
  const fail = (ms: number) => {
    now.ms += ms
    health.failed(OUTAGE)
  }
  return { now, health, changes, scheduled, probes, fail }
}

test('three outages in a row are down only over at least 3 s', () => {
  const { health, changes, fail, now } = start()
  for (const ms of [0, 0, 2999]) fail(ms)
  assert.equal(health.availability, 'up')
  fail(1)
  assert.equal(health.availability, 'down')
  assert.equal(health.sinceMs, now.ms)
  assert.deepEqual(changes, [['down', OUTAGE.message]])
  assert.deepEqual(health.lastError, { message: OUTAGE.message, atMs: now.ms })
})

test('two outages, however far apart, are not down', () => {
  const { health, fail } = start()
  for (const ms of [0, 60_000]) fail(ms)
  assert.equal(health.availability, 'up')
})

test('an answer in between begins the count anew', () => {
  const { health, fail } = start()
  for (const ms of [0, 2000]) fail(ms)
  health.answered()
  for (const ms of [2000, 2000]) fail(ms)
  assert.equal(health.availability, 'up')
})

test('refusals are answers: they never count', () => {
  const { health, now } = start()
  for (let count = 0; count < 5; count += 1) {
    now.ms += 2000
    health.failed(REFUSAL)
  }
  assert.equal(health.availability, 'up')
})

test('while it is down it is asked every 10 s, one question at a time, until it answers', async () => {
  const { health, scheduled, probes, fail, changes } = start()
  for (const ms of [0, 2000, 2000]) fail(ms)
  assert.deepEqual(
    scheduled.map(({ ms }) => ms),
    [10_000],
  )
  scheduled.shift()?.work()
  assert.equal(probes.length, 1)
  assert.equal(scheduled.length, 0)
  fail(0)
  probes.shift()?.()
  await new Promise<void>((resolve) => setImmediate(resolve))
  assert.equal(scheduled.length, 1)

  health.answered()
  assert.equal(health.availability, 'up')
  assert.equal(scheduled.length, 0)
  assert.deepEqual(changes.at(-1), ['up', undefined])
})

test('a clock that is set back does not keep it up for ever', () => {
  const { health, fail } = start()
  fail(0)
  for (const ms of [-500_000, 2000, 2000]) fail(ms)
  assert.equal(health.availability, 'down')
})

test('after closing nothing is scheduled', () => {
  const { health, scheduled, fail } = start()
  for (const ms of [0, 2000, 2000]) fail(ms)
  health.close()
  assert.equal(scheduled.length, 0)
  fail(1)
  assert.equal(scheduled.length, 0)
})
