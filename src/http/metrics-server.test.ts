import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startMetricsServer } from './metrics-server.ts'

test('it serves the metrics and nothing else', async (t) => {
  let render = async () => 'up 1\n'
  const server = await startMetricsServer({
    host: '127.0.0.1',
    port: 0,
    render: () => render(),
    contentType: 'text/plain; version=0.0.4',
  })
  t.after(() => server.close())
  const answer = await fetch(server.url)
  assert.deepEqual([answer.status, await answer.text()], [200, 'up 1\n'])
  assert.equal((await fetch(new URL('/other', server.url))).status, 404)
  assert.equal((await fetch(server.url, { method: 'POST' })).status, 405)
  render = () => Promise.reject(new Error('secret'))
  const failed = await fetch(server.url)
  assert.deepEqual([failed.status, (await failed.text()).includes('secret')], [500, false])
})

test('a port that is taken is an error', async (t) => {
  const options = { host: '127.0.0.1', port: 0, render: async () => '', contentType: 'text/plain' }
  const first = await startMetricsServer(options)
  t.after(() => first.close())
  await assert.rejects(startMetricsServer({ ...options, port: Number(new URL(first.url).port) }), {
    code: 'EADDRINUSE',
  })
})
