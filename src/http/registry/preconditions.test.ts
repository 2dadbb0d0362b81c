import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { digestOf } from '../../oci/digest.ts'
import { OCI_INDEX, OCI_MANIFEST } from '../../oci/media-type.ts'
import { acceptsMediaType, matchesEtag, parseRange } from './preconditions.ts'

const digest = digestOf(Buffer.from('x'))

test('one range is understood; several, other units and nonsense are ignored', () => {
  const parse = (text: string) => parseRange(text, undefined, digest)
  assert.deepEqual(parse('bytes=0-99'), { start: 0, end: 99 })
  assert.deepEqual(parse('bytes=5-'), { start: 5 })
  assert.deepEqual(parse('Bytes=-5'), { suffixLength: 5 })
  assert.deepEqual(parse('bytes=-0'), { suffixLength: 0 })
  assert.deepEqual(parse(`bytes=${'9'.repeat(18)}-`), { start: Number.MAX_SAFE_INTEGER })
  for (const text of [
    'bytes=0-1,5-6',
    'bytes=5-1',
    'lines=1-2',
    'bytes=a-b',
    'bytes=',
    '',
    'bytes=--1',
    'bytes=1e2-',
  ]) {
    assert.equal(parse(text), undefined, text)
  }
})

test('If-Range lets a range through only for this digest', () => {
  assert.deepEqual(parseRange('bytes=1-', `"${digest}"`, digest), { start: 1 })
  for (const validator of [`W/"${digest}"`, '"x"', 'Tue, 24 Nov 2026 16:00:00 GMT', '']) {
    assert.equal(parseRange('bytes=1-', validator, digest), undefined)
  }
})

test('any range text is a range in bounds, or none', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^bytes=[0-9,-]{0,30}$/)), (text) => {
      const range = parseRange(text, undefined, digest)
      if (range === undefined) return
      for (const value of Object.values(range)) assert.ok(Number.isSafeInteger(value) && value >= 0)
      if ('start' in range && range.end !== undefined) assert.ok(range.start <= range.end)
    }),
  )
})

test('If-None-Match names the digest, strongly, weakly, in a list, or anything', () => {
  for (const text of [`"${digest}"`, `W/"${digest}"`, `"x", "${digest}"`, '*'])
    assert.ok(matchesEtag(text, digest), String(text))
  for (const text of [undefined, '', digest, '"x"', `"${digest}`]) assert.ok(!matchesEtag(text, digest), String(text))
})

test('a client that lists types gets one of them', () => {
  for (const accept of [undefined, '', '*/*', 'text/html, */*;q=0.1', OCI_MANIFEST, `a/b, ${OCI_MANIFEST};q=0.5`]) {
    assert.ok(acceptsMediaType(accept, OCI_MANIFEST), String(accept))
  }
  assert.ok(acceptsMediaType('application/*', OCI_MANIFEST))
  assert.ok(acceptsMediaType(OCI_MANIFEST.toUpperCase(), OCI_MANIFEST))
  for (const accept of [OCI_INDEX, 'text/html', 'text/*', `${OCI_MANIFEST}+x`]) {
    assert.ok(!acceptsMediaType(accept, OCI_MANIFEST), String(accept))
  }
})
