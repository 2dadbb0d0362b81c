import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDigestHash, digestAlgorithm, digestHex, digestOf, parseDigest } from './digest.ts'

const sha256Empty = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
const sha512Empty =
  'sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce' +
  '47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e'

test('digests of both registered algorithms are read, and taken apart', () => {
  for (const [text, algorithm] of [
    [sha256Empty, 'sha256'],
    [sha512Empty, 'sha512'],
  ] as const) {
    const digest = parseDigest(text)
    assert.ok(digest)
    assert.equal(digestAlgorithm(digest), algorithm)
    assert.equal(`${algorithm}:${digestHex(digest)}`, text)
    assert.equal(digestOf(Buffer.alloc(0), algorithm), text)
    assert.equal(`${algorithm}:${createDigestHash(digest).digest('hex')}`, text)
  }
})

test('what is not exactly a digest is none', () => {
  const hex = digestHex(digestOf(Buffer.alloc(0)))
  const texts = ['', 'sha256', 'sha256:', hex, `sha256:${hex.slice(1)}`, `sha256:${hex}0`, `sha512:${hex}`]
  texts.push(`sha1:${hex.slice(0, 40)}`, `SHA256:${hex}`, `sha256:${hex.toUpperCase()}`, ` sha256:${hex}`)
  texts.push(`sha256:${hex}\n`, `sha256:${hex}\0`, `sha256:../${hex.slice(3)}`, `sha256::${hex.slice(1)}`)
  texts.push(`sha256%3A${hex}`, `sha256:${hex.slice(0, 63)}٣`)
  for (const text of texts) assert.equal(parseDigest(text), undefined, JSON.stringify(text))
})
