/** `/organization/<o>/prototypes…`: default permissions. Source: quay-behaviour.md 1.6. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { type ApiCall, type ApiRoute, apiRoute } from './api-route.ts'
import { organizationCallOf } from './team-routes.ts'

const nameCharactersMax = 1024
const role = z.enum(['read', 'write', 'admin'], { error: 'expected read, write or admin' })
const name = z.string().max(nameCharactersMax)

export const NEW_PROTOTYPE_BODY = z.object({
  role,
  delegate: z.object({ name, kind: z.enum(['user', 'team'], { error: 'expected user or team' }) }),
  activating_user: z.object({ name }).nullish(),
})
export const PROTOTYPE_BODY = z.object({ role })

const access = 'required'
const PROTOTYPES = '/organization/:organization/prototypes'
const ONE = `${PROTOTYPES}/:prototype`

export function prototypeRoutes({ prototypes }: Admin): readonly ApiRoute[] {
  return [
    {
      ...{ method: 'GET', path: PROTOTYPES, access, body: undefined },
      handle: async (call) => ({
        status: 200,
        body: { prototypes: await prototypes.list(organizationCallOf(call)) },
      }),
    },
    apiRoute({
      // 200, not 201 (Quay).
      ...{ method: 'POST', path: PROTOTYPES, access, body: NEW_PROTOTYPE_BODY },
      handle: async (call) => ({ status: 200, body: await prototypes.create(organizationCallOf(call), call.body) }),
    }),
    apiRoute({
      ...{ method: 'PUT', path: ONE, access, body: PROTOTYPE_BODY },
      handle: async (call) => ({
        status: 200,
        body: await prototypes.update(organizationCallOf(call), prototypeOf(call), call.body.role),
      }),
    }),
    {
      ...{ method: 'DELETE', path: ONE, access, body: undefined },
      handle: async (call) => {
        await prototypes.delete(organizationCallOf(call), prototypeOf(call))
        return { status: 204 }
      },
    },
  ]
}

function prototypeOf({ params }: ApiCall<unknown>): string {
  return params['prototype'] ?? ''
}
