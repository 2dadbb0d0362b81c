import assert from 'node:assert/strict'
import { test } from 'node:test'
import { digestOf } from '../oci/digest.ts'
import { BlobLock } from './blob-lock.ts'

test('work on one blob runs one after the other, also after a failure, and on others beside it', async () => {
  const lock = new BlobLock()
  const [one, other] = [digestOf(Buffer.from('1')), digestOf(Buffer.from('2'))]
  const gate = Promise.withResolvers<void>()
  const order: string[] = []
  const first = lock.run(one, async () => {
    await gate.promise
    order.push('first')
    throw new Error('no')
  })
  const second = lock.run(one, async () => order.push('second'))
  await lock.run(other, async () => order.push('other'))
  gate.resolve()
  await assert.rejects(first, /no/)
  await second
  assert.deepEqual(order, ['other', 'first', 'second'])
})
