/** A browser in front of the API under test: keeps its cookie and CSRF token as the console does. */
import assert from 'node:assert/strict'
import type { LightMyRequestResponse } from 'fastify'
import { type ApiRequest, type ApiUnderTest, PASSWORD } from './start-api.ts'

export class Browser {
  readonly #api: ApiUnderTest
  cookie: string | undefined
  csrfToken: string | undefined

  constructor(api: ApiUnderTest) {
    this.#api = api
  }

  /** With the cookie, and with the CSRF token for what is no GET. Takes over new ones. */
  async send(request: ApiRequest): Promise<LightMyRequestResponse> {
    const headers = {
      ...(this.cookie !== undefined && { cookie: `session=${this.cookie}` }),
      ...(request.method !== 'GET' && this.csrfToken !== undefined && { 'x-csrf-token': this.csrfToken }),
      ...request.headers,
    }
    const answer = await this.#api.send({ ...request, headers })
    const set = setCookieOf(answer)
    if (set !== undefined) this.cookie = set.value === '' ? undefined : set.value
    const next = answer.headers['x-next-csrf-token']
    if (typeof next === 'string') this.csrfToken = next
    return answer
  }

  async open(): Promise<void> {
    const answer = await this.send({ method: 'GET', path: '/csrf_token' })
    this.csrfToken = answer.json().csrf_token
  }

  async signIn(username: string, password = PASSWORD, from = '127.0.0.1'): Promise<LightMyRequestResponse> {
    await this.open()
    const body = { username, password }
    return this.send({ method: 'POST', path: '/api/v1/signin', body, from })
  }

  async status(method: ApiRequest['method'], path: string, body?: unknown): Promise<number> {
    return (await this.send({ method, path, ...(body !== undefined && { body }) })).statusCode
  }
}

export async function signedIn(api: ApiUnderTest, username: string): Promise<Browser> {
  const browser = new Browser(api)
  const answer = await browser.signIn(username)
  assert.equal(answer.statusCode, 200, answer.body)
  return browser
}

/** The session's cookie that an answer sets, and its attributes in lower case. */
export function setCookieOf(answer: LightMyRequestResponse): { value: string; attributes: string[] } | undefined {
  const header = [answer.headers['set-cookie'] ?? []].flat().find((line) => line.startsWith('session='))
  if (header === undefined) return undefined
  const [pair = '', ...attributes] = header.split(';').map((part) => part.trim())
  return { value: pair.slice('session='.length), attributes: attributes.map((attribute) => attribute.toLowerCase()) }
}
