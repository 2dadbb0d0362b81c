/** Programs that serve while a test runs: started, awaited, and stopped without leaving anything behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { findProgram } from './debian-packages.ts'

export type DaemonOptions = {
  command: string
  args: readonly string[]
  env?: Record<string, string>
  /** Run as this user of the system; needs root. */
  user?: string
  /** Whether it serves by now; asked again and again. An error means not yet. */
  isReady: () => Promise<boolean>
  readyMsMax?: number
  /** How it is told to stop. Default SIGTERM. */
  stopSignal?: NodeJS.Signals
}

const READY_MS_MAX = 30_000
const ASK_AGAIN_MS = 25
/** After this, a daemon that was told to stop is killed. */
const STOP_MS_MAX = 15_000
/** What is kept of the output, for messages. */
const OUTPUT_CHARACTERS_MAX = 10_000_000

export class Daemon {
  readonly #child: ChildProcess
  readonly #stopSignal: NodeJS.Signals
  readonly #ended: Promise<unknown>
  #output = ''

  constructor(options: DaemonOptions) {
    const [command, ...args] = withDeathSignal(options)
    // A group of its own, so that ^C reaches the test first, which then stops its daemons in order.
    this.#child = spawn(command, args, {
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    this.#stopSignal = options.stopSignal ?? 'SIGTERM'
    this.#ended = once(this.#child, 'close').catch((error: unknown) => this.#keep(String(error)))
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => this.#keep(text))
    }
  }

  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error(`not started: ${this.#output}`)
    return pid
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid !== undefined
  }

  /** What it wrote so far, to both streams. */
  get output(): string {
    return this.#output
  }

  /** Resolves when it has ended. Idempotent. */
  async stop(signal: NodeJS.Signals = this.#stopSignal): Promise<void> {
    if (this.isRunning) this.#child.kill(signal)
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    await this.#ended
    clearTimeout(killer)
  }

  #keep(text: string): void {
    this.#output = (this.#output + text).slice(-OUTPUT_CHARACTERS_MAX)
  }
}

/** Start a daemon and wait until it serves. Errors: with its output, when it ends or does not serve in time. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const daemon = new Daemon(options)
  const deadline = performance.now() + (options.readyMsMax ?? READY_MS_MAX)
  while (daemon.isRunning && performance.now() < deadline) {
    if (await options.isReady().catch(() => false)) return daemon
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS))
  }
  const problem = daemon.isRunning ? 'does not serve' : 'ended'
  await daemon.stop()
  throw new Error(`${options.command} ${problem}:\n${daemon.output.slice(-4000)}`)
}

/** The kernel stops it when this process dies, however it dies. */
function withDeathSignal(options: DaemonOptions): [string, ...string[]] {
  const setpriv = findProgram('setpriv')
  if (setpriv === undefined) return [options.command, ...options.args]
  const user = options.user === undefined ? [] : [`--reuid=${options.user}`, `--regid=${options.user}`, '--init-groups']
  const signal = options.stopSignal ?? 'SIGTERM'
  return [setpriv, ...user, `--pdeathsig=${signal.slice(3)}`, '--', options.command, ...options.args]
}

/** A loopback port that nobody uses now. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('a listening server has no port')
  return address.port
}

/** Whether a web server answers at `url` at all. */
export async function answers(url: string): Promise<boolean> {
  const response = await fetch(url)
  await response.body?.cancel()
  return true
}
