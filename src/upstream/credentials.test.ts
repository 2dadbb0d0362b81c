import assert from 'node:assert/strict'
import { mkdtempDisposableSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { CredentialSource } from '../oci/registry.ts'
import { Credentials } from './credentials.ts'
import { UPSTREAM_LIMITS } from './limits.ts'

function start(source: CredentialSource, limits: Partial<Record<keyof typeof UPSTREAM_LIMITS, number>> = {}) {
  const now = { ms: 1_000_000 }
  const options = { source, host: 'quay.io', clock: () => now.ms, limits: { ...UPSTREAM_LIMITS, ...limits } }
  return { now, credentials: new Credentials(options) }
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`
}

function command(script: string): CredentialSource {
  return { kind: 'command', username: 'AWS', command: [process.execPath, '-e', script] }
}

test('anonymous has no header', async () => {
  const { credentials } = start({ kind: 'anonymous' })
  assert.equal(await credentials.basic(), undefined)
  assert.equal(credentials.isAnonymous, true)
})

test('a password is sent in UTF-8, and a refusal changes nothing', async () => {
  const { credentials } = start({ kind: 'password', username: 'ü', password: 'パス:ワード' })
  const header = basic('ü', 'パス:ワード')
  assert.equal(await credentials.basic(), header)
  assert.equal(await credentials.refresh(header), false)
})

test('a file is read once, and again after a refusal, at most once a minute', async () => {
  using folder = mkdtempDisposableSync(join(tmpdir(), 'entrepot-'))
  const path = join(folder.path, 'password')
  await writeFile(path, 'one\n')
  const { credentials, now } = start({ kind: 'file', username: 'robot', path })
  const first = basic('robot', 'one')
  assert.equal(await credentials.basic(), first)
  await writeFile(path, 'two\r\n')
  assert.equal(await credentials.basic(), first)
  assert.equal(await credentials.refresh(first), true)
  const second = basic('robot', 'two')
  assert.equal(await credentials.basic(), second)
  assert.equal(await credentials.refresh(first), true, 'somebody else has read it already')

  await writeFile(path, 'three')
  assert.equal(await credentials.refresh(second), false)
  now.ms += 60_000
  assert.equal(await credentials.refresh(second), true)
})

test('only the last line break is taken off', async () => {
  const { credentials } = start(command("process.stdout.write(' a b \\n\\n')"))
  assert.equal(await credentials.basic(), basic('AWS', ' a b \n'))
})

test('a command is run without a shell, and gets no input', async () => {
  const script = "process.stdin.resume().on('end', () => console.log(process.argv[1]))"
  const source: CredentialSource = {
    kind: 'command',
    username: 'AWS',
    command: [process.execPath, '-e', script, '$(id); `id` && id'],
  }
  assert.equal(await start(source).credentials.basic(), basic('AWS', '$(id); `id` && id'))
})

test('a password that is withheld from this upstream is never read: the refusal says what to do', async () => {
  const { credentials } = start({ kind: 'withheld', problem: 'refused to send it to quay.io: set x' })
  assert.equal(credentials.isAnonymous, false)
  await assert.rejects(credentials.basic(), { failure: 'unreachable', outage: false, message: /: set x$/ })
  assert.equal(await credentials.refresh('Basic x'), false)
})

const BROKEN: [title: string, source: CredentialSource][] = [
  ['fails', command("console.error('hunter2'); process.exit(3)")],
  ['is not there', { kind: 'command', username: 'x', command: ['/no/such/program'] }],
  ['is empty', { kind: 'command', username: 'x', command: [] }],
  ['says nothing', command('')],
  ['never ends', command('setInterval(() => {}, 1000)')],
  ['says too much', command("process.stdout.write('hunter2'.repeat(1e5))")],
  ['is a file that is not there', { kind: 'file', username: 'x', path: '/no/such/file' }],
  ['is an endless file', { kind: 'file', username: 'x', path: '/dev/zero' }],
  ['is a folder', { kind: 'file', username: 'x', path: '/' }],
]

test('a command that fails is not run again for each client that asks, but soon', async () => {
  using folder = mkdtempDisposableSync(join(tmpdir(), 'entrepot-'))
  const path = join(folder.path, 'password')
  const { credentials, now } = start({ kind: 'file', username: 'robot', path })
  await assert.rejects(credentials.basic(), { failure: 'denied' })
  await writeFile(path, 'one')
  await assert.rejects(credentials.basic(), { failure: 'denied' })
  now.ms += UPSTREAM_LIMITS.tokenDeniedMs
  assert.equal(await credentials.basic(), basic('robot', 'one'))
})

for (const [title, source] of BROKEN) {
  test(`what gives no password is a refusal that tells nothing of it: it ${title}`, async () => {
    const { credentials } = start(source, { passwordCommandMs: 500, passwordBytesMax: 1000 })
    await assert.rejects(credentials.basic(), (error: Error & { failure?: string }) => {
      assert.equal(error.failure, 'denied')
      assert.match(error.message, /^cannot use the password (?:file|command) for quay\.io: /)
      assert.doesNotMatch(`${error.message} ${error.cause}`, /hunter2|such/)
      return true
    })
  })
}
