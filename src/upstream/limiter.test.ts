import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Limiter } from './limiter.ts'

const full = () => new Error('full')
const tick = () => new Promise<void>((resolve) => setImmediate(resolve))

function start(limits: { runningMax: number; backgroundMax: number; waitingMax?: number }) {
  const limiter = new Limiter({ waitingMax: 100, ...limits })
  const order: string[] = []
  const releases = new Map<string, () => void>()
  const enter = (
    label: string,
    priority: 'client' | 'background' = 'client',
    signal?: AbortSignal,
    promoted?: AbortSignal,
  ) =>
    limiter.acquire(priority, signal, full, promoted).then((release) => {
      order.push(label)
      releases.set(label, release)
    })
  const leave = async (label: string) => {
    releases.get(label)?.()
    await tick()
  }
  return { order, enter, leave }
}

test('clients go before background work, in their order', async () => {
  const { order, enter, leave } = start({ runningMax: 1, backgroundMax: 1 })
  await enter('first')
  void enter('background 1', 'background')
  void enter('client 1')
  void enter('client 2')
  for (const label of ['first', 'client 1', 'client 2', 'background 1']) await leave(label)
  assert.deepEqual(order, ['first', 'client 1', 'client 2', 'background 1'])
})

test('background work never takes more than its part', async () => {
  const { order, enter, leave } = start({ runningMax: 3, backgroundMax: 1 })
  await enter('background 1', 'background')
  void enter('background 2', 'background')
  await enter('client 1')
  await tick()
  assert.deepEqual(order, ['background 1', 'client 1'])
  await leave('client 1')
  assert.deepEqual(order, ['background 1', 'client 1'])
  await leave('background 1')
  assert.deepEqual(order, ['background 1', 'client 1', 'background 2'])
})

test('leaving twice makes room once', async () => {
  const { order, enter, leave } = start({ runningMax: 1, backgroundMax: 1 })
  await enter('first')
  void enter('second')
  void enter('third')
  await leave('first')
  await leave('first')
  assert.deepEqual(order, ['first', 'second'])
})

test('whoever gives up leaves the line, and gets the reason', async () => {
  const { order, enter, leave } = start({ runningMax: 1, backgroundMax: 1 })
  await enter('first')
  const stop = new AbortController()
  const second = enter('second', 'client', stop.signal)
  void enter('third')
  stop.abort(new Error('gone'))
  await assert.rejects(second, /gone/)
  await leave('first')
  assert.deepEqual(order, ['first', 'third'])
  await assert.rejects(enter('late', 'client', stop.signal), /gone/)
})

test('the line is bounded', async () => {
  const { enter } = start({ runningMax: 1, backgroundMax: 1, waitingMax: 1 })
  await enter('first')
  void enter('second')
  await assert.rejects(enter('third'), /full/)
})

test('background work for which a client begins to wait goes before other background work and later clients', async () => {
  const { order, enter, leave } = start({ runningMax: 1, backgroundMax: 1 })
  const promotion = new AbortController()
  await enter('first')
  void enter('background 1', 'background')
  void enter('background 2', 'background', undefined, promotion.signal)
  void enter('client 1')
  promotion.abort()
  void enter('client 2')
  for (const label of ['first', 'client 1', 'background 2', 'client 2']) await leave(label)
  assert.deepEqual(order, ['first', 'client 1', 'background 2', 'client 2', 'background 1'])
})

test('what is promoted no longer waits for the part of background work', async () => {
  const { order, enter, leave } = start({ runningMax: 2, backgroundMax: 1 })
  const promotion = new AbortController()
  await enter('background 1', 'background')
  void enter('background 2', 'background', undefined, promotion.signal)
  void enter('background 3', 'background')
  promotion.abort()
  await tick()
  assert.deepEqual(order, ['background 1', 'background 2'])
  await leave('background 1')
  await leave('background 2')
  assert.deepEqual(order, ['background 1', 'background 2', 'background 3'])
})

test('what was promoted before it was asked is a client’s, and what gave up cannot be promoted', async () => {
  const { order, enter, leave } = start({ runningMax: 1, backgroundMax: 1 })
  const [early, late, stop] = [new AbortController(), new AbortController(), new AbortController()]
  early.abort()
  await enter('first')
  void enter('background', 'background')
  void enter('early', 'background', undefined, early.signal)
  const gone = enter('gone', 'background', stop.signal, late.signal)
  stop.abort(new Error('gone'))
  await assert.rejects(gone, /gone/)
  late.abort()
  for (const label of ['first', 'early', 'background']) await leave(label)
  assert.deepEqual(order, ['first', 'early', 'background'])
})
