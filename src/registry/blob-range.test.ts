import assert from 'node:assert/strict'
import { test } from 'node:test'
import { satisfyRange } from './blob-range.ts'

test('a range is cut to the blob, and is nothing when it lies outside', () => {
  for (const [range, size, expected] of [
    [{ start: 0 }, 10, { start: 0, end: 9 }],
    [{ start: 3, end: 5 }, 10, { start: 3, end: 5 }],
    [{ start: 9, end: Number.MAX_SAFE_INTEGER }, 10, { start: 9, end: 9 }],
    [{ start: 10 }, 10, undefined],
    [{ start: 0 }, 0, undefined],
    [{ suffixLength: 3 }, 10, { start: 7, end: 9 }],
    [{ suffixLength: 11 }, 10, { start: 0, end: 9 }],
    [{ suffixLength: 0 }, 10, undefined],
    [{ suffixLength: 1 }, 0, undefined],
  ] as const) {
    assert.deepEqual(satisfyRange(range, size), expected, JSON.stringify([range, size]))
  }
})
