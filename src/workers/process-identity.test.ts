import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { currentProcess, formatProcess, lifeOf, parseProcess } from './process-identity.ts'

test('an identity survives being written down', () => {
  const identity = currentProcess()
  assert.deepEqual(parseProcess(formatProcess(identity)), identity)
  for (const text of ['', '{', 'null', '{"host":1}']) assert.equal(parseProcess(text), undefined)
})

test('a process that runs, one that has ended, and one elsewhere are told apart', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
  await once(child, 'spawn')
  const identity = { ...currentProcess(), pid: child.pid ?? 0, startTicks: undefined }
  assert.equal(lifeOf(identity), 'running')
  assert.equal(lifeOf({ ...identity, host: 'elsewhere.example' }), 'unknown')
  assert.equal(lifeOf({ ...identity, startTicks: '1' }), process.platform === 'linux' ? 'ended' : 'running')
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.equal(lifeOf(identity), 'ended')
})
