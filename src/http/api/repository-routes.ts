/**
 * Routes below `/repository/<organization>/<name>`, whose names contain slashes: Fastify's parameters end at a slash,
 * so one wildcard takes them all and `repository-path.ts` tells them apart.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Admin } from '../../admin/admin.ts'
import { AdminError } from '../../admin/admin-error.ts'
import type { Caller } from '../../admin/caller.ts'
import { operationOf } from '../../admin/permission-table.ts'
import { sendAnswer } from './answer.ts'
import { ALL_METHODS, type ApiRoute, admit, type GuardedRoute } from './api-route.ts'
import { byLength, matchRepositoryPath, type RepositoryPath } from './repository-path.ts'

/**
 * Begins the `path` of such a route: `/repository/*` + `/tag/:tag`. Its handler finds `organization` and `repository`
 * in `params` beside what the rest names.
 */
export const REPOSITORY = '/repository/*'

type Match = { route: ApiRoute; path: RepositoryPath; caller: Caller }

export function isRepositoryRoute(route: ApiRoute): boolean {
  return route.path.startsWith(REPOSITORY)
}

/** Register those of `routes` that begin with `REPOSITORY`, and 405 for the other methods of their paths. */
export function registerRepositoryRoutes(fastify: FastifyInstance, admin: Admin, routes: readonly ApiRoute[]): void {
  const byPattern = new Map<string, GuardedRoute[]>()
  for (const plain of routes.filter(isRepositoryRoute)) {
    const route = { ...plain, operation: operationOf(plain) }
    const pattern = route.path.slice(REPOSITORY.length).replace(/^\/|\/$/g, '')
    byPattern.set(pattern, [...(byPattern.get(pattern) ?? []), route])
  }
  const patterns = [...byPattern].sort(([left], [right]) => byLength(left, right))
  const matches = new WeakMap<FastifyRequest, Match>()
  fastify.route({
    method: [...ALL_METHODS],
    url: REPOSITORY,
    // Before the body is read: nobody unknown makes us read a megabyte.
    onRequest: async (request, reply) => {
      const found = find(patterns, pathOf(request))
      if (found === undefined) throw new AdminError('NOT_FOUND', 'not found')
      const method = request.method === 'HEAD' ? 'GET' : request.method
      const route = found.routes.find((candidate) => candidate.method === method)
      if (route === undefined) {
        const allowed = allowedMethods(found.routes)
        void reply.header('Allow', allowed)
        throw new AdminError('METHOD_NOT_ALLOWED', `expected ${allowed}`)
      }
      const { organization, repository, params } = found.path
      const caller = await admit(admin, route, request, { ...params, organization, repository })
      matches.set(request, { route, path: found.path, caller })
    },
    handler: async (request, reply) => {
      const match = matches.get(request)
      if (match === undefined) throw new Error('a request reached its handler before its route was found')
      const { organization, repository, params } = match.path
      const answer = await match.route.handle({
        caller: match.caller,
        address: request.ip,
        params: { ...params, organization, repository },
        body: request.body,
        request,
      })
      return sendAnswer(reply, answer)
    },
  })
}

function find(patterns: readonly [string, GuardedRoute[]][], path: string) {
  for (const [pattern, routes] of patterns) {
    const matched = matchRepositoryPath(path, pattern)
    if (matched !== undefined) return { routes, path: matched }
  }
  return undefined
}

/** As it was sent: Fastify's own parameter is decoded, and no longer tells a slash from an encoded one. */
function pathOf(request: FastifyRequest): string {
  const [path = ''] = (request.raw.url ?? '').split('?', 1)
  const below = '/repository/'
  return path.slice(path.indexOf(below) + below.length)
}

function allowedMethods(routes: readonly ApiRoute[]): string {
  const methods = routes.map((route) => route.method as string)
  return [...methods, ...(methods.includes('GET') ? ['HEAD'] : [])].sort().join(', ')
}
