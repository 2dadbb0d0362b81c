import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RecentMap } from './recent-map.ts'

test('what was not touched for longest makes room, and is told', () => {
  const dropped: string[] = []
  const map = new RecentMap<string>(2, (value) => dropped.push(value))
  map.set('a', 'A')
  map.set('b', 'B')
  assert.equal(map.find('a'), 'A')
  assert.equal(
    map.findOrCreate('c', () => 'C'),
    'C',
  )
  assert.deepEqual(dropped, ['B'])
  assert.deepEqual(
    [...map.entries()],
    [
      ['a', 'A'],
      ['c', 'C'],
    ],
  )
  map.delete('a')
  assert.equal(map.find('a'), undefined)
  assert.deepEqual(dropped, ['B'])
})
