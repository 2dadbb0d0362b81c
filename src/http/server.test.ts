import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import Fastify from 'fastify'
import { makeClientOrigin } from './client-origin.ts'
import { startServer } from './server.ts'

test('a request that names a type of a body and sends none is answered', async (t) => {
  const fastify = Fastify()
  fastify.post('/api', async ({ body }) => ({ body: body ?? 'none' }))
  await fastify.ready()
  const server = await startServer({
    host: '127.0.0.1',
    port: 0,
    tls: undefined,
    registryHandler: () => {},
    apiHandler: fastify.routing,
    origin: makeClientOrigin([]),
    observe: () => {},
    report: () => {},
  })
  t.after(() => server.close(0))
  const ask = (more: string) => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.write(`POST /api HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n${more}`)
    return text(socket)
  }
  assert.match(await ask('\r\n'), /^HTTP\/1\.1 200 .*\{"body":"none"\}$/s)
  assert.match(await ask('Content-Length: 2\r\n\r\n{}'), /\{"body":\{\}\}$/)
  assert.match(await ask('Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n'), /\{"body":\{\}\}$/)
})
