/** A route of `/api/v1` as data: method, path, who may call, what the body must be, and what happens then. */
import type { FastifyInstance, FastifyRequest, HTTPMethods } from 'fastify'
import type { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { AdminError } from '../../admin/admin-error.ts'
import { ANONYMOUS, type Caller, requireAccount, requireFreshLogin } from '../../admin/caller.ts'
import { isCsrfToken } from '../../admin/csrf.ts'
import { type ApiOperation, operationOf } from '../../admin/permission-table.ts'
import { SECOND_MS } from '../../base/units.ts'
import { type ApiAnswer, sendAnswer } from './answer.ts'
import { readSessionCookie } from './session-cookie.ts'

export type ApiCall<Body> = {
  caller: Caller
  /** The client's address as the server sees it, behind trusted proxies the one they name. */
  address: string
  params: Readonly<Record<string, string>>
  body: Body
  request: FastifyRequest
}

export type ApiMethod = 'GET' | 'POST' | 'PUT' | 'DELETE'

export type ApiRoute = {
  method: ApiMethod
  /** Below `/api/v1`, with Fastify's parameters; served with and without a slash at its end, as Quay does. */
  path: string
  /** open: no credentials are looked at. optional: those that are sent must be good. required: 401 without. */
  access: 'open' | 'optional' | 'required'
  /**
   * Whether a change without an `Authorization` header needs the CSRF token of its cookie. By default when a session
   * signs it in; always: also when nobody is signed in (who signs in is somebody afterwards).
   */
  csrf?: 'always'
  /** As the permission table says, which is what counts. */
  freshLogin?: true
  /** Undefined when the route reads no body. */
  body: z.ZodType | undefined
  handle: (call: ApiCall<unknown>) => Promise<ApiAnswer>
}

/** A route whose handler is given the body as its schema says it. */
export function apiRoute<Schema extends z.ZodType>(route: {
  method: ApiMethod
  path: string
  access: ApiRoute['access']
  csrf?: 'always'
  freshLogin?: true
  body: Schema
  handle: (call: ApiCall<z.output<Schema>>) => Promise<ApiAnswer>
}): ApiRoute {
  const { handle, ...rest } = route
  return { ...rest, handle: (call) => handle({ ...call, body: parseBody(route.body, call.body) }) }
}

export const ALL_METHODS: readonly HTTPMethods[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

/** Register routes, and 405 for the other methods of their paths. */
export function registerRoutes(fastify: FastifyInstance, admin: Admin, routes: readonly ApiRoute[]): void {
  const methodsOfPaths = new Map<string, Set<string>>()
  for (const route of routes) {
    const bare = route.path.replace(/\/$/, '')
    for (const url of [bare, `${bare}/`]) {
      registerRoute(fastify, admin, route, url)
      methodsOfPaths.set(url, (methodsOfPaths.get(url) ?? new Set<string>()).add(route.method))
    }
  }
  for (const [url, methods] of methodsOfPaths) refuseOtherMethods(fastify, url, methods)
}

function registerRoute(fastify: FastifyInstance, admin: Admin, route: ApiRoute, url: string): void {
  const guarded = { ...route, operation: operationOf(route) }
  const callers = new WeakMap<FastifyRequest, Caller>()
  fastify.route({
    method: route.method,
    url,
    // Before the body is read: nobody unknown makes us read a megabyte.
    onRequest: async (request) => {
      const params = request.params as Readonly<Record<string, string>>
      callers.set(request, await admit(admin, guarded, request, params))
    },
    handler: async (request, reply) => {
      const answer = await route.handle({
        caller: callers.get(request) ?? ANONYMOUS,
        address: request.ip,
        params: request.params as Readonly<Record<string, string>>,
        body: request.body,
        request,
      })
      return sendAnswer(reply, answer)
    },
  })
}

/** A route and its row of the permission table. */
export type GuardedRoute = ApiRoute & { operation: ApiOperation }

/**
 * Who calls a route, if the permission table lets them. Errors: AdminError INVALID_TOKEN, FRESH_LOGIN_REQUIRED,
 * INSUFFICIENT_SCOPE, also without the CSRF token; NOT_FOUND for an organization that is not there; TOO_MANY_REQUESTS.
 */
export async function admit(
  admin: Admin,
  route: GuardedRoute,
  request: FastifyRequest,
  params: Readonly<Record<string, string>>,
): Promise<Caller> {
  const caller = await identifyCaller(admin, route, request)
  await admin.gate.require(caller, route.operation, params)
  return caller
}

async function identifyCaller(admin: Admin, route: GuardedRoute, request: FastifyRequest): Promise<Caller> {
  const { authorization } = request.headers
  const sessionId = authorization === undefined ? readSessionCookie(request.headers.cookie) : undefined
  if (route.csrf === 'always' && authorization === undefined) requireCsrfToken(request, sessionId)
  if (route.access === 'open') return ANONYMOUS
  const caller = await admin.callers.identify({ authorization, sessionId }, request.ip)
  if (route.access === 'required') requireAccount(caller)
  const isSession = caller.kind === 'account' && caller.session !== undefined
  if (isSession && route.method !== 'GET') requireCsrfToken(request, sessionId)
  const { clock, settings } = admin
  if (route.operation.freshLogin) requireFreshLogin(caller, clock(), settings.freshLoginSeconds * SECOND_MS)
  return caller
}

/** Quay's header and message. */
function requireCsrfToken(request: FastifyRequest, sessionId: string | undefined): void {
  const token = request.headers['x-csrf-token']
  if (sessionId !== undefined && typeof token === 'string' && isCsrfToken(sessionId, token)) return
  throw new AdminError('INSUFFICIENT_SCOPE', 'CSRF token was invalid or missing.')
}

function refuseOtherMethods(fastify: FastifyInstance, url: string, methods: ReadonlySet<string>): void {
  const others = ALL_METHODS.filter((method) => !methods.has(method))
  const allowed = [...methods, ...(methods.has('GET') ? ['HEAD'] : [])].sort().join(', ')
  fastify.route({
    method: [...others],
    url,
    exposeHeadRoute: !methods.has('GET'),
    onRequest: async (_request, reply) => {
      void reply.header('Allow', allowed)
      throw new AdminError('METHOD_NOT_ALLOWED', `expected ${allowed}`)
    },
    handler: async () => undefined,
  })
}

/** Errors: AdminError INVALID_REQUEST, naming the first field that is wrong. Quotes nothing of the body. */
function parseBody<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  // Else an issue does not tell a field that is absent from one that is wrong.
  const parsed = schema.safeParse(body, { reportInput: true })
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const field = issue === undefined || issue.path.length === 0 ? 'body' : issue.path.map(String).join('.')
  throw new AdminError('INVALID_REQUEST', `${field}: ${problemOf(issue)}`)
}

function problemOf(issue: z.core.$ZodIssue | undefined): string {
  if (issue === undefined) return 'is not what it must be'
  if (issue.code === 'invalid_type' && issue.input === undefined) return `is required (${issue.expected})`
  return issue.message
}
