/** An organization's username and password, wherever they come from. */
import { execFile } from 'node:child_process'
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Clock } from '../base/clock.ts'
import { SingleFlight } from '../base/single-flight.ts'
import { UpstreamError } from '../errors.ts'
import type { CredentialSource } from '../oci/registry.ts'
import type { UpstreamLimits } from './limits.ts'

const run = promisify(execFile)

export class Credentials {
  readonly #source: CredentialSource
  readonly #host: string
  readonly #clock: Clock
  readonly #limits: UpstreamLimits
  readonly #reads = new SingleFlight<string>()
  #header: string | undefined
  #failure: { error: UpstreamError; untilMs: number } | undefined
  #refreshedAtMs = Number.NEGATIVE_INFINITY

  constructor(options: { source: CredentialSource; host: string; clock: Clock; limits: UpstreamLimits }) {
    this.#source = options.source
    this.#host = options.host
    this.#clock = options.clock
    this.#limits = options.limits
  }

  get isAnonymous(): boolean {
    return this.#source.kind === 'anonymous'
  }

  /**
   * The value of a Basic `Authorization` header, in UTF-8 (RFC 7617); undefined when anonymous.
   * Errors: UpstreamError `denied` when the file or the command gives no password; `unreachable`, as for an address
   * that is refused, when the password must not be sent to this upstream.
   */
  async basic(): Promise<string | undefined> {
    if (this.#source.kind === 'anonymous') return undefined
    if (this.#source.kind === 'withheld') throw new UpstreamError('unreachable', this.#host, this.#source.problem)
    this.#header ??= await this.#read()
    return this.#header
  }

  /**
   * The upstream refused `header`: read the file or run the command again, at most once a minute.
   * Resolves to whether there is another password now.
   */
  async refresh(header: string): Promise<boolean> {
    if (this.#header !== undefined && this.#header !== header) return true
    if (this.#source.kind !== 'file' && this.#source.kind !== 'command') return false
    if (this.#clock() - this.#refreshedAtMs < this.#limits.tokenRenewalMs) return false
    this.#refreshedAtMs = this.#clock()
    this.#header = await this.#read()
    return this.#header !== header
  }

  /** Read once for all who ask at the same time. */
  #read(): Promise<string> {
    return this.#reads.run('', async () => {
      const source = this.#source
      if (source.kind === 'anonymous' || source.kind === 'withheld') throw new TypeError('there is no password to read')
      if (this.#failure !== undefined && this.#clock() < this.#failure.untilMs) throw this.#failure.error
      const password = await this.#readPassword(source).catch((error: unknown) => {
        // Clients ask on: a command that fails is not run for each of them.
        const untilMs = this.#clock() + this.#limits.tokenDeniedMs
        if (error instanceof UpstreamError) this.#failure = { error, untilMs }
        throw error
      })
      this.#failure = undefined
      return `Basic ${Buffer.from(`${source.username}:${password}`, 'utf8').toString('base64')}`
    })
  }

  async #readPassword(source: Exclude<CredentialSource, { kind: 'anonymous' | 'withheld' }>): Promise<string> {
    switch (source.kind) {
      case 'password':
        return source.password
      case 'file':
        return this.#checked(await this.#readFile(source.path), 'password file')
      case 'command':
        return this.#checked(await this.#runCommand(source.command), 'password command')
      default:
        throw new Error(`unhandled source of credentials: ${source satisfies never}`)
    }
  }

  async #readFile(path: string): Promise<string> {
    const { passwordBytesMax } = this.#limits
    try {
      await using file = await open(path)
      const { buffer, bytesRead } = await file.read(Buffer.alloc(passwordBytesMax + 1), 0, passwordBytesMax + 1, 0)
      if (bytesRead > passwordBytesMax) throw this.#unusable('password file', 'it is too large')
      return buffer.toString('utf8', 0, bytesRead)
    } catch (error) {
      if (error instanceof UpstreamError) throw error
      throw this.#unusable('password file', `it cannot be read${codeOf(error)}`)
    }
  }

  /** Without a shell, so that nothing in the arguments means anything. Its output, the password, is never shown. */
  async #runCommand([file, ...args]: readonly string[]): Promise<string> {
    if (file === undefined) throw this.#unusable('password command', 'it is empty')
    const { passwordCommandMs: timeout, passwordBytesMax: maxBuffer } = this.#limits
    try {
      const running = run(file, args, { timeout, maxBuffer, killSignal: 'SIGKILL', shell: false, encoding: 'utf8' })
      running.child.stdin?.end()
      return (await running).stdout
    } catch (error) {
      throw this.#unusable('password command', `it failed${codeOf(error)}`)
    }
  }

  #checked(text: string, what: string): string {
    const password = text.replace(/\r?\n$/, '')
    if (password === '') throw this.#unusable(what, 'it gives no password')
    return password
  }

  #unusable(what: string, why: string): UpstreamError {
    return new UpstreamError('denied', this.#host, `cannot use the ${what} for ${this.#host}: ${why}; correct it`)
  }
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' || typeof code === 'number' ? ` (${code})` : ''
}
