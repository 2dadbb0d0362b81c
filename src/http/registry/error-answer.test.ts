import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RegistryError, UpstreamError } from '../../errors.ts'
import { asRegistryError, toErrorAnswer } from './error-answer.ts'

function headerOf(error: RegistryError, name: string): string | undefined {
  const { headers } = toErrorAnswer(error, 'id-1', () => 'Bearer x')
  const position = headers.indexOf(name)
  return position === -1 ? undefined : headers[position + 1]
}

test('an error is the spec’s JSON, with its status and the request’s id', () => {
  const answer = toErrorAnswer(new RegistryError('DENIED', { message: 'no', detail: { rule: 'x' } }), 'id-1', () => '')
  assert.equal(answer.status, 403)
  assert.deepEqual(JSON.parse(String(answer.body)), {
    errors: [{ code: 'DENIED', message: 'no', detail: { rule: 'x' } }],
  })
  assert.equal(headerOf(new RegistryError('DENIED'), 'X-Request-Id'), 'id-1')
})

test('401 has a challenge, 405 what is allowed, 429 when to come back, 503 ends the connection', () => {
  assert.equal(headerOf(new RegistryError('UNAUTHORIZED'), 'WWW-Authenticate'), 'Bearer x')
  assert.equal(headerOf(new RegistryError('DENIED'), 'WWW-Authenticate'), undefined)
  assert.equal(headerOf(new RegistryError('METHOD_NOT_ALLOWED'), 'Allow'), 'GET, HEAD')
  assert.equal(headerOf(new RegistryError('TOO_MANY_REQUESTS', { retryAfterSeconds: 7 }), 'Retry-After'), '7')
  assert.equal(headerOf(new RegistryError('OVERLOADED'), 'Connection'), 'close')
})

test('what an upstream does not have is told in the words of what was asked for', () => {
  const gone = new UpstreamError('not_found', 'quay.io', 'gone')
  for (const [kind, expected] of [
    ['headBlob', 'BLOB_UNKNOWN'],
    ['getManifest', 'MANIFEST_UNKNOWN'],
    ['listTags', 'NAME_UNKNOWN'],
  ] as const) {
    assert.equal(asRegistryError(gone, kind, 'a/b').case, expected)
  }
})

test('of our own faults nothing is told', () => {
  const error = asRegistryError(new Error('/var/lib/secret'), 'getBlob', 'a/b')
  const answer = toErrorAnswer(error, 'id-1', () => '')
  assert.equal(answer.status, 500)
  assert.ok(!String(answer.body).includes('secret'))
})
