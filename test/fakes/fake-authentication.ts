/** How a fake upstream asks for credentials: not at all, Basic, or tokens (Docker's token protocol). */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

export type FakeLogin = { username: string; password: string }

export type FakeAuthentication =
  | { kind: 'none' }
  | { kind: 'basic'; login: FakeLogin; realm?: string }
  | {
      kind: 'token'
      /** Who may pull. Undefined: anybody, also without credentials. */
      login?: FakeLogin
      /** Where tokens are given. Default: `/token` of this server. */
      realm?: string
      /** `expires_in`; undefined sends none. */
      expiresInSeconds?: number
      /** The field that holds the token. Default `token`. */
      field?: 'token' | 'access_token' | 'both'
      /** Challenges before the one for tokens in the same header, such as `Negotiate`. */
      otherChallenges?: readonly string[]
    }

const service = 'fake-upstream'

export class Authority {
  settings: FakeAuthentication
  #tokens = new Map<string, Set<string>>()

  constructor(settings: FakeAuthentication) {
    this.settings = settings
  }

  /** What to answer instead of content: undefined when the request may go on. */
  challenge(request: IncomingMessage, repository: string | undefined, origin: string): string | undefined {
    const { settings } = this
    if (settings.kind === 'none') return undefined
    const header = request.headers.authorization
    if (settings.kind === 'basic') {
      return header === basic(settings.login) ? undefined : `Basic realm="${settings.realm ?? 'fake'}"`
    }
    const scopes = header?.startsWith('Bearer ') ? this.#tokens.get(header.slice('Bearer '.length)) : undefined
    if (scopes !== undefined && (repository === undefined || scopes.has(`repository:${repository}:pull`)))
      return undefined
    const scope = repository === undefined ? '' : `,scope="repository:${repository}:pull"`
    const bearer = `Bearer realm="${settings.realm ?? `${origin}/token`}",service="${service}"${scope}`
    return [...(settings.otherChallenges ?? []), bearer].join(', ')
  }

  /** Answers a request to the token endpoint: the status, and the body if it is 200. */
  giveToken(request: IncomingMessage, url: URL): { status: number; body: Record<string, unknown> } {
    const { settings } = this
    if (settings.kind !== 'token') return { status: 404, body: {} }
    const header = request.headers.authorization
    if (settings.login !== undefined && header !== basic(settings.login)) return { status: 401, body: {} }
    if (settings.login === undefined && header !== undefined) return { status: 401, body: {} }
    const token = `t-${randomUUID()}`
    this.#tokens.set(token, new Set(url.searchParams.getAll('scope').flatMap((scope) => scope.split(' '))))
    const field = settings.field ?? 'token'
    const body: Record<string, unknown> = {}
    if (field !== 'access_token') body['token'] = token
    if (field !== 'token') body['access_token'] = token
    if (settings.expiresInSeconds !== undefined) body['expires_in'] = settings.expiresInSeconds
    return { status: 200, body }
  }

  /** Tokens given so far are refused from now on. */
  revokeTokens(): void {
    this.#tokens.clear()
  }
}

function basic({ username, password }: FakeLogin): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}
