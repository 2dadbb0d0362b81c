import assert from 'node:assert/strict'
import { test } from 'node:test'
import { REGISTRY_ERRORS, RegistryError, toRegistryError, UpstreamError, type UpstreamFailure } from './errors.ts'

/** distribution-spec, "Error Codes", and the two that distribution adds. */
const CODES = new Set(
  (
    'BLOB_UNKNOWN BLOB_UPLOAD_INVALID BLOB_UPLOAD_UNKNOWN DIGEST_INVALID MANIFEST_BLOB_UNKNOWN MANIFEST_INVALID ' +
    'MANIFEST_UNKNOWN NAME_INVALID NAME_UNKNOWN SIZE_INVALID UNAUTHORIZED DENIED UNSUPPORTED TOOMANYREQUESTS ' +
    'UNAVAILABLE UNKNOWN'
  ).split(' '),
)

test('every answer has a code that clients know and a status that is an error', () => {
  for (const [name, row] of Object.entries(REGISTRY_ERRORS)) {
    assert.ok(CODES.has(row.code), name)
    assert.ok(row.status >= 400 && row.status < 600, name)
    assert.notEqual(row.message, '')
  }
})

test('an error says what its row says, unless it knows better', () => {
  const plain = new RegistryError('MANIFEST_UNKNOWN')
  assert.deepEqual([plain.code, plain.status, plain.message], ['MANIFEST_UNKNOWN', 404, 'manifest unknown to registry'])
  const own = new RegistryError('DENIED', { message: 'the rule "x" denies it', detail: { rule: 'x' } })
  assert.deepEqual([own.code, own.status, own.message], ['DENIED', 403, 'the rule "x" denies it'])
  assert.deepEqual(own.detail, { rule: 'x' })
})

test('each failure of an upstream becomes one answer', () => {
  const expected: Record<UpstreamFailure, [string, number]> = {
    not_found: ['BLOB_UNKNOWN', 404],
    denied: ['DENIED', 403],
    rate_limited: ['TOOMANYREQUESTS', 429],
    timeout: ['UNAVAILABLE', 504],
    unreachable: ['UNAVAILABLE', 502],
    server_error: ['UNAVAILABLE', 502],
    protocol: ['UNAVAILABLE', 502],
  }
  for (const [failure, answer] of Object.entries(expected) as [UpstreamFailure, [string, number]][]) {
    const cause = new UpstreamError(failure, 'quay.io', 'quay.io: it failed')
    const error = toRegistryError(cause, 'BLOB_UNKNOWN', 'some/thing')
    assert.deepEqual([error.code, error.status], answer, failure)
    assert.match(error.message, /quay\.io/)
    assert.equal(error.cause, cause)
  }
})

test('a refusal names host and repository, and does not send the client to log in', () => {
  const error = toRegistryError(new UpstreamError('denied', 'quay.io', 'x', { status: 401 }), 'NAME_UNKNOWN', 'a/b')
  assert.equal(error.status, 403)
  assert.equal(
    error.message,
    "quay.io refuses a/b: it does not exist there, or this organization's credentials may not read it",
  )
})

test('a client waits for 1 to 60 seconds, in whole ones, whatever the upstream says', () => {
  for (const [retryAfterMs, seconds] of [
    [undefined, 1],
    [0, 1],
    [1, 1],
    [7001, 8],
    [60_000, 60],
    [86_400_000, 60],
  ] as const) {
    const options = retryAfterMs === undefined ? {} : { retryAfterMs }
    const error = toRegistryError(new UpstreamError('rate_limited', 'h', 'm', options), 'NAME_UNKNOWN', 'a')
    assert.equal(error.retryAfterSeconds, seconds)
  }
})

test('an answer stays itself, and what nobody foresaw tells nothing', () => {
  const answer = new RegistryError('NAME_INVALID')
  assert.equal(toRegistryError(answer, 'BLOB_UNKNOWN', 'a'), answer)
  const bug = new TypeError('password hunter2 is not a function')
  const error = toRegistryError(bug, 'BLOB_UNKNOWN', 'a')
  assert.deepEqual([error.code, error.status, error.message], ['UNKNOWN', 500, REGISTRY_ERRORS.UNKNOWN.message])
  assert.equal(error.cause, bug)
})
