/** `/user/apptoken…`. Source: quay-behaviour.md 1.6; Quay's endpoints/api/appspecifictokens.py. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'
import { nextPageField, parsePageQuery, queryFlag } from './page-query.ts'
import { storableText } from './storable-text.ts'

export const CREATE_APP_TOKEN_BODY = z.object({ title: storableText })

export function appTokenRoutes(admin: Admin): readonly ApiRoute[] {
  const { appTokens } = admin
  const uuidOf = (params: Readonly<Record<string, string>>) => params['uuid'] ?? ''
  return [
    {
      method: 'GET',
      path: '/user/apptoken',
      access: 'required',
      freshLogin: true,
      body: undefined,
      handle: async (call) => {
        const expiring = queryFlag(call, 'expiring', false)
        const { entries, next } = await appTokens.list(call.caller, { ...parsePageQuery(call), expiring })
        return { status: 200, body: { tokens: entries, only_expiring: expiring, ...nextPageField(next) } }
      },
    },
    apiRoute({
      method: 'POST',
      path: '/user/apptoken',
      access: 'required',
      freshLogin: true,
      body: CREATE_APP_TOKEN_BODY,
      // 200, not 201 (Quay).
      handle: async ({ caller, body, address }) => ({
        status: 200,
        body: { token: await appTokens.create(caller, body.title, address) },
      }),
    }),
    {
      method: 'GET',
      path: '/user/apptoken/:uuid',
      access: 'required',
      freshLogin: true,
      body: undefined,
      handle: async ({ caller, params }) => ({
        status: 200,
        body: { token: await appTokens.get(caller, uuidOf(params)) },
      }),
    },
    {
      method: 'DELETE',
      path: '/user/apptoken/:uuid',
      access: 'required',
      freshLogin: true,
      body: undefined,
      handle: async ({ caller, params, address }) => {
        await appTokens.revoke(caller, uuidOf(params), address)
        return { status: 204 }
      },
    },
  ]
}
