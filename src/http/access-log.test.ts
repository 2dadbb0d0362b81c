import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatAccessLine, makeAccessLog } from './access-log.ts'
import type { AccessRecord } from './access-record.ts'

const record: AccessRecord = {
  id: 'ab-1',
  method: 'GET',
  path: '/v2/own/app/manifests/v1',
  kind: 'getManifest',
  organization: 'own',
  repository: 'own/app',
  reference: 'v1',
  status: 200,
  outcome: 'hit',
  bytes: 12,
  ms: 1.23456,
  upstreamMs: 0,
  principal: 'ann',
  address: '127.0.0.1',
  isAborted: false,
  error: undefined,
}

test('a request is one line of JSON', () => {
  assert.deepEqual(JSON.parse(formatAccessLine(record, 5)), {
    level: 'info',
    time: 5,
    event: 'request',
    id: 'ab-1',
    kind: 'getManifest',
    status: 200,
    method: 'GET',
    path: '/v2/own/app/manifests/v1',
    repository: 'own/app',
    reference: 'v1',
    outcome: 'hit',
    bytes: 12,
    ms: 1.23,
    upstreamMs: 0,
    principal: 'ann',
    address: '127.0.0.1',
  })
})

test('whatever a client sends, the line is one line of printable ASCII that says the same', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const line = formatAccessLine({ ...record, path: text, method: text, principal: text, error: text }, 5)
      assert.match(line, /^[ -~]+\n$/)
      const { path, method, principal, error } = JSON.parse(line)
      for (const value of [path, method, principal, error]) assert.equal(value, text)
    }),
  )
})

test('pulls are counted by an organization that may be named, requests by kind and status', () => {
  const counted: unknown[] = []
  const metrics = {
    countPull: (...labels: unknown[]) => void counted.push(labels),
    countRequest: (...labels: unknown[]) => void counted.push(labels),
  }
  const observe = makeAccessLog(() => 0, metrics, undefined)
  observe(record)
  observe({ ...record, organization: undefined, status: 403 })
  assert.deepEqual(counted, [
    ['getManifest', 200, 12],
    ['own', 'getManifest', 'hit'],
    ['getManifest', 403, 12],
  ])
})
