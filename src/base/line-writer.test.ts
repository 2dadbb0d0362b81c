import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { LINE_LIMITS, LineWriter } from './line-writer.ts'

test('lines arrive whole and in order, those of the last moment too', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-lines-'))
  t.after(() => rm(folder, { recursive: true }))
  const path = join(folder, 'log')
  const fd = openSync(path, 'a')
  const writer = new LineWriter(fd)
  const lines = Array.from({ length: 10_000 }, (_, index) => `{"line":${index},"text":"é"}\n`)
  lines.splice(5000, 0, `${'漢'.repeat(LINE_LIMITS.blockBytes)}\n`)
  for (const line of lines) writer.write(line)
  await new Promise((resolve) => setImmediate(resolve))
  writer.write('the last\n')
  await writer.drain()
  closeSync(fd)
  assert.equal(await readFile(path, 'utf8'), `${lines.join('')}the last\n`)
  assert.equal(writer.dropped, 0)
})

test('a pipe that is full loses no line: each waits for its reader', async () => {
  const code = `
    import { LineWriter } from ${JSON.stringify(new URL('./line-writer.ts', import.meta.url).href)}
    process.stdout.isTTY // From here on the pipe does not block.
    const writer = new LineWriter(1)
    for (let index = 0; index < 20000; index++) writer.write('x'.repeat(99) + '\\n')
    setInterval(() => {}, 1000)
    process.once('SIGTERM', async () => { await writer.drain(); process.exit(0) })
    process.stderr.write('written')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'pipe'] })
  await once(child.stderr, 'data')
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength
    if (bytes === 2_000_000) child.kill('SIGTERM')
  })
  await once(child, 'close')
  assert.equal(bytes, 2_000_000)
})
