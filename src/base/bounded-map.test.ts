import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BoundedMap, PassingMap } from './bounded-map.ts'

test('a bounded map forgets what was used longest ago', () => {
  const map = new BoundedMap<string, number>(2)
  map.set('one', 1)
  map.set('two', 2)
  assert.equal(map.get('one'), 1)
  map.set('three', 3)
  assert.deepEqual([map.peek('one'), map.peek('two'), map.peek('three')], [1, undefined, 3])
})

test('a bounded map can bound a weight, and keeps the newest entry whatever it weighs', () => {
  const map = new BoundedMap<string, number>(10, (value) => value)
  map.set('six', 6)
  map.set('four', 4)
  map.set('five', 5)
  assert.deepEqual([map.peek('six'), map.peek('four'), map.peek('five')], [undefined, 4, 5])
  map.set('eleven', 11)
  assert.deepEqual([map.size, map.peek('eleven')], [1, 11])
  map.delete('eleven')
  map.set('ten', 10)
  assert.equal(map.peek('ten'), 10)
})

test('a passing fact is forgotten at its time', () => {
  const map = new PassingMap<string>(10)
  map.set('key', 'value', 1000)
  assert.equal(map.find('key', 999), 'value')
  assert.equal(map.find('key', 1000), undefined)
  assert.equal(map.find('key', 1), undefined)
})
