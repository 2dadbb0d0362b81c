/** The server as a process of its own, that tests kill and start again on the same data folder. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { FakeUpstream, TestLife } from '../fakes/fake-upstream.ts'
import { type ClientAnswer, RegistryClient } from '../pull-through/registry-client.ts'

const endWithParent = new URL('./end-with-parent.ts', import.meta.url).href
const main = new URL('../../src/main.ts', import.meta.url).pathname
const admin = { username: 'admin', password: 'correct horse battery' }
const askEveryMs = 20
const startMsMax = 20_000

/** A server whose organization `cache` stands for `upstream`. */
export async function startServer(life: TestLife, upstream: FakeUpstream): Promise<ServerProcess> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'entrepot-crash-'))
  const server = new ServerProcess(dataFolder, await findFreePort())
  life.after(async () => {
    await server.kill()
    await rm(dataFolder, { recursive: true, force: true })
  })
  await server.start()
  const first = await server.api('POST', '/api/v1/user/initialize', { ...admin, email: 'admin@example.com' })
  if (first.status !== 200) throw new Error(`cannot make the first user: ${first.status} ${first.body.toString()}`)
  for (const [path, body] of [
    ['/api/v1/organization/', { name: 'cache', email: 'cache@example.com' }],
    ['/api/v1/organization/cache/proxycache', { upstream_registry: upstream.host, insecure: true }],
  ] as const) {
    const answer = await server.api('POST', path, body)
    if (answer.status !== 201) throw new Error(`${path}: ${answer.status} ${answer.body.toString()}`)
  }
  return server
}

export class ServerProcess {
  readonly dataFolder: string
  readonly client: RegistryClient
  readonly #port: number
  #child: ChildProcess | undefined
  #output = ''

  constructor(dataFolder: string, port: number) {
    this.dataFolder = dataFolder
    this.#port = port
    this.client = new RegistryClient(() => `http://127.0.0.1:${port}`, admin)
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    const child = spawn(process.execPath, ['--import', endWithParent, main, 'serve'], {
      env: {
        PATH: process.env['PATH'],
        HOST: '127.0.0.1',
        PORT: String(this.#port),
        ENTREPOT_DATA: this.dataFolder,
        ENTREPOT_SSRF_ALLOWED_HOSTS: '127.0.0.0/8',
        ENTREPOT_METRICS_PORT: '0',
        ENTREPOT_MINIMUM_FREE_BYTES: '0',
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#child = child
    this.#output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-10_000)
      })
    }
    const deadline = AbortSignal.timeout(startMsMax)
    while (!(await this.#answers())) {
      if (child.exitCode !== null || deadline.aborted) throw new Error(`the server did not start:\n${this.#output}`)
      await delay(askEveryMs)
    }
  }

  /** `kill -9`; resolves when the process is gone. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill('SIGKILL')
    await exited
  }

  /** What it sees when this process ends; resolves to the signal that then ended it. */
  async orphan(): Promise<NodeJS.Signals | null> {
    const child = this.#child
    if (child === undefined) throw new Error('the server is not running')
    const exited = new Promise<NodeJS.Signals | null>((resolve) =>
      child.once('exit', (_code, signal) => resolve(signal)),
    )
    child.stdin?.destroy()
    return exited
  }

  api(method: string, path: string, body?: unknown): Promise<ClientAnswer> {
    return this.client.send(path, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(path.endsWith('/initialize') && { authorization: 'none' }),
    })
  }

  async #answers(): Promise<boolean> {
    try {
      return (await this.client.send('/health/instance', { authorization: 'none' })).status === 200
    } catch {
      return false // It does not listen yet.
    }
  }
}

async function findFreePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  const { port } = server.address() as AddressInfo
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return port
}
