/** Whatever comes from outside, the vocabulary's parsers answer; what they accept means what was written. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { digestAlgorithm, digestHex, parseDigest } from '../../src/oci/digest.ts'
import { isNotAManifest, MANIFEST_LIMITS, parseManifest } from '../../src/oci/manifest.ts'
import { formatReference, parseReference } from '../../src/oci/reference.ts'
import { parseRepositoryName } from '../../src/oci/repository-name.ts'
import { image, index } from '../fakes/content.ts'

const hostile = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.constantFrom('..', '../..', 'a/../b', 'a\0', 'a\r\nX: y', '%2e%2e', 'sha256:', `sha256:${'A'.repeat(64)}`, 'a\n'),
  fc.stringMatching(/^[a-z0-9._/:@-]{0,40}$/),
)

test('a reference that is accepted is written back as it was read, and is safe in a path', () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const reference = parseReference(text)
      if (reference === undefined) return
      assert.equal(formatReference(reference), text)
      assert.match(text, /^[\w.:-]+$/)
      assert.ok(!text.startsWith('.'))
    }),
    { numRuns: 2000 },
  )
})

test('a repository name that is accepted has no empty or dotted component', () => {
  fc.assert(
    fc.property(hostile, (text) => {
      const name = parseRepositoryName(text)
      if (name === undefined) return
      for (const component of name.split('/')) assert.match(component, /^[a-z0-9]+(?:[._-]+[a-z0-9]+)*$/)
    }),
    { numRuns: 2000 },
  )
})

test('a digest is its algorithm and its digits', () => {
  const sha256 = fc.stringMatching(/^[0-9a-f]{64}$/).map((hex) => `sha256:${hex}`)
  const sha512 = fc.stringMatching(/^[0-9a-f]{128}$/).map((hex) => `sha512:${hex}`)
  fc.assert(
    fc.property(fc.oneof(sha256, sha512), (text) => {
      const digest = parseDigest(text)
      assert.ok(digest)
      assert.equal(`${digestAlgorithm(digest)}:${digestHex(digest)}`, text)
    }),
  )
})

test('bytes that are no manifest are said to be none, without an exception', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.json().map((text) => Buffer.from(text)),
    fc.constantFrom(Buffer.from(`${'['.repeat(50_000)}`), Buffer.alloc(MANIFEST_LIMITS.bytesMax + 1, 0x20)),
  )
  fc.assert(
    fc.property(bytes, fc.option(fc.string(), { nil: undefined }), (body, type) => void parseManifest(body, type)),
  )
})

test('a manifest with one field replaced by anything is accepted or refused, and keeps to the limits', () => {
  const whole = [image({ layers: 3 }), index([image()])].map((content) => JSON.parse(content.bytes.toString()))
  const field = fc.constantFrom(
    'schemaVersion',
    'mediaType',
    'config',
    'layers',
    'manifests',
    'subject',
    'artifactType',
    'annotations',
    '__proto__',
  )
  fc.assert(
    fc.property(fc.constantFrom(...whole), field, fc.jsonValue(), (document, name, value) => {
      const parsed = parseManifest(Buffer.from(JSON.stringify({ ...document, [name]: value })), undefined)
      if (isNotAManifest(parsed)) return
      for (const { size, digest } of [...parsed.children, ...parsed.blobs]) {
        assert.ok(Number.isSafeInteger(size) && size >= 0)
        assert.ok(parseDigest(digest))
      }
      assert.match(parsed.mediaType, /^[\x21-\x7e]{1,255}$/)
    }),
    { numRuns: 1000 },
  )
})
