/**
 * `/v2/auth`: the Docker token protocol.
 * Source: distribution's "Token Authentication Specification" (GET) and "Oauth2 Token Authentication" (POST).
 */
import { parse } from 'node:querystring'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Admin } from '../../admin/admin.ts'
import type { Identity, TokenScope } from '../../admin/identity.ts'
import { grantScopes, parseTokenScope, TOKEN_SCOPE_LIMITS } from '../../admin/token-grants.ts'
import { KiB } from '../../base/units.ts'
import { RegistryError } from '../../errors.ts'

export const TOKEN_SERVICE_LIMITS = {
  formBytesMax: 64 * KiB,
  /** Fields of a query or form; the protocol has ten. */
  fieldsMax: 100,
  queryCharactersMax: 16 * KiB,
} as const

export type TokenServiceDependencies = { admin: Admin; onInternalError: (error: unknown) => void }

type Fields = Readonly<Record<string, string | string[] | undefined>>

/** Register `GET` and `POST /v2/auth`. */
export async function registerTokenService(
  fastify: FastifyInstance,
  dependencies: TokenServiceDependencies,
): Promise<void> {
  const { admin, onInternalError } = dependencies
  await fastify.register(async (service) => {
    service.setErrorHandler((error, _request, reply) => {
      const answer = toTokenError(error)
      if (answer.case === 'UNKNOWN') onInternalError(error)
      return sendTokenError(reply, answer, admin.settings.serverHostname)
    })
    service.removeAllContentTypeParsers()
    service.addContentTypeParser(
      'application/x-www-form-urlencoded',
      { parseAs: 'string', bodyLimit: TOKEN_SERVICE_LIMITS.formBytesMax },
      (_request, text: string, done) => done(null, parse(text, '&', '=', { maxKeys: TOKEN_SERVICE_LIMITS.fieldsMax })),
    )
    for (const url of ['/v2/auth', '/v2/auth/']) {
      service.get(url, async (request, reply) => sendToken(admin, reply, await authenticateQuery(admin, request)))
      service.post(url, async (request, reply) => sendToken(admin, reply, await authenticateForm(admin, request)))
      service.route({
        method: ['PUT', 'PATCH', 'DELETE'],
        url,
        handler: async (_request, reply) => {
          void reply.header('Allow', 'GET, HEAD, POST')
          throw new RegistryError('METHOD_NOT_ALLOWED')
        },
      })
    }
  })
}

type Demand = { identity: Identity; scopes: readonly TokenScope[] }

async function authenticateQuery(admin: Admin, request: FastifyRequest): Promise<Demand> {
  const scopes = parseScopes(readQuery(request)['scope'])
  return { scopes, identity: await admin.authenticator.authenticateBasic(request.headers.authorization, request.ip) }
}

/** A registry token is only for pulling: it is not renewed by a refresh token, but asked for again. */
async function authenticateForm(admin: Admin, request: FastifyRequest): Promise<Demand> {
  const form = (request.body ?? {}) as Fields
  const scopes = parseScopes(form['scope'])
  if (textOf(form['grant_type']) !== 'password') {
    throw new RegistryError('REQUEST_INVALID', { message: 'grant_type: expected password' })
  }
  const [username, password] = [textOf(form['username']), textOf(form['password'])]
  if (username === undefined || password === undefined) {
    throw new RegistryError('REQUEST_INVALID', { message: 'username and password: are required, once each' })
  }
  return { scopes, identity: await admin.authenticator.authenticatePassword(username, password, request.ip) }
}

async function sendToken(admin: Admin, reply: FastifyReply, { identity, scopes }: Demand): Promise<FastifyReply> {
  const granted = await grantScopes(identity, scopes, admin.permission)
  const issued = await admin.registryTokens.issue(identity.principal, granted, identity.credential)
  return reply.header('Cache-Control', 'no-store').send({
    token: issued.token,
    access_token: issued.token,
    scope: granted.map(({ type, name, actions }) => `${type}:${name}:${actions.join(',')}`).join(' '),
    expires_in: issued.expiresInSeconds,
    issued_at: new Date(issued.issuedAtMs).toISOString(),
  })
}

/** Not Fastify's: it reads any number of fields. */
function readQuery(request: FastifyRequest): Fields {
  const question = request.url.indexOf('?')
  const query = question === -1 ? '' : request.url.slice(question + 1)
  if (query.length > TOKEN_SERVICE_LIMITS.queryCharactersMax) throw new RegistryError('REQUEST_TOO_LARGE')
  return parse(query, '&', '=', { maxKeys: TOKEN_SERVICE_LIMITS.fieldsMax })
}

/** Several, repeated or separated by blanks. What is no scope is not granted, as what may not be. */
function parseScopes(field: string | string[] | undefined): TokenScope[] {
  const words = [field ?? []].flat().flatMap((text) => text.split(' ').filter((word) => word !== ''))
  if (words.length > TOKEN_SCOPE_LIMITS.scopesMax) {
    throw new RegistryError('REQUEST_INVALID', { message: `scope: more than ${TOKEN_SCOPE_LIMITS.scopesMax}` })
  }
  return words.flatMap((word) => parseTokenScope(word) ?? [])
}

function textOf(field: string | string[] | undefined): string | undefined {
  return typeof field === 'string' && field !== '' ? field : undefined
}

function toTokenError(error: unknown): RegistryError {
  if (error instanceof RegistryError) return error
  const status = typeof error === 'object' && error !== null ? Reflect.get(error, 'statusCode') : undefined
  if (status === 413) return new RegistryError('REQUEST_TOO_LARGE', { cause: error })
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return new RegistryError('REQUEST_INVALID', {
      cause: error,
      message: 'expected a form (application/x-www-form-urlencoded)',
    })
  }
  return new RegistryError('UNKNOWN', { cause: error })
}

function sendTokenError(reply: FastifyReply, error: RegistryError, serverHostname: string): FastifyReply {
  if (error.retryAfterSeconds !== undefined) void reply.header('Retry-After', String(error.retryAfterSeconds))
  if (error.status === 401) void reply.header('WWW-Authenticate', `Basic realm="${serverHostname}"`)
  const detail = error.detail === undefined ? {} : { detail: error.detail }
  return reply
    .code(error.status)
    .header('Cache-Control', 'no-store')
    .send({ errors: [{ code: error.code, message: error.message, ...detail }] })
}
