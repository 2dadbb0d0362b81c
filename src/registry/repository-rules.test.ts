import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findRefusal } from './repository-rules.ts'

test('without rules every repository may be pulled', () => {
  assert.equal(findRefusal({ allowed: [], denied: [] }, 'library/alpine'), undefined)
})

test('a denial wins over a permission and names its rule', () => {
  const refusal = findRefusal({ allowed: ['library/*'], denied: ['library/al*'] }, 'library/alpine')
  assert.equal(refusal?.code, 'DENIED')
  assert.match(refusal?.message ?? '', /denied_repositories.*"library\/al\*"/)
})

test('where something is allowed, everything else is refused', () => {
  const rules = { allowed: ['library/*', 'team/**'], denied: [] }
  assert.equal(findRefusal(rules, 'library/alpine'), undefined)
  assert.equal(findRefusal(rules, 'team/one/two'), undefined)
  assert.equal(findRefusal(rules, 'library/alpine/edge')?.status, 403)
  assert.equal(findRefusal(rules, 'other/alpine')?.status, 403)
})
