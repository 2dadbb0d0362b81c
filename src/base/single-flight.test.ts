import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SingleFlight } from './single-flight.ts'

test('all who ask while the work is under way share one outcome, errors included', async () => {
  const flights = new SingleFlight<string>()
  let started = 0
  const { promise, reject } = Promise.withResolvers<string>()
  const work = () => {
    started += 1
    return promise
  }
  const asked = [flights.run('key', work), flights.run('key', work)]
  assert.equal(flights.has('key'), true)
  reject(new Error('no luck'))
  const outcomes = await Promise.allSettled(asked)
  assert.deepEqual(
    outcomes.map((outcome) => outcome.status),
    ['rejected', 'rejected'],
  )
  assert.equal(started, 1)
  assert.equal(await flights.run('key', async () => 'anew'), 'anew')
})
