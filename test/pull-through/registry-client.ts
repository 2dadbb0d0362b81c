/** A registry client that hides nothing: raw statuses and headers, bodies that break off, readers that stop reading. */
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'

export type ClientAnswer = {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
  /** False when the connection broke before the body's end. */
  isWhole: boolean
}

export type ClientRequest = {
  method?: string
  headers?: Record<string, string>
  body?: string | Buffer
  /** Sent as it is instead of `username:password`; `none` sends no credentials. */
  authorization?: string
}

export class RegistryClient {
  /** Where the server is now: a restart may move it. */
  readonly #origin: () => string
  readonly authorization: string | undefined

  constructor(origin: () => string, login: { username: string; password: string } | undefined) {
    this.#origin = origin
    this.authorization =
      login === undefined ? undefined : `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`
  }

  /** The whole answer. Rejects only when the connection ends without an answer. */
  async send(path: string, options: ClientRequest = {}): Promise<ClientAnswer> {
    const body = await this.open(path, options)
    return body.rest()
  }

  get(path: string, headers: Record<string, string> = {}): Promise<ClientAnswer> {
    return this.send(path, { headers })
  }

  head(path: string, headers: Record<string, string> = {}): Promise<ClientAnswer> {
    return this.send(path, { method: 'HEAD', headers })
  }

  /** Resolves at the headers; the body is read only as far as it is asked for. */
  open(path: string, options: ClientRequest = {}): Promise<OpenAnswer> {
    const authorization = options.authorization ?? this.authorization
    const headers: Record<string, string> = { ...options.headers }
    if (authorization !== undefined && authorization !== 'none') headers['authorization'] = authorization
    if (options.body !== undefined) headers['content-length'] = String(Buffer.byteLength(options.body))
    const { promise, resolve, reject } = Promise.withResolvers<OpenAnswer>()
    const { hostname, port } = new URL(this.#origin())
    const sent = request({ hostname, port, path, method: options.method ?? 'GET', headers, agent: false })
    sent.once('error', reject)
    sent.once('response', (message) => resolve(new OpenAnswer(message)))
    sent.end(options.body)
    return promise
  }
}

/** An answer whose body has not been read, or not to its end. */
export class OpenAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly #message: IncomingMessage
  readonly #chunks: Buffer[] = []
  #bytes = 0
  readonly #closed: Promise<void>

  constructor(message: IncomingMessage) {
    this.#message = message
    this.status = message.statusCode ?? 0
    this.headers = message.headers
    message.on('error', () => {}) // A body that breaks off shows as `isWhole: false`.
    this.#closed = new Promise((resolve) => message.once('close', () => resolve()))
  }

  /** Read until at least `bytes` have come, or the body is over; resolves to how many there are. */
  async read(bytes: number): Promise<number> {
    while (this.#bytes < bytes) {
      const chunk: Buffer | null = this.#message.read()
      if (chunk !== null) {
        this.#take(chunk)
        continue
      }
      if (this.#message.readableEnded || this.#message.destroyed) break
      await new Promise<void>((resolve) => {
        const done = () => {
          for (const event of ['readable', 'end', 'close']) this.#message.off(event, done)
          resolve()
        }
        for (const event of ['readable', 'end', 'close']) this.#message.once(event, done)
      })
    }
    return this.#bytes
  }

  get bytesRead(): number {
    return this.#bytes
  }

  async rest(): Promise<ClientAnswer> {
    await this.read(Number.POSITIVE_INFINITY)
    await this.#closed
    return {
      status: this.status,
      headers: this.headers,
      body: Buffer.concat(this.#chunks),
      isWhole: this.#message.complete,
    }
  }

  /** Break the connection, as a client that is killed does. */
  destroy(): void {
    this.#message.destroy()
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#bytes += chunk.byteLength
  }
}

/** The code of the first error in an answer's body, in the spec's JSON. */
export function errorOf(answer: ClientAnswer): { code: string; message: string; detail?: unknown } {
  const document = JSON.parse(answer.body.toString())
  const [error] = document.errors
  return error
}
