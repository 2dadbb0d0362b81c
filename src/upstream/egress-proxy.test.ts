import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EgressProxy } from './egress-proxy.ts'

const ROWS: [entry: string, host: string, port: number, isUsed: boolean][] = [
  ['', 'quay.io', 443, true],
  ['*', 'quay.io', 443, false],
  ['quay.io', 'quay.io', 443, false],
  ['Quay.IO', 'QUAY.io.', 443, false],
  ['quay.io', 'cdn.quay.io', 443, false],
  ['.quay.io', 'cdn.quay.io', 443, false],
  ['*.quay.io', 'cdn.quay.io', 443, false],
  ['quay.io', 'evilquay.io', 443, true],
  ['quay.io:5000', 'quay.io', 5000, false],
  ['quay.io:5000', 'quay.io', 443, true],
  ['10.0.0.0/8', '10.1.2.3', 443, false],
  ['10.0.0.0/8', '11.1.2.3', 443, true],
  ['10.0.0.0/99', '10.1.2.3', 443, true],
  ['10.1.2.3', '10.1.2.3', 443, false],
  ['fd00::/8', 'fd12::1', 443, false],
]

for (const [entry, host, port, isUsed] of ROWS) {
  test(`with no_proxy "${entry}", ${host}:${port} is reached ${isUsed ? 'through' : 'without'} the proxy`, () => {
    assert.equal(new EgressProxy({ uri: 'http://proxy:3128', noProxy: [entry] }).isUsedFor({ host, port }), isUsed)
  })
}
