/** The real application in this process: real sockets, SQLite, files in a folder of its own, a clock that tests set. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startApp } from '../../src/app.ts'
import type { CacheLimits } from '../../src/cache.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { FakeTags } from '../fakes/fake-repository.ts'
import { startFakeUpstream, type TestLife } from '../fakes/fake-upstream.ts'
import { Cache, type CacheOptions, type Login } from './cache.ts'
import { eventually } from './eventually.ts'
import { type ClientAnswer, RegistryClient } from './registry-client.ts'
import { TestClock } from './test-clock.ts'

const admin: Login = { username: 'admin', password: 'correct horse battery' }

/** `limits` are for what tests would otherwise wait for. */
export async function startEntrepot(
  settings: Readonly<Record<string, unknown>> = {},
  limits: CacheLimits = {},
): Promise<Entrepot> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-test-'))
  const entrepot = new Entrepot(folder, settings, limits)
  await entrepot.clock.write()
  await entrepot.start()
  const body = JSON.stringify({ ...admin, email: 'admin@example.com' })
  const answer = await entrepot.api('POST', '/api/v1/user/initialize', body, 'none')
  if (answer.status !== 200) throw new Error(`cannot make the first user: ${answer.status} ${answer.body.toString()}`)
  return entrepot
}

type RunningApp = Awaited<ReturnType<typeof startApp>>

export class Entrepot {
  readonly folder: string
  readonly clock: TestClock
  readonly #settings: Readonly<Record<string, unknown>>
  readonly #limits: CacheLimits
  #app: RunningApp | undefined
  #origin = ''
  #names = 0

  constructor(folder: string, settings: Readonly<Record<string, unknown>>, limits: CacheLimits) {
    this.folder = folder
    this.#limits = limits
    this.#settings = settings
    this.clock = new TestClock(join(folder, 'clock'))
  }

  get origin(): string {
    return this.#origin
  }

  async start(): Promise<void> {
    const env: Record<string, string> = {
      HOST: '127.0.0.1',
      PORT: '0',
      ENTREPOT_DATA: join(this.folder, 'data'),
      ENTREPOT_LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
      ENTREPOT_METRICS_PORT: '0',
      ENTREPOT_MINIMUM_FREE_BYTES: '0',
      ENTREPOT_SHUTDOWN_GRACE_SECONDS: '0',
      ENTREPOT_SSRF_ALLOWED_HOSTS: '127.0.0.1/32',
    }
    for (const [key, value] of Object.entries(this.#settings)) {
      env[`ENTREPOT_${key}`] = typeof value === 'string' ? value : JSON.stringify(value)
    }
    const testOptions = { testClockFile: this.clock.file, testLimits: this.#limits }
    this.#app = await startApp(loadConfig({ env }), testOptions)
    this.#origin = this.#app.url
  }

  /** Stop it, keep its folder. */
  async halt(): Promise<void> {
    const app = this.#app
    this.#app = undefined
    await app?.close()
  }

  /** Stop it and remove its folder. */
  async stop(): Promise<void> {
    await this.halt()
    await rm(this.folder, { recursive: true, force: true })
  }

  async restart(): Promise<void> {
    await this.halt()
    await this.start()
  }

  client(login: Login | undefined): RegistryClient {
    return new RegistryClient(() => this.#origin, login)
  }

  /** As the superuser. `body` is JSON text. */
  api(method: string, path: string, body?: string, authorization?: string): Promise<ClientAnswer> {
    return this.client(admin).send(path, {
      method,
      ...(body !== undefined && { body, headers: { 'content-type': 'application/json' } }),
      ...(authorization !== undefined && { authorization }),
    })
  }

  /** As `api`; rejects unless the answer is a 2xx. */
  async must(method: string, path: string, document: unknown): Promise<ClientAnswer> {
    const answer = await this.api(method, path, JSON.stringify(document))
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.body.toString()}`)
    return answer
  }

  /** A user who belongs to no organization. */
  async createUser(): Promise<Login> {
    const login = { username: `user${++this.#names}`, password: 'a password of some length' }
    await this.must('POST', '/api/v1/superuser/users/', { ...login, email: `${login.username}@example.com` })
    return login
  }

  /** A new organization that stands for an upstream with these repositories. */
  async cache(
    life: TestLife,
    repositories: Readonly<Record<string, FakeTags>>,
    options: CacheOptions = {},
  ): Promise<Cache> {
    const upstream = options.upstream ?? (await startFakeUpstream(life, repositories, options))
    const organization = options.organization ?? `org${++this.#names}`
    await this.must('POST', '/api/v1/organization/', { name: organization, email: `${organization}@example.com` })
    const cache = new Cache(this, organization, upstream, this.client(admin))
    const policy = { ...(upstream.caPem !== undefined && { ca_certificate: upstream.caPem }), ...options.policy }
    await cache.setUpstream(upstream, options)
    if (Object.keys(policy).length > 0) await cache.setPolicy(policy)
    return cache
  }

  /** A line of the metrics, as a number. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.#app?.metricsUrl}`)).text()
    return Number(text.match(new RegExp(`^${RegExp.escape(name)} (\\S+)$`, 'm'))?.[1])
  }

  /** Resolves when no blob is being received, and what was has been kept or given up. */
  async ingestsEnded(): Promise<void> {
    await eventually(async () => assert.equal(await this.metric('entrepot_ingests_running'), 0))
  }

  /** So many turns that what clients had sent before has been read and begun. */
  async roundTrips(): Promise<void> {
    for (let trip = 0; trip < 5; trip++) await this.client(admin).get('/v2/')
  }

  /** Remove a stored blob's file behind the server's back. */
  async removeBlob(digest: string): Promise<void> {
    const [algorithm = '', hex = ''] = digest.split(':')
    await rm(join(this.folder, 'data', 'blobs', algorithm, hex.slice(0, 2), hex))
  }
}
