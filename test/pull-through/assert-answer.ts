/** What a client of `/v2` can see of an answer, compared in one go so that a failure shows all of it. */
import assert from 'node:assert/strict'
import { sha256 } from '../fakes/content.ts'
import { type ClientAnswer, errorOf } from './registry-client.ts'

export type Outcome = 'hit' | 'revalidated' | 'stale' | 'miss'

/**
 * The outcome that `Cache-Status` (RFC 9211) tells: our name, `hit` or `fwd=…`, and the outcome as `detail` where the
 * standard's words do not say it.
 */
export function outcomeOf(answer: ClientAnswer): string | undefined {
  const status = answer.headers['cache-status']
  if (typeof status !== 'string') return undefined
  const detail = /detail="?(\w+)/.exec(status)?.[1]
  for (const word of ['stale', 'revalidated', 'miss', 'hit']) if (detail === word) return word
  if (/;\s*hit\b/.test(status)) return 'hit'
  return /;\s*fwd=(?:uri-)?miss\b/.test(status) ? 'miss' : status
}

/** Assert a 200 (or `status`) with these bytes and this outcome. */
export function assertServed(
  answer: ClientAnswer,
  expected: { outcome?: Outcome; bytes: Buffer; status?: number; mediaType?: string },
): void {
  const seen = {
    status: answer.status,
    outcome: expected.outcome && outcomeOf(answer),
    digest: sha256(answer.body),
    length: answer.headers['content-length'],
    isWhole: answer.isWhole,
    type: expected.mediaType && answer.headers['content-type'],
  }
  assert.deepEqual(seen, {
    status: expected.status ?? 200,
    outcome: expected.outcome,
    digest: sha256(expected.bytes),
    length: String(expected.bytes.byteLength),
    isWhole: true,
    type: expected.mediaType,
  })
}

/** Assert an error in the spec's JSON. */
export function assertRefused(answer: ClientAnswer, status: number, code: string, message?: RegExp): void {
  assert.equal(answer.status, status, answer.body.toString().slice(0, 500))
  const error = errorOf(answer)
  assert.deepEqual({ code: error.code }, { code })
  if (message !== undefined) assert.match(error.message, message)
}
