import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from './digest.ts'
import { formatReference, parseReference, parseTag } from './reference.ts'

test('tags of up to 128 letters, digits, dots, dashes and underscores are read', () => {
  for (const text of ['latest', '3.20', '_x', 'A-b_c.D', '0', 'sha256-abc', 'a'.repeat(128)]) {
    assert.deepEqual(parseReference(text), { kind: 'tag', tag: text })
    assert.equal(parseTag(text), text)
  }
})

test('a digest is never mistaken for a tag, nor a broken digest for either', () => {
  const digest = digestOf(Buffer.from('x'))
  assert.deepEqual(parseReference(digest), { kind: 'digest', digest })
  assert.equal(parseTag(digest), undefined)
  assert.equal(parseReference(digest.slice(0, -1)), undefined)
})

test('what could leave a path, a header or a line is no reference', () => {
  const texts = ['', '.hidden', '-x', '..', '../x', 'a/b', 'a%2fb', 'a b', 'a\nb', 'a\n', 'a\0', 'a:b', 'a@b', 'ä']
  for (const text of [...texts, 'a'.repeat(129)]) assert.equal(parseReference(text), undefined, JSON.stringify(text))
})

test('a reference is written as it was read', () => {
  for (const text of ['latest', digestOf(Buffer.from('x'))]) {
    const reference = parseReference(text)
    assert.ok(reference)
    assert.equal(formatReference(reference), text)
  }
})
