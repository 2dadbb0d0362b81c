import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseYamlText } from './yaml-text.ts'

test('values are read as YAML 1.2', () => {
  assert.deepEqual(parseYamlText('a: [1, yes, true]\nb: {c: null}').value, { a: [1, 'yes', true], b: { c: null } })
  assert.equal(parseYamlText('').value, null)
})

test('a key that stands twice is told, at any depth', () => {
  assert.deepEqual(parseYamlText('a:\n  b: 1\n  b: 2').mistakes, ['line 3, column 3: this key stands twice'])
})

test('what the parser gives up on is a mistake, not a crash', () => {
  for (const text of ['['.repeat(100_000), '- '.repeat(100_000), '{a: '.repeat(50_000)]) {
    assert.ok(parseYamlText(text).mistakes.length > 0)
  }
})
