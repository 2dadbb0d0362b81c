import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { isRotating } from '../../src/admin/secret-rotation.ts'
import { addSecrets, type Installation, makeInstallation } from './installation.ts'

const main = new URL('../../src/main.ts', import.meta.url).pathname
const endWithParent = new URL('../crash/end-with-parent.ts', import.meta.url).href

function start(installation: Installation, args: readonly string[]): ChildProcess {
  return spawn(process.execPath, ['--import', endWithParent, main, ...args], {
    env: {
      PATH: process.env['PATH'],
      ...{ HOST: '127.0.0.1', PORT: '0', ENTREPOT_METRICS_PORT: '0', ENTREPOT_DATA: installation.folder },
      ...{ ENTREPOT_MINIMUM_FREE_BYTES: '0', ENTREPOT_SHUTDOWN_GRACE_SECONDS: '0', ...installation.env },
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}

/** Resolves when the process has said that. */
function said(child: ChildProcess, what: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = ''
    const listen = (text: string) => {
      output += text
      if (what.test(output)) resolve()
    }
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', listen)
    child.once('exit', () => reject(new Error(output)))
  })
}

test('after kill -9 in the middle of a rotation the server starts, and finishes it beside the requests', async (t) => {
  const installation = await makeInstallation(t)
  const secrets = await installation.withServer(async (box, db) => (await addSecrets(box, db, 300)).sort())
  const command = start(installation, ['secrets', 'rotate'])
  await said(command, /0 of \d+ secrets/)
  const killed = once(command, 'exit')
  command.kill('SIGKILL')
  await killed
  await installation.withServer(async (_box, db) =>
    assert.equal(await isRotating(db), true, 'it was not in the middle'),
  )
  const server = start(installation, ['serve'])
  t.after(() => server.kill('SIGKILL'))
  await said(server, /secrets_rotated/)
  const stopped = once(server, 'exit')
  server.kill('SIGTERM')
  await stopped
  await installation.withServer(async (box, db) => {
    assert.equal(await isRotating(db), false)
    assert.deepEqual(await installation.readAll(box, db), secrets)
  })
})
