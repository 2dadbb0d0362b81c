/** The server as its operator starts it, with a first user and organizations made through its API. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { stringify } from 'yaml'
import { answers, findFreePort, startDaemon } from './daemon.ts'
import type { Login } from './docker-registry.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'

export type EntrepotOptions = {
  /** Default: SQLite in the data folder. */
  databaseUri?: string
  /** More of `config.yaml`. */
  settings?: Record<string, unknown>
  /** A file with the time, for tests in which days pass. */
  testClockFile?: string
}

export type OrganizationOptions = {
  /** `host:port`, and perhaps a namespace; plain HTTP. */
  upstream: string
  login?: Login
}

export type RunningEntrepot = {
  /** `127.0.0.1:port`. */
  host: string
  url: string
  /** The first user: a superuser, for clients' logins. */
  login: Login
  dataFolder: string
  /** A request to `/api/v1`, as the first user. Errors: unless it is answered with a 2xx. */
  api(method: string, path: string, body?: unknown): Promise<unknown>
  createOrganization(name: string, options: OrganizationOptions): Promise<void>
  /** What the server wrote: log and messages. */
  output(): string
  stop(): Promise<void>
}

const MAIN = path.join(import.meta.dirname, '..', '..', 'src', 'main.ts')
const LOGIN: Login = { username: 'admin', password: 'correct horse battery' }
const EXPIRATION_SECONDS = 86_400

export async function startEntrepot(options: EntrepotOptions = {}): Promise<RunningEntrepot> {
  const folder = await makeTemporaryFolder('data')
  const host = `127.0.0.1:${await findFreePort()}`
  const url = `http://${host}`
  const configFile = path.join(folder.path, 'config.yaml')
  const database = options.databaseUri === undefined ? {} : { DB_URI: options.databaseUri }
  await writeFile(
    configFile,
    // Loopback is refused as an upstream unless it is named; a test machine's disk may be nearly full.
    stringify({
      SSRF_ALLOWED_HOSTS: ['127.0.0.0/8'],
      METRICS_PORT: 0,
      MINIMUM_FREE_BYTES: 0,
      ...database,
      ...options.settings,
    }),
  )
  const daemon = await startDaemon({
    command: process.execPath,
    args: [MAIN, 'serve', ...(options.testClockFile === undefined ? [] : ['--test-clock', options.testClockFile])],
    env: { PORT: host.split(':')[1] ?? '', ENTREPOT_DATA: folder.path, ENTREPOT_CONFIG: configFile },
    isReady: () => answers(`${url}/health/instance`),
  }).catch(async (error: unknown) => {
    await folder.remove()
    throw error
  })
  const stop = async () => {
    await daemon.stop()
    await folder.remove()
  }

  const first = { ...LOGIN, email: 'admin@example.com', access_token: true }
  let authorization: Record<string, string> = {}
  const api = async (method: string, place: string, body?: unknown): Promise<unknown> => {
    const response = await fetch(`${url}/api/v1${place}`, {
      method,
      headers: { ...authorization, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    assert.ok(response.ok, `${method} ${place}: ${response.status} ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }
  try {
    const created = await api('POST', '/user/initialize', first)
    assert.ok(typeof created === 'object' && created !== null && 'access_token' in created)
    authorization = { Authorization: `Bearer ${created.access_token}` }
  } catch (error) {
    await stop()
    throw error
  }
  return {
    host,
    url,
    login: LOGIN,
    dataFolder: folder.path,
    api,
    createOrganization: async (name, { upstream, login }) => {
      await api('POST', '/organization/', { name, email: `${name}@example.com` })
      await api('POST', `/organization/${name}/proxycache`, {
        upstream_registry: upstream,
        insecure: true,
        expiration_s: EXPIRATION_SECONDS,
        ...(login && { upstream_registry_username: login.username, upstream_registry_password: login.password }),
      })
    },
    output: () => daemon.output,
    stop,
  }
}
