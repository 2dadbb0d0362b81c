/** `/repository/<r>/permissions/…` and `…/changevisibility`. Source: quay-behaviour.md 1.6. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import type { GranteeKind } from '../../admin/repository-permissions.ts'
import { type ApiCall, type ApiRoute, apiRoute } from './api-route.ts'
import { nextPageField, parsePageQuery } from './page-query.ts'
import { REPOSITORY } from './repository-routes.ts'
import { callOf } from './tag-routes.ts'

export const PERMISSION_BODY = z.object({
  role: z.enum(['read', 'write', 'admin'], { error: 'expected read, write or admin' }),
})
export const VISIBILITY_BODY = z.object({
  visibility: z.enum(['public', 'private'], { error: 'expected public or private' }),
})

const access = 'required'
const PERMISSIONS = `${REPOSITORY}/permissions`

export function permissionRoutes(admin: Admin): readonly ApiRoute[] {
  const { repositoryPermissions: permissions } = admin
  return [
    {
      ...{ method: 'GET', path: `${PERMISSIONS}/user`, access, body: undefined },
      handle: async (call) => toAnswer(await permissions.listUsers(callOf(call), parsePageQuery(call))),
    },
    {
      ...{ method: 'GET', path: `${PERMISSIONS}/team`, access, body: undefined },
      handle: async (call) => toAnswer(await permissions.listTeams(callOf(call), parsePageQuery(call))),
    },
    {
      ...{ method: 'GET', path: `${PERMISSIONS}/user/:grantee/transitive`, access, body: undefined },
      handle: async (call) => ({
        status: 200,
        body: { permissions: await permissions.listTransitive(callOf(call), granteeOf(call)) },
      }),
    },
    ...granteeRoutes(admin, 'user'),
    ...granteeRoutes(admin, 'team'),
    apiRoute({
      ...{ method: 'POST', path: `${REPOSITORY}/changevisibility`, access, body: VISIBILITY_BODY },
      handle: async (call) => {
        await permissions.changeVisibility(callOf(call), call.body.visibility)
        return { status: 200, body: { success: true } }
      },
    }),
  ]
}

function granteeRoutes({ repositoryPermissions: permissions }: Admin, kind: GranteeKind): readonly ApiRoute[] {
  const path = `${PERMISSIONS}/${kind}/:grantee`
  return [
    {
      ...{ method: 'GET', path, access, body: undefined },
      handle: async (call) => {
        const permission = await permissions.get(callOf(call), kind, granteeOf(call))
        // Of a team Quay tells the role alone.
        return { status: 200, body: kind === 'team' ? { role: permission.role } : permission }
      },
    },
    apiRoute({
      ...{ method: 'PUT', path, access, body: PERMISSION_BODY },
      handle: async (call) => ({
        status: 200,
        body: await permissions.put(callOf(call), kind, granteeOf(call), call.body.role),
      }),
    }),
    {
      ...{ method: 'DELETE', path, access, body: undefined },
      handle: async (call) => {
        await permissions.delete(callOf(call), kind, granteeOf(call))
        return { status: 204 }
      },
    },
  ]
}

/** By name (Quay). */
function toAnswer({ entries, next }: { entries: readonly { name: string }[]; next: string | undefined }) {
  const permissions = Object.fromEntries(entries.map((entry) => [entry.name, entry]))
  return { status: 200, body: { permissions, ...nextPageField(next) } }
}

function granteeOf({ params }: ApiCall<unknown>): string {
  return params['grantee'] ?? ''
}
