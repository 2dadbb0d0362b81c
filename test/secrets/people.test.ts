/** Nothing secret of people in what the server writes: log lines, errors, answers, metrics, the data folder. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'

const main = new URL('../../src/main.ts', import.meta.url).pathname
const endWithParent = new URL('../crash/end-with-parent.ts', import.meta.url).href

type Answer = { status: number; headers: Headers; text: string; body: Record<string, never> }
type Running = { url: string; folder: string; output: () => string; stop: () => Promise<void> }

async function serve(t: TestContext): Promise<Running> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-secrets-'))
  const child = spawn(process.execPath, ['--import', endWithParent, main, 'serve'], {
    env: {
      PATH: process.env['PATH'],
      ...{ HOST: '127.0.0.1', PORT: '0', ENTREPOT_DATA: folder, ENTREPOT_METRICS_PORT: '0' },
      ...{ ENTREPOT_LOG_LEVEL: 'debug', ENTREPOT_MINIMUM_FREE_BYTES: '0' },
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit')
  let output = ''
  const listening = Promise.withResolvers<string>()
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      output += `${line}\n`
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0]
      if (url !== undefined) listening.resolve(url)
    })
  }
  void exited.then(() => listening.reject(new Error(`the server ended:\n${output}`)))
  const stop = async () => {
    child.kill('SIGTERM')
    await exited
  }
  t.after(async () => {
    await stop()
    await rm(folder, { recursive: true })
  })
  return { url: await listening.promise, folder, output: () => output, stop }
}

const password = 'password-that-is-secret'
const basic = (name: string, secret: string) => `Basic ${Buffer.from(`${name}:${secret}`).toString('base64')}`
const admin = basic('admin', password)
const applications = '/api/v1/organization/cache/applications'

type Recorded = { told: boolean; text: string }
type Send = ReturnType<typeof sender>

/** Sends requests, and records what is answered. */
function sender(url: string, answers: Recorded[]) {
  /** `told`: this answer is where a secret is told. */
  return async (method: string, path: string, more: { as?: string; body?: object; told?: true; headers?: object }) => {
    const { as, body, told = false, headers } = more
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(as !== undefined && { authorization: as }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    answers.push({ told, text: `${path} ${response.status} ${text}` })
    return { status: response.status, headers: response.headers, text, body: JSON.parse(text || '{}') } as Answer
  }
}

/** One secret of every kind. */
async function gatherSecrets(send: Send) {
  const first = await send('POST', '/api/v1/user/initialize', {
    body: { username: 'admin', password, access_token: true },
    told: true,
  })
  assert.equal(first.status, 200, first.text)
  const typed = 'typed-in-the-wrong-field'
  await send('POST', '/api/v1/organization/', { as: admin, body: { name: 'cache' } })
  const app = await send('POST', '/api/v1/user/apptoken', { as: admin, body: { title: 'laptop' }, told: true })
  const client = await send('POST', applications, { as: admin, body: { name: 'ci' }, told: true })
  const tokens = `${applications}/${client.body['client_id']}/tokens`
  const oauth = await send('POST', tokens, { as: admin, body: { scope: 'repo:read' }, told: true })
  const csrf = await send('GET', '/csrf_token', { told: true })
  const visitor = String(csrf.headers.get('set-cookie')).split(';')[0] ?? ''
  const signedIn = await send('POST', '/api/v1/signin', {
    body: { username: 'admin', password },
    headers: { cookie: visitor, 'x-csrf-token': String(csrf.body['csrf_token']) },
  })
  assert.equal(signedIn.status, 200, signedIn.text)
  const cookie = /session=([^;]+)/.exec(String(signedIn.headers.get('set-cookie')))?.[1] ?? ''
  const code = String(Reflect.get(app.body['token'] ?? {}, 'token_code'))
  const registry = await send('GET', '/v2/auth', { as: basic('$app', code), told: true })
  return {
    password,
    typed,
    code,
    cookie,
    accessToken: String(first.body['access_token']),
    clientSecret: String(client.body['client_secret']),
    oauthToken: String(oauth.body['token']),
    csrfToken: String(csrf.body['csrf_token']),
    registryToken: String(registry.body['token']),
    visitor: visitor.slice('session='.length),
  }
}

async function misuse(send: Send, secrets: Readonly<Record<string, string>>, clientId: string): Promise<void> {
  // Every secret where it does not belong, and mistakes around it.
  for (const secret of Object.values(secrets)) {
    for (const as of [
      `Bearer ${secret}`,
      basic('admin', `${secret}x`),
      basic(secret, 'x'),
      basic('$app', `${secret}x`),
    ]) {
      await send('GET', '/api/v1/user/', { as })
      await send('GET', '/v2/cache/app/manifests/v1', { as })
      await send('GET', '/v2/auth?scope=repository:cache/app:pull', { as: as.replace('Bearer', 'Digest') })
    }
    await send('GET', '/api/v1/user/', { headers: { cookie: `session=${secret}` } })
    await send('PUT', '/api/v1/user/', { as: admin, body: { password: 7, email: `${secret} no address` } })
    await send('POST', '/api/v1/superuser/users/', { as: admin, body: { username: `${secret} X`, password: secret } })
    await send('POST', `${applications}/${clientId}/tokens`, { as: admin, body: { scope: secret } })
    await send('POST', '/api/v1/signin', { body: { username: secret, password: secret } })
  }
  await send('GET', '/api/v1/user/apptoken', { as: admin })
  await send('GET', `${applications}/${clientId}/tokens`, { as: admin })
  await send('GET', '/config', {})
  await send('GET', '/api/v1/superuser/users/', { as: admin })
}

async function readFolder(folder: string): Promise<string[]> {
  const kept: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) kept.push((await readFile(join(entry.parentPath, entry.name))).toString('latin1'))
  }
  return kept
}

test('no secret of a user, session or token is in a log line, a refusal, or the data folder', async (t) => {
  const server = await serve(t)
  const answers: Recorded[] = []
  const send = sender(server.url, answers)
  const secrets = await gatherSecrets(send)
  for (const [name, secret] of Object.entries(secrets)) assert.ok(secret.length > 20, `${name}: ${secret}`)
  const listed = await send('GET', applications, { as: admin, told: true })
  const clientId = /"client_id":"([^"]+)"/.exec(listed.text)?.[1] ?? ''
  await misuse(send, secrets, clientId)
  await server.stop()
  const kept = await readFolder(server.folder)
  assert.ok(
    kept.some((text) => text.includes('admin')),
    'the data folder was not read',
  )
  assert.ok(server.output().includes('sign_in_failed'), server.output().slice(0, 2000))
  const refusals = answers.filter(({ told }) => !told).map(({ text }) => text)
  for (const [name, secret] of Object.entries(secrets)) {
    assert.ok(!server.output().includes(secret), `${name} is in the log`)
    assert.ok(!refusals.some((text) => text.includes(secret)), `${name} is in an answer`)
    assert.ok(!kept.some((text) => text.includes(secret)), `${name} is in the data folder`)
  }
})
