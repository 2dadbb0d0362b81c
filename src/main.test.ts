import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'

const launcher = new URL('../bin/entrepot', import.meta.url).pathname

/** Runs the command line as an operator does, in a folder of its own. */
async function run(t: TestContext, args: readonly string[], env: Record<string, string> = {}, input = '') {
  const folder = await mkdtemp(join(tmpdir(), 'main-'))
  t.after(() => rm(folder, { recursive: true }))
  const child = spawn(launcher, args, { cwd: folder, env: { PATH: process.env['PATH'], ...env } })
  child.stdin.end(input)
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code: child.exitCode, out, err }
}

test('the launcher runs the command line from any folder', async (t) => {
  const ran = await run(t, ['--version'])
  assert.equal(ran.code, 0, ran.err)
  assert.match(ran.out, /^\d+\.\d+\.\d+\n$/)
})

test('a server with a wrong configuration says every mistake and does not start', async (t) => {
  const env = { PORT: 'x', ENTREPOT_LOG_LEVEL: 'loud', ENTREPOT_DB_URI: 'mysql://root:hunter2@db/quay' }
  const ran = await run(t, ['serve'], env)
  assert.equal(ran.code, 1)
  assert.match(ran.err, /^entrepot: PORT: .*\nentrepot: ENTREPOT_DB_URI: .*\nentrepot: ENTREPOT_LOG_LEVEL: .*\n/)
  assert.match(ran.err, /3 mistakes; the server does not start/)
  assert.doesNotMatch(ran.err, /hunter2/)
})

test('the clock of the tests is refused where others can reach the server', async (t) => {
  const ran = await run(t, ['serve', '--test-clock', '/dev/null'], { HOST: '0.0.0.0', PORT: '0' })
  assert.equal(ran.code, 2)
  assert.match(ran.err, /loopback HOST/)
})

test('secrets come from standard input, one a line', async (t) => {
  const env = { ENTREPOT_SERVER: 'http://127.0.0.1:1' }
  const without = await run(t, ['user', 'create', 'admin'], env)
  assert.equal(without.code, 2, 'no password')
  const withOne = await run(t, ['user', 'create', 'admin'], env, 'hunter2\n')
  assert.equal(withOne.code, 3, 'a password, and no server')
  assert.doesNotMatch(withOne.out + withOne.err, /hunter2/)
})
