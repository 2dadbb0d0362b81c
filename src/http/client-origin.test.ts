import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { makeClientOrigin } from './client-origin.ts'

function from(remoteAddress: string, headers: Record<string, string> = {}, encrypted = false): IncomingMessage {
  return { socket: { remoteAddress, encrypted }, headers } as unknown as IncomingMessage
}
const forwarded = { 'x-forwarded-for': '9.9.9.9', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'r.example.com' }

test('nobody is believed who is not trusted', () => {
  for (const origin of [makeClientOrigin([]), makeClientOrigin(['10.0.0.0/8'])]) {
    const request = from('192.0.2.1', { ...forwarded, host: 'own:8080' })
    assert.deepEqual(
      [origin.address(request), origin.scheme(request), origin.host(request)],
      ['192.0.2.1', 'http', 'own:8080'],
    )
  }
})

test('a trusted proxy is believed, also when it connects over IPv6', () => {
  const origin = makeClientOrigin(['10.0.0.0/8', 'fd00::/8'])
  for (const peer of ['10.1.2.3', '::ffff:10.1.2.3', 'fd00::1']) {
    const request = from(peer, forwarded)
    assert.deepEqual(
      [origin.address(request), origin.scheme(request), origin.host(request)],
      ['9.9.9.9', 'https', 'r.example.com'],
    )
  }
})

test('of a chain the nearest that is no proxy of ours counts: what stands left of it is invented', () => {
  const origin = makeClientOrigin(['10.0.0.0/8'])
  const chain = (text: string) => origin.address(from('10.0.0.1', { 'x-forwarded-for': text }))
  assert.equal(chain('1.1.1.1, 9.9.9.9, 10.0.0.2'), '9.9.9.9')
  assert.equal(chain('not an address, 9.9.9.9'), '9.9.9.9')
  assert.equal(chain('9.9.9.9, nonsense'), '10.0.0.1')
  assert.equal(chain(''), '10.0.0.1')
  assert.equal(chain(Array(50).fill('9.9.9.9').join(',')), '10.0.0.1')
})

test('a malformed host is none', () => {
  const origin = makeClientOrigin([])
  for (const host of ['a b', 'a"b', 'a/b', 'a@b', 'a:b', '', 'x'.repeat(300), 'a\r\nb', '[::1']) {
    assert.equal(origin.host(from('192.0.2.1', { host })), undefined, host)
  }
  for (const host of ['localhost', 'a.example.com:5000', '[::1]:8080', '127.0.0.1']) {
    assert.equal(origin.host(from('192.0.2.1', { host })), host)
  }
})

test('TLS to us is https', () => {
  assert.equal(makeClientOrigin([]).scheme(from('192.0.2.1', {}, true)), 'https')
})
