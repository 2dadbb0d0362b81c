/** `/api/v1` as a Fastify plugin: Quay's REST API. */
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Admin } from '../../admin/admin.ts'
import { ADMIN_ERRORS, AdminError } from '../../admin/admin-error.ts'
import { MiB } from '../../base/units.ts'
import { sendError, toAdminError } from './answer.ts'
import { type ApiRoute, registerRoutes } from './api-route.ts'
import { appTokenRoutes } from './app-token-routes.ts'
import { applicationRoutes } from './application-routes.ts'
import { memberRoutes, superuserOrganizationRoutes } from './member-routes.ts'
import { organizationRoutes } from './organization-routes.ts'
import { permissionRoutes } from './permission-routes.ts'
import { prototypeRoutes } from './prototype-routes.ts'
import { proxyCacheRoutes } from './proxy-cache-routes.ts'
import { evictionPreviewRoutes, purgeRoutes } from './purge-routes.ts'
import { quotaRoutes } from './quota-routes.ts'
import { isRepositoryRoute, registerRepositoryRoutes } from './repository-routes.ts'
import { robotRoutes } from './robot-routes.ts'
import { sessionRoutes } from './session-routes.ts'
import { superuserRoutes } from './superuser-routes.ts'
import { tagRoutes } from './tag-routes.ts'
import { teamRoutes } from './team-routes.ts'
import { userRoutes } from './user-routes.ts'
import { verificationRoutes } from './verification-routes.ts'

export const API_LIMITS = { bodyBytesMax: MiB, pathPartCharactersMax: 1024 } as const

/** What the server that hosts these plugins must be made with: Fastify takes them nowhere else. */
export const API_SERVER_OPTIONS = {
  bodyLimit: API_LIMITS.bodyBytesMax,
  // Fastify's 100 is less than a name of ours may have.
  routerOptions: { maxParamLength: API_LIMITS.pathPartCharactersMax },
} as const satisfies FastifyServerOptions

export type ApiDependencies = {
  admin: Admin
  /** Told of what the client only hears is an internal error. */
  onInternalError: (error: unknown) => void
}

/** The routes that are on, as data: they are also what a description of the API is made from. */
export function listApiRoutes(admin: Admin): readonly ApiRoute[] {
  const { hasProxyCache, hasQuotaManagement, hasAppTokens } = admin.settings
  return [
    ...userRoutes(admin),
    ...sessionRoutes(admin),
    ...superuserRoutes(admin),
    ...(hasAppTokens ? appTokenRoutes(admin) : []),
    ...applicationRoutes(admin),
    ...verificationRoutes(admin),
    ...purgeRoutes(admin),
    ...organizationRoutes(admin),
    ...teamRoutes(admin),
    ...robotRoutes(admin),
    ...permissionRoutes(admin),
    ...prototypeRoutes(admin),
    ...memberRoutes(admin),
    ...superuserOrganizationRoutes(admin),
    ...tagRoutes(admin),
    ...(hasProxyCache ? proxyCacheRoutes(admin) : []),
    ...(hasQuotaManagement ? [...quotaRoutes(admin), ...evictionPreviewRoutes(admin)] : []),
    ERROR,
  ]
}

/** Register everything below `/api/v1`. Errors are answered in Quay's JSON, also for paths that do not exist. */
export async function registerApi(fastify: FastifyInstance, dependencies: ApiDependencies): Promise<void> {
  const { admin, onInternalError } = dependencies
  const { serverHostname } = admin.settings
  await fastify.register(
    async (api) => {
      acceptOnlyJson(api)
      api.setErrorHandler((error, _request, reply) => {
        const answer = toAdminError(error)
        if (answer.case === 'INTERNAL_ERROR') onInternalError(error)
        return sendError(reply, answer, serverHostname)
      })
      api.setNotFoundHandler((_request, reply) =>
        sendError(reply, new AdminError('NOT_FOUND', 'not found'), serverHostname),
      )
      const routes = listApiRoutes(admin)
      registerRoutes(
        api,
        admin,
        routes.filter((route) => !isRepositoryRoute(route)),
      )
      registerRepositoryRoutes(api, admin, routes)
    },
    { prefix: '/api/v1' },
  )
}

/** An empty body is none, whatever its type is said to be: clients send `Content-Type` with DELETE. */
function acceptOnlyJson(api: FastifyInstance): void {
  const parseJson = api.getDefaultJsonParser('error', 'error')
  api.removeAllContentTypeParsers()
  api.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text: string, done) => {
    if (text.trim() === '') done(null, undefined)
    else parseJson(request, text, done)
  })
}

/** What the `type` of an error body points at (Quay's). */
const ERROR: ApiRoute = {
  method: 'GET',
  path: '/error/:type',
  access: 'open',
  body: undefined,
  handle: async ({ params, request }) => {
    const known = Object.values(ADMIN_ERRORS).find(({ type }) => type === params['type'])
    if (known === undefined) throw new AdminError('NOT_FOUND', 'error type not found')
    return { status: 200, body: { type: request.url, title: known.type, description: known.description } }
  },
}
