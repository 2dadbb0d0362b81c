import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeRequestIds } from './request-ids.ts'

test('ids differ, in one server and between two', () => {
  const [one, other] = [makeRequestIds(), makeRequestIds()]
  const ids = Array.from({ length: 100 }, () => [one(), other()]).flat()
  assert.equal(new Set(ids).size, 200)
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-z]+$/)
})
