/** A whole session with a server of its own process, and then a search of all that it left for every secret used. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { SEALED_PLACES } from '../../src/metadata/sealed-columns.ts'
import { blobsOf, image } from '../fakes/content.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { type Installation, makeInstallation, readPlace } from './installation.ts'

const main = new URL('../../src/main.ts', import.meta.url).pathname
const endWithParent = new URL('../crash/end-with-parent.ts', import.meta.url).href
const secretKey = 'the-secret-key-of-this-installation'

/** Collects what the process says and answers. */
class Session {
  readonly child: ChildProcess
  output = ''
  /** What was answered, beside the answers that are meant to tell a secret once. */
  readonly answers: string[] = []
  url = ''
  metricsUrl = ''

  constructor(installation: Installation) {
    this.child = spawn(process.execPath, ['--import', endWithParent, main, 'serve'], {
      env: {
        PATH: process.env['PATH'],
        ...{ HOST: '127.0.0.1', PORT: '0', ENTREPOT_METRICS_PORT: '0', ENTREPOT_DATA: installation.folder },
        ...{
          ENTREPOT_LOG_LEVEL: 'debug',
          ENTREPOT_SSRF_ALLOWED_HOSTS: '127.0.0.0/8',
          ENTREPOT_MINIMUM_FREE_BYTES: '0',
        },
        ...{ ENTREPOT_SHUTDOWN_GRACE_SECONDS: '0', ENTREPOT_DATABASE_SECRET_KEY: secretKey },
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
  }

  async start(): Promise<void> {
    const started = Promise.withResolvers<void>()
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
        if (/metrics on \S+\n/.test(this.output)) started.resolve()
      })
    }
    this.child.once('exit', () => started.reject(new Error(this.output)))
    await started.promise
    const [, url = '', metricsUrl = ''] = /serving (\S+), metrics on (\S+)/.exec(this.output) ?? []
    Object.assign(this, { url, metricsUrl })
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return
    const exited = once(this.child, 'exit')
    this.child.kill('SIGTERM')
    await exited
  }

  /** The parsed body; a secret that it is meant to tell is taken from it with `tells`. */
  async ask(
    method: string,
    path: string,
    options: { as?: string; body?: unknown; tells?: true; headers?: Record<string, string>; status?: number } = {},
  ) {
    const headers: Record<string, string> = { ...options.headers }
    if (options.as !== undefined) headers['authorization'] = options.as
    if (options.body !== undefined) headers['content-type'] = 'application/json'
    const body = options.body === undefined ? {} : { body: JSON.stringify(options.body) }
    const answer = await fetch(this.url + path, { method, headers, ...body })
    const text = await answer.text()
    if (options.status !== undefined) assert.equal(answer.status, options.status, `${method} ${path}: ${text}`)
    else assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`)
    if (options.tells === undefined) this.answers.push(`${[...answer.headers].join('\n')}\n${text}`)
    return { answer, json: /^[[{"]/.test(text) ? JSON.parse(text) : undefined }
  }
}

const basic = (user: string, secret: string) => `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`

/** Uses every way in, rightly and wrongly; resolves to the secrets that it used or was told. */
async function useEverything(session: Session, host: string, upstreamPassword: string): Promise<Map<string, string>> {
  const secrets = new Map<string, string>([
    ['key', secretKey],
    ['password', 'the password of admin'],
    ['mistyped password', 'a password that is wrong'],
    ['upstream password', upstreamPassword],
  ])
  const password = secrets.get('password') ?? ''
  const admin = basic('admin', password)
  const first = { username: 'admin', password, email: 'admin@example.com', access_token: true }
  const { json } = await session.ask('POST', '/api/v1/user/initialize', { body: first, tells: true })
  secrets.set('first access token', json.access_token)
  await session.ask('GET', '/api/v1/user/', { as: `Bearer ${json.access_token}` })
  await session.ask('GET', '/api/v1/user/', { as: basic('admin', 'a password that is wrong'), status: 401 })
  await session.ask('POST', '/api/v1/organization/', { as: admin, body: { name: 'hub' } })
  const upstream = { upstream_registry: host, insecure: true, upstream_registry_username: 'the-upstream-user' }
  const proxy = { ...upstream, upstream_registry_password: upstreamPassword }
  await session.ask('POST', '/api/v1/organization/hub/validateproxycache', { as: admin, body: proxy })
  await session.ask('POST', '/api/v1/organization/hub/proxycache', { as: admin, body: proxy })
  await session.ask('GET', '/api/v1/organization/hub/proxycache', { as: admin })
  await session.ask('GET', '/api/v1/organization/hub', { as: admin })
  const robot = await session.ask('PUT', '/api/v1/organization/hub/robots/ci', { as: admin, body: {}, tells: true })
  secrets.set('robot token', robot.json.token)
  const app = await session.ask('POST', '/api/v1/user/apptoken', { as: admin, body: { title: 't' }, tells: true })
  secrets.set('application token', app.json.token.token_code)
  const applications = '/api/v1/organization/hub/applications'
  const made = await session.ask('POST', applications, { as: admin, body: { name: 'a' }, tells: true })
  secrets.set('client secret', made.json.client_secret)
  const tokens = `${applications}/${made.json.client_id}/tokens`
  const token = await session.ask('POST', tokens, { as: admin, body: { scope: 'repo:read' }, tells: true })
  secrets.set('generated token', token.json.token ?? token.json.access_token)
  await session.ask('GET', tokens, { as: admin })
  await session.ask('GET', '/api/v1/user/apptoken', { as: admin })
  await useBrowser(session, password, secrets)
  await pull(session, secrets)
  return secrets
}

async function useBrowser(session: Session, password: string, secrets: Map<string, string>): Promise<void> {
  const cookieOf = (answer: Response) => /session=([^;]+)/.exec(answer.headers.get('set-cookie') ?? '')?.[1] ?? ''
  const visit = await session.ask('GET', '/csrf_token', { tells: true })
  const visitor = { cookie: `session=${cookieOf(visit.answer)}`, 'x-csrf-token': visit.json.csrf_token }
  const body = { username: 'admin', password }
  const signed = await session.ask('POST', '/api/v1/signin', { body, headers: visitor, tells: true })
  const cookie = cookieOf(signed.answer)
  secrets.set('session', cookie)
  await session.ask('GET', '/api/v1/user/', { headers: { cookie: `session=${cookie}` } })
}

async function pull(session: Session, secrets: Map<string, string>): Promise<void> {
  const logins = [
    ['admin', secrets.get('password')],
    ['hub+ci', secrets.get('robot token')],
    ['$app', secrets.get('application token')],
    ['$oauthtoken', secrets.get('first access token')],
  ] as const
  for (const [user, secret] of logins) {
    const path = '/v2/auth?service=localhost&scope=repository:hub/app:pull'
    const { json } = await session.ask('GET', path, { as: basic(user, secret ?? ''), tells: true })
    secrets.set(`registry token of ${user}`, json.token)
    await session.ask('GET', '/v2/hub/app/manifests/v1', { as: `Bearer ${json.token}`, ...anyStatus(user) })
  }
  await session.ask('GET', '/v2/hub/app/manifests/v1', { as: `Bearer ${secrets.get('robot token')}`, status: 401 })
  const { layers = [] } = (
    await session.ask('GET', '/v2/hub/app/manifests/v1', { as: basic('admin', secrets.get('password') ?? '') })
  ).json
  for (const { digest } of layers)
    await session.ask('GET', `/v2/hub/app/blobs/${digest}`, { as: basic('admin', secrets.get('password') ?? '') })
}

/** A robot without a team may not pull. */
function anyStatus(user: string): { status?: number } {
  return user === 'hub+ci' ? { status: 403 } : {}
}

/** As it is, in Base64 anywhere in a header, and as a URL has it. */
function spellings(secret: string): string[] {
  const inBase64 = [0, 1, 2].map((offset) =>
    Buffer.concat([Buffer.alloc(offset), Buffer.from(secret)])
      .toString('base64')
      .slice(4, -4),
  )
  return [secret, encodeURIComponent(secret), ...inBase64]
}

test('a whole session leaves no secret in clear: not in log, metrics, answers or data folder', async (t) => {
  const content = image({ seed: 'session', layers: 1, layerBytes: 1000 })
  const login = { username: 'the-upstream-user', password: 'the password of the upstream' }
  const upstream = await startFakeUpstream(t, { app: { v1: content } }, { authentication: { kind: 'basic', login } })
  const installation = await makeInstallation(t, { ENTREPOT_DATABASE_SECRET_KEY: secretKey })
  const session = new Session(installation)
  t.after(() => session.stop())
  await session.start()
  const secrets = await useEverything(session, upstream.host, login.password)
  assert.ok(blobsOf(content).length > 0)
  const metrics = await (await fetch(session.metricsUrl)).text()
  await session.stop()
  const places = new Map([
    ['log', session.output],
    ['metrics', metrics],
    ['answers', session.answers.join('\n')],
  ])
  for (const entry of await readdir(installation.folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    places.set(entry.name, (await readFile(join(entry.parentPath, entry.name))).toString('latin1'))
  }
  assert.ok(places.has('entrepot.db') && session.output.includes('/v2/hub/app/manifests/v1'))
  for (const [name, secret] of secrets) {
    assert.ok(secret.length >= 16, `${name}: ${secret}`)
    for (const [place, text] of places) {
      for (const spelling of spellings(secret)) assert.ok(!text.includes(spelling), `${name} stands in ${place}`)
    }
  }
  await installation.withServer(async (box, db) => {
    for (const place of SEALED_PLACES) {
      const values = await readPlace(db, place)
      assert.ok(values.length > 0, `nothing was stored in ${place.table}.${place.column}`)
      for (const { sealed, context } of values) box.open(sealed, context)
    }
  })
})
