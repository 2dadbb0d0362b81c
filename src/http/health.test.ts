import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import { checkHealth, registerHealth } from './health.ts'

const yes = async () => true

test('healthy is 200, one failing part is 503 and named', async () => {
  assert.deepEqual(await checkHealth({ database: yes, disk_space: yes }), {
    data: { services: { database: true, disk_space: true } },
    status_code: 200,
  })
  const failing = () => Promise.reject(new Error('locked'))
  assert.deepEqual(await checkHealth({ database: failing, disk_space: yes }), {
    data: { services: { database: false, disk_space: true } },
    status_code: 503,
  })
})

test('a part that hangs has failed', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const report = checkHealth({ database: () => new Promise<boolean>(() => {}) })
  t.mock.timers.tick(5_000)
  assert.equal((await report).status_code, 503)
})

test('it is served where Quay serves it', async (t) => {
  const fastify = Fastify()
  t.after(() => fastify.close())
  let works = true
  registerHealth(fastify, { database: async () => works })
  for (const url of ['/health', '/health/instance']) {
    assert.equal((await fastify.inject(url)).statusCode, 200)
  }
  works = false
  const answer = await fastify.inject('/health/instance')
  assert.deepEqual([answer.statusCode, answer.json().status_code], [503, 503])
})
