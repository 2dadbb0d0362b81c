import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EXPIRATION_S, keep, startWithRepository } from '../../test/api/cached-repository.ts'
import { makeImage } from '../../test/contracts/metadata-case.ts'
import { runDueJobs } from './collector-jobs.ts'

test('an expiration that is changed by the API applies to what is cached, in the order of the changes', async (t) => {
  const cached = await startWithRepository(t)
  const { api } = cached
  for (let count = 0; count < 3; count++) await keep(cached, makeImage([]), [`t${count}`])
  const change = async (expiration_s: number) => {
    const path = '/api/v1/organization/cache/proxycache'
    const answer = await api.send({ method: 'PUT', path, as: 'owner', body: { expiration_s } })
    assert.equal(answer.statusCode, 200, answer.body)
  }
  const ends = async () => {
    const answer = await api.send({ method: 'GET', path: `${cached.path}/tag/`, as: 'owner' })
    return answer.json().tags.map((tag: { end_ts?: number }) => tag.end_ts)
  }
  const forgotten: string[] = []
  const steps: string[] = []
  const run = () =>
    runDueJobs({
      metadata: api.metadata,
      clock: () => api.time.nowMs,
      report: (event) => assert.fail(event),
      writeUses: async () => void steps.push('uses'),
      onTagsChanged: (_repositoryId, names) => forgotten.push(...names),
    })
  const start = api.time.nowMs / 1000
  api.time.nowMs += 1000
  await change(EXPIRATION_S)
  await run()
  assert.deepEqual(steps, [], 'nothing has changed')
  await change(2 * EXPIRATION_S)
  await change(0)
  await change(3600)
  await run()
  await run()
  await run()
  assert.deepEqual(await ends(), Array(3).fill(start + 3600))
  assert.deepEqual(new Set(forgotten), new Set(['t0', 't1', 't2']))
  assert.deepEqual(await api.metadata.db.selectFrom('job').select('id').execute(), [])
})
