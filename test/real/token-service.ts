/** A token service that docker-registry trusts: the Docker token protocol, with names and passwords checked. */
import { createPrivateKey, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { SignJWT } from 'jose'
import { generate } from 'selfsigned'
import type { Login } from './docker-registry.ts'

export type TokenServiceOptions = {
  users: readonly Login[]
  /** Whether anyone may pull. Users may pull and push. Default false. */
  anonymousPulls?: boolean
  lifetimeSeconds?: number
}

export type TokenService = {
  realm: string
  service: string
  issuer: string
  /** What the registry has to trust. */
  rootCertPem: string
  /** How many tokens were asked for, refused ones too. */
  requestCount(): number
  stop(): Promise<void>
}

type Access = { type: string; name: string; actions: string[] }

const SERVICE = 'registry.test'
const ISSUER = 'token service of the tests'
/** The shortest that Docker's protocol knows. */
const LIFETIME_SECONDS = 60

export async function startTokenService(options: TokenServiceOptions): Promise<TokenService> {
  const pems = await generate([{ name: 'commonName', value: ISSUER }], { keyType: 'rsa', keySize: 2048 })
  const key = createPrivateKey(pems.private)
  const certificate = pems.cert.replaceAll(/-----[^-]+-----|\s/g, '')
  const lifetimeSeconds = options.lifetimeSeconds ?? LIFETIME_SECONDS

  const sign = (subject: string, access: Access[]) =>
    new SignJWT({ access })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', x5c: [certificate] })
      .setIssuer(ISSUER)
      .setSubject(subject)
      .setAudience(SERVICE)
      .setIssuedAt()
      .setNotBefore('-5s')
      .setExpirationTime(`${lifetimeSeconds}s`)
      .setJti(randomUUID())
      .sign(key)

  let requests = 0
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    requests += 1
    const url = new URL(request.url ?? '/', 'http://127.0.0.1')
    const user = authenticate(request, options.users)
    if (user === 'refused' || (user === 'nobody' && options.anonymousPulls !== true)) {
      response
        .writeHead(401, { 'Content-Type': 'application/json' })
        .end('{"details":"incorrect username or password"}')
      return
    }
    const allowed = user === 'nobody' ? ['pull'] : ['pull', 'push', 'delete']
    const access = url.searchParams.getAll('scope').flatMap((scope) => grant(scope, allowed))
    const token = await sign(user === 'nobody' ? '' : user.username, access)
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify({ token, expires_in: lifetimeSeconds, issued_at: new Date().toISOString() }))
  }
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a listening server has no port')
  return {
    realm: `http://127.0.0.1:${address.port}/token`,
    service: SERVICE,
    issuer: ISSUER,
    rootCertPem: pems.cert,
    requestCount: () => requests,
    stop: async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

function authenticate(request: IncomingMessage, users: readonly Login[]): Login | 'nobody' | 'refused' {
  const header = request.headers.authorization
  if (header === undefined) return 'nobody'
  const known = users.find((user) => header === basicAuthorization(user))
  return known ?? 'refused'
}

/** `repository:<name>:<actions>`; names may hold a colon (a port). */
function grant(scope: string, allowed: readonly string[]): Access[] {
  const [, type, name, actions] = /^([^:]+):(.+):([^:]*)$/.exec(scope) ?? []
  if (type !== 'repository' || name === undefined || actions === undefined) return []
  return [{ type, name, actions: actions.split(',').filter((action) => allowed.includes(action)) }]
}

export function basicAuthorization({ username, password }: Login): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}
