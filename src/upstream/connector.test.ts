import assert from 'node:assert/strict'
import { type AddressInfo, createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { AddressPolicy } from './address-policy.ts'
import { createConnector } from './connector.ts'

type Listener = { port: number; connections: () => number; bytes: () => number }

async function listen(t: TestContext, host: string): Promise<Listener | undefined> {
  let [connections, bytes] = [0, 0]
  const server = createServer((socket) => {
    connections += 1
    socket.on('data', (data) => {
      bytes += data.length
    })
    socket.on('error', () => {})
  })
  const isListening = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false)) // A machine without IPv6.
    server.listen(0, host, () => resolve(true))
  })
  if (!isListening) return undefined
  t.after(() => server.close())
  return { port: (server.address() as AddressInfo).port, connections: () => connections, bytes: () => bytes }
}

function connect(host: string, port: number, allowed: readonly string[], protocol = 'http:'): Promise<Error | null> {
  const target = { host: host.replace(/^\[|\]$/g, ''), port }
  const policy = new AddressPolicy(allowed)
  const connector = createConnector({ policy, target, timeoutMs: 1000, ca: undefined, onSocket: () => {} })
  return new Promise((resolve) => {
    connector({ hostname: host, host, protocol, port: String(port) }, (error, socket) => {
      socket?.destroy()
      resolve(error)
    })
  })
}

for (const protocol of ['http:', 'https:']) {
  for (const [host, address] of [
    ['localhost', '127.0.0.1'],
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['localhost', '::1'],
  ] as const) {
    test(`${protocol}//${host} at ${address} is refused before a byte is sent`, async (t) => {
      const listener = await listen(t, address)
      if (listener === undefined) return t.skip('no such address here')
      const error = await connect(host, listener.port, [], protocol)
      assert.match(error?.message ?? '', /refused to contact .* loopback .*SSRF_ALLOWED_HOSTS/)
      assert.deepEqual([listener.connections(), listener.bytes()], [0, 0])
    })
  }
}

test('an allowed host, host with port, or network is connected to', async (t) => {
  const listener = await listen(t, '127.0.0.1')
  assert.ok(listener)
  for (const entry of ['localhost', `localhost:${listener.port}`, '127.0.0.0/8']) {
    assert.equal(await connect('localhost', listener.port, [entry]), null, entry)
  }
  assert.equal(await connect('127.0.0.1', listener.port, ['127.0.0.1']), null)
  assert.notEqual(await connect('localhost', listener.port, ['localhost:1']), null)
})
