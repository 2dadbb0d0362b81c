/** `/organization/<o>/robots…` and `/user/robots…`. Source: quay-behaviour.md 1.6; `…/credentials` is ours. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { ROBOT_LIMITS, type RobotCall } from '../../admin/robots.ts'
import { type ApiCall, type ApiRoute, apiRoute } from './api-route.ts'
import { nameOf } from './organization-routes.ts'
import { nextPageField, parsePageQuery, queryFlag } from './page-query.ts'

/** The body may be absent (Quay). */
export const ROBOT_BODY = z
  .object({
    description: z.string().max(ROBOT_LIMITS.descriptionCharactersMax).nullish(),
    unstructured_metadata: z.record(z.string(), z.unknown()).nullish(),
  })
  .nullish()

const access = 'required'

type CallOf = (call: ApiCall<unknown>) => RobotCall

export function robotRoutes(admin: Admin): readonly ApiRoute[] {
  return [
    ...routesBelow(admin, '/organization/:organization/robots', ({ caller, address, params }) => ({
      ...{ caller, address, organization: nameOf(params) },
    })),
    ...routesBelow(admin, '/user/robots', ({ caller, address }) => ({ caller, address, organization: undefined })),
  ]
}

function routesBelow({ robots }: Admin, path: string, callOf: CallOf): readonly ApiRoute[] {
  const one = `${path}/:robot`
  return [
    {
      ...{ method: 'GET', path, access, body: undefined },
      handle: async (call) => {
        const wantsTokens = queryFlag(call, 'token', true)
        const wantsPermissions = queryFlag(call, 'permissions', false)
        const { entries, next } = await robots.list(callOf(call), {
          ...{ ...parsePageQuery(call), wantsTokens, wantsPermissions },
        })
        return { status: 200, body: { robots: entries, ...nextPageField(next) } }
      },
    },
    {
      ...{ method: 'GET', path: one, access, body: undefined },
      handle: async (call) => ({ status: 200, body: await robots.get(callOf(call), robotOf(call)) }),
    },
    apiRoute({
      ...{ method: 'PUT', path: one, access, body: ROBOT_BODY },
      handle: async (call) => {
        const { description, unstructured_metadata: metadata } = call.body ?? {}
        const fields = { description: description ?? undefined, unstructured_metadata: metadata ?? undefined }
        return { status: 201, body: await robots.create(callOf(call), robotOf(call), fields) }
      },
    }),
    {
      ...{ method: 'DELETE', path: one, access, body: undefined },
      handle: async (call) => {
        await robots.delete(callOf(call), robotOf(call))
        return { status: 204 }
      },
    },
    {
      ...{ method: 'POST', path: `${one}/regenerate`, access, body: undefined },
      handle: async (call) => ({ status: 200, body: await robots.regenerate(callOf(call), robotOf(call)) }),
    },
    {
      ...{ method: 'GET', path: `${one}/permissions`, access, body: undefined },
      handle: async (call) => {
        const { entries, next } = await robots.permissions(callOf(call), robotOf(call), parsePageQuery(call))
        return { status: 200, body: { permissions: entries, ...nextPageField(next) } }
      },
    },
    {
      ...{ method: 'GET', path: `${one}/credentials`, access, body: undefined },
      handle: async (call) => ({ status: 200, body: await robots.credentials(callOf(call), robotOf(call)) }),
    },
  ]
}

function robotOf({ params }: ApiCall<unknown>): string {
  return params['robot'] ?? ''
}
