import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import { deflateSync, gzipSync } from 'node:zlib'
import { type AnswerHeaders, isIdentity, parseLength, readDocument } from './bounded-body.ts'

const BOUNDS = { bytesMax: 10, ms: 60_000 }

function answer(chunks: readonly Uint8Array[], headers: AnswerHeaders = {}) {
  return { headers, body: Readable.from(chunks, { objectMode: false }), host: 'quay.io' }
}

test('a document is read up to the bound, and not a byte further', async () => {
  assert.equal(
    (await readDocument(answer([Buffer.from('12345'), Buffer.from('67890')]), BOUNDS)).toString(),
    '1234567890',
  )
  const longer = answer([Buffer.from('12345'), Buffer.from('678901')])
  await assert.rejects(readDocument(longer, BOUNDS), { failure: 'protocol' })
  assert.equal(longer.body.destroyed, true)
})

test('what announces too much is not read at all', async () => {
  const announced = answer([Buffer.from('1')], { 'content-length': '11' })
  await assert.rejects(readDocument(announced, BOUNDS), { failure: 'protocol' })
  assert.equal(announced.body.readableDidRead, false)
})

test('gzip is decoded within the bound; what is no gzip, cut off, or another encoding is refused', async () => {
  const gzip = { 'content-encoding': 'gzip' }
  assert.equal((await readDocument(answer([gzipSync('hello')], gzip), BOUNDS)).toString(), 'hello')
  const bomb = gzipSync(Buffer.alloc(1_000_000))
  await assert.rejects(readDocument(answer([bomb], gzip), { bytesMax: 2000, ms: 1000 }), /more than 2000 bytes/)
  await assert.rejects(readDocument(answer([Buffer.from('hello')], gzip), BOUNDS), { failure: 'protocol' })
  await assert.rejects(readDocument(answer([gzipSync('hello').subarray(0, 15)], gzip), BOUNDS), { failure: 'protocol' })
  const deflate = { 'content-encoding': 'deflate' }
  await assert.rejects(readDocument(answer([deflateSync('hello')], deflate), BOUNDS), { failure: 'protocol' })
})

test('a document that does not end is given up', async () => {
  const body = new PassThrough()
  body.write('1')
  await assert.rejects(readDocument({ headers: {}, body, host: 'quay.io' }, { bytesMax: 10, ms: 5 }), {
    failure: 'timeout',
  })
})

test('a length is a whole number of bytes, or none', () => {
  assert.equal(parseLength('12'), 12)
  assert.equal(parseLength(['12', '13']), 12)
  for (const text of [undefined, '', '-1', '1.5', '1e3', '0x10', '9'.repeat(20)])
    assert.equal(parseLength(text), undefined)
})

test('identity is what it says it is', () => {
  assert.ok(isIdentity({}) && isIdentity({ 'content-encoding': 'Identity' }) && isIdentity({ 'content-encoding': '' }))
  assert.ok(!isIdentity({ 'content-encoding': 'gzip' }))
})
