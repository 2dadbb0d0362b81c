/** The server's REST API, as the commands use it. */
import { MiB, SECOND_MS } from '../base/units.ts'
import { CommandFailure } from './failure.ts'
import { printable } from './terminal.ts'

export type ApiAnswer = { status: number; body: unknown }

const answerBytesMax = 4 * MiB
/** Testing an upstream may take the server half a minute. */
const answerMsMax = 90 * SECOND_MS
const messageCharactersMax = 1000

export class ApiClient {
  readonly server: string
  readonly #headers: Readonly<Record<string, string>>

  /** `server` is `http(s)://host[:port]`; `authorization` a whole header value. */
  constructor(server: string, authorization: string | undefined, headers: Readonly<Record<string, string>> = {}) {
    const url = URL.parse(server)
    if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
      const hint = 'write http://HOST:PORT or https://HOST:PORT'
      throw new CommandFailure('usage', `cannot use ${printable(server)} as server`, { hint })
    }
    this.server = url.origin
    this.#headers = authorization === undefined ? headers : { ...headers, authorization }
  }

  /** Send JSON to a path under /api/v1. Any JSON answer is returned. Errors: CommandFailure when there is none. */
  async send(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<ApiAnswer> {
    const response = await this.#fetch(method, path, body)
    if (response.status >= 300 && response.status < 400) {
      await response.body?.cancel()
      throw this.#noServer(`it redirects to ${printable(response.headers.get('location') ?? 'nowhere')}`)
    }
    const text = await this.#readText(response)
    try {
      return { status: response.status, body: text === '' ? undefined : JSON.parse(text) }
    } catch {
      throw this.#noServer(`it answered ${response.status} with something that is no JSON`)
    }
  }

  async #fetch(method: string, path: string, body: unknown): Promise<Response> {
    try {
      return await fetch(`${this.server}/api/v1${path}`, {
        method,
        headers: {
          ...this.#headers,
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        redirect: 'manual', // A redirect could carry the credentials elsewhere.
        signal: AbortSignal.timeout(answerMsMax),
      })
    } catch (error) {
      throw this.#unreachable(error)
    }
  }

  async #readText(response: Response): Promise<string> {
    const chunks: Uint8Array[] = []
    let bytes = 0
    try {
      for await (const chunk of response.body ?? []) {
        bytes += chunk.byteLength
        if (bytes > answerBytesMax) break
        chunks.push(chunk)
      }
    } catch (error) {
      throw this.#unreachable(error)
    }
    if (bytes > answerBytesMax) throw this.#noServer(`its answer is larger than ${answerBytesMax} bytes`)
    return Buffer.concat(chunks).toString('utf8')
  }

  #unreachable(error: unknown): CommandFailure {
    const reason = reasonOf(error)
    const hint = /certificate|self.signed|issuer|altname/i.test(reason)
      ? 'does NODE_EXTRA_CA_CERTS name the file of the authority that signed its certificate?'
      : 'is it running? Start it with `npm start`, or name another with --server or ENTREPOT_SERVER'
    return new CommandFailure('unreachable', `cannot reach ${this.server}: ${reason}`, { hint, cause: error })
  }

  #noServer(what: string): CommandFailure {
    const hint = 'is this the address of Entrepot itself? Name it with --server or ENTREPOT_SERVER'
    return new CommandFailure('unreachable', `${this.server} does not answer as Entrepot does: ${what}`, { hint })
  }
}

/** The failure that an answer other than a success is. */
export function refusal(doing: string, answer: ApiAnswer): CommandFailure {
  const message = `cannot ${doing}: ${messageOf(answer)}`
  return new CommandFailure('refused', message, { hint: hintFor(answer.status), status: answer.status })
}

/** What the server says of its answer; Quay's error bodies have several names for it. */
export function messageOf(answer: ApiAnswer): string {
  const { body } = answer
  if (typeof body === 'object' && body !== null) {
    for (const key of ['error_message', 'detail', 'message', 'title']) {
      const value: unknown = Reflect.get(body, key)
      if (typeof value === 'string' && value !== '') return printable(value).slice(0, messageCharactersMax)
    }
  }
  return `the server answered ${answer.status}`
}

function hintFor(status: number): string | undefined {
  if (status === 401) return 'say who you are: --token or ENTREPOT_TOKEN, or --user with a password'
  if (status === 403)
    return 'the user or token may not do this; ask a superuser or an administrator of the organization'
  if (status === 404) return 'is the name right, and is the feature switched on in the server?'
  if (status === 429) return 'too many attempts; wait a minute and try again'
  return status >= 500 ? "the server's log has the cause" : undefined
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error'
  if (error.name === 'TimeoutError') return `no answer within ${answerMsMax / SECOND_MS} s`
  // fetch says "fetch failed"; what failed is its cause, or for several addresses the causes of that.
  const { cause } = error
  const inner = cause instanceof AggregateError ? cause.errors.at(-1) : cause
  return printable(inner instanceof Error && inner.message !== '' ? inner.message : error.message)
}
