import assert from 'node:assert/strict'
import { test } from 'node:test'
import { byLength, matchRepositoryPath } from './repository-path.ts'

const HEX = 'a'.repeat(64)

const MATCHES: readonly [path: string, pattern: string, organization: string, repository: string, params: object][] = [
  ['org/app', '', 'org', 'app', {}],
  ['org/app/', '', 'org', 'app', {}],
  ['org/a/b/c/tag', 'tag', 'org', 'a/b/c', {}],
  ['org/a/b/tag/', 'tag', 'org', 'a/b', {}],
  ['org/a/tag/v1', 'tag/:tag', 'org', 'a', { tag: 'v1' }],
  ['org/a/tag/v1/restore', 'tag/:tag/restore', 'org', 'a', { tag: 'v1' }],
  ['org/tag/tag/tag', 'tag/:tag', 'org', 'tag', { tag: 'tag' }],
  ['org/tag', '', 'org', 'tag', {}],
  [`org/a/manifest/sha256:${HEX}`, 'manifest/:digest', 'org', 'a', { digest: `sha256:${HEX}` }],
  [`org/a/manifest/sha256%3A${HEX}/pin`, 'manifest/:digest/pin', 'org', 'a', { digest: `sha256:${HEX}` }],
  ['org/a/tag/%2e%2e', 'tag/:tag', 'org', 'a', { tag: '..' }],
  ['org/a/tag/%252F', 'tag/:tag', 'org', 'a', { tag: '%2F' }],
]

test('a path is read from its right-hand end', () => {
  for (const [path, pattern, organization, repository, params] of MATCHES) {
    assert.deepEqual(matchRepositoryPath(path, pattern), { organization, repository, params }, path)
  }
})

test('what is no repository, or ends otherwise, matches nothing', () => {
  const others: readonly [string, string][] = [
    ['', ''],
    ['/', ''],
    ['org', ''],
    ['org/tag', 'tag'],
    ['org/a', 'tag'],
    ['org/a/tag/v1', 'tag'],
    ['org/a/tag/v1/restore', 'tag/:tag'],
    ['org//a/tag', 'tag'],
    ['org/a/../b/tag', 'tag'],
    ['org/%2e%2e/tag', 'tag'],
    ['org/./a/tag', 'tag'],
    ['..%2forg/a/tag', 'tag'],
    ['org%2Fa/b', ''],
    ['org/a%2Fb/tag', 'tag'],
    ['org/a/tag/v%2F1', 'tag/:tag'],
    ['org/a/tag/v%5C1', 'tag/:tag'],
    ['org/a/tag/v%001', 'tag/:tag'],
    ['org/a/tag/v%0A', 'tag/:tag'],
    ['org/a/tag/%zz', 'tag/:tag'],
    ['org/a/tag/%ff', 'tag/:tag'],
    ['org/a/tag//', 'tag/:tag'],
    ['Org/a/tag', 'tag'],
    ['org/A/tag', 'tag'],
    ['o/a/tag', 'tag'],
    [`org/${'a'.repeat(256)}`, ''],
    [`org/${'a/'.repeat(5000)}tag`, 'tag'],
  ]
  for (const [path, pattern] of others) assert.equal(matchRepositoryPath(path, pattern), undefined, path)
})

test('of patterns that fit, the longest comes first', () => {
  const patterns = ['', 'tag', 'tag/:tag', 'tag/:tag/restore', 'tag/:tag/expire']
  const sorted = ['tag/:tag/expire', 'tag/:tag/restore', 'tag/:tag', 'tag', '']
  assert.deepEqual(patterns.toSorted(byLength), sorted)
})
