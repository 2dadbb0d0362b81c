import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isOrganizationName, parseRepositoryName } from './repository-name.ts'

test('names of one or more components in the grammar of the spec are read', () => {
  const names = ['alpine', 'library/alpine', 'a/b/c/d', 'a.b_c__d-e---f/0', 'quay/v2/manifests', 'a'.repeat(255)]
  for (const name of names) assert.equal(parseRepositoryName(name), name)
})

test('names with empty, dotted or foreign components are refused', () => {
  const names = [
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    'a/..',
    '../a',
    'a/./b',
    'A',
    'a/B',
    'ä',
    'a b',
    'a%2fb',
    'a\\b',
  ]
  names.push('a\n', 'a\0', '-a', 'a-', '_a', 'a_', 'a.', '.a', 'a..b', 'a___b', 'a._b', 'a-_b', 'a:b', 'a@b', 'a?b')
  for (const name of names) assert.equal(parseRepositoryName(name), undefined, JSON.stringify(name))
})

test('the limit of 255 characters is that of the whole name', () => {
  assert.ok(parseRepositoryName(`${'a'.repeat(127)}/${'b'.repeat(127)}`))
  assert.equal(parseRepositoryName(`${'a'.repeat(127)}/${'b'.repeat(128)}`), undefined)
})

test('a name made to be slow is refused at once', () => {
  // One that backtracks would not end within the time limit of a test run.
  assert.equal(parseRepositoryName(`${'a-'.repeat(127)}!`), undefined)
  assert.equal(isOrganizationName(`${'a__'.repeat(84)}!`), false)
})

test('an organization is one component of 2 to 255 characters', () => {
  for (const name of ['ab', 'cache-quayio', 'a.b', 'a'.repeat(255)]) assert.equal(isOrganizationName(name), true)
  for (const name of ['', 'a', 'a/b', 'Ab', 'ab ', '..', 'a'.repeat(256)]) assert.equal(isOrganizationName(name), false)
})
