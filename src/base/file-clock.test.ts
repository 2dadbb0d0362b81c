import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openFileClock } from './file-clock.ts'

test('the clock tells what the file says, and the last it said while the file is being written', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-clock-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'clock')
  await writeFile(file, 'soon')
  assert.throws(() => openFileClock(file), /no milliseconds/)
  await writeFile(file, '1000\n')
  const clock = openFileClock(file)
  assert.equal(clock(), 1000)
  await writeFile(file, '')
  assert.equal(clock(), 1000)
  await writeFile(file, '2000')
  assert.equal(clock(), 2000)
})
