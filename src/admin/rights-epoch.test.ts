import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EpochMemory, RightsEpoch } from './rights-epoch.ts'

test('an answer is asked for once, until a right changes', async () => {
  const epoch = new RightsEpoch()
  const memory = new EpochMemory<number>(epoch, 10)
  let asked = 0
  const ask = async () => ++asked
  assert.equal(await memory.get('a', ask), 1)
  assert.equal(await memory.get('a', ask), 1)
  epoch.advance()
  assert.equal(memory.find('a'), undefined)
  assert.equal(await memory.get('a', ask), 2)
})

test('an answer that was on its way while a right changed is not remembered', async () => {
  const epoch = new RightsEpoch()
  const memory = new EpochMemory<boolean>(epoch, 10)
  await memory.get('a', async () => {
    epoch.advance()
    return true
  })
  assert.equal(memory.find('a'), undefined)
})

test('what was learnt first is forgotten first when there is too much', async () => {
  const memory = new EpochMemory<number>(new RightsEpoch(), 2)
  for (const [index, key] of ['a', 'b', 'c'].entries()) await memory.get(key, async () => index)
  assert.equal(memory.find('a'), undefined)
  assert.equal(memory.find('b'), 1)
  assert.equal(memory.find('c'), 2)
})
