import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApi } from '../../../test/api/start-api.ts'

const path = '/api/v1/superuser/verification'

test('superusers alone start, watch and cancel a verification, one at a time', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  for (const username of ['ann', 'auditor']) await api.createUser(username)
  for (const method of ['POST', 'GET', 'DELETE'] as const) {
    assert.equal((await api.send({ method, path })).statusCode, 401, method)
    for (const as of ['ann', 'auditor']) assert.equal((await api.send({ method, path, as })).statusCode, 403, as)
  }
  assert.deepEqual(api.verifications, [])
  const body = { sample_percent: 0.5, repair: false }
  const started = await api.send({ method: 'POST', path, as: 'admin', body })
  assert.deepEqual([started.statusCode, started.json().state], [202, 'idle'])
  assert.deepEqual(api.verifications, [{ samplePercent: 0.5, repairs: false }])
  const second = await api.send({ method: 'POST', path, as: 'admin' })
  assert.equal(second.statusCode, 409)
  assert.match(second.json().detail, /running/)
  assert.equal((await api.send({ method: 'DELETE', path, as: 'admin' })).statusCode, 204)
  assert.equal((await api.send({ method: 'POST', path, as: 'admin' })).statusCode, 202)
  assert.deepEqual(api.verifications, [{ samplePercent: 100, repairs: true }])
})
