/** `/superuser/users…` and `/superuser/takeownership/…`. Source: Quay's endpoints/api/superuser.py. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'
import { nextPageField, parsePageQuery, queryFlag } from './page-query.ts'
import { presentOf } from './user-routes.ts'

const textCharactersMax = 1024
const text = z.string().max(textCharactersMax)

export const CREATE_USER_BODY = z.object({
  username: text,
  email: text.nullish(),
  /** Ours: Quay always makes one. */
  password: text.nullish(),
})

export const CHANGE_USER_BODY = z.object({
  password: text.nullish(),
  email: text.nullish(),
  enabled: z.boolean().nullish(),
})

const USER = '/superuser/users/:username'

export function superuserRoutes(admin: Admin): readonly ApiRoute[] {
  const { accounts, users } = admin
  return [
    {
      method: 'GET',
      path: '/superuser/users/',
      access: 'required',
      body: undefined,
      handle: async (call) => {
        const query = { ...parsePageQuery(call), withDisabled: queryFlag(call, 'disabled', true) }
        const { entries, next } = await users.list(call.caller, query)
        return { status: 200, body: { users: entries, ...nextPageField(next) } }
      },
    },
    apiRoute({
      method: 'POST',
      path: '/superuser/users/',
      access: 'required',
      freshLogin: true,
      body: CREATE_USER_BODY,
      // 200, not 201 (Quay).
      handle: async ({ caller, body, address }) => ({
        status: 200,
        body: await accounts.create(
          caller,
          { username: body.username, email: presentOf(body.email), password: presentOf(body.password) },
          address,
        ),
      }),
    }),
    ...userRoutesOfSuperusers(admin),
    {
      method: 'POST',
      path: '/superuser/takeownership/:namespace',
      access: 'required',
      freshLogin: true,
      body: undefined,
      handle: async ({ caller, params, address }) => {
        const namespace = params['namespace'] ?? ''
        await users.takeOwnership(caller, namespace, address)
        return { status: 200, body: { namespace } }
      },
    },
  ]
}

function userRoutesOfSuperusers({ users }: Admin): readonly ApiRoute[] {
  return [
    {
      method: 'GET',
      path: USER,
      access: 'required',
      body: undefined,
      handle: async ({ caller, params }) => ({ status: 200, body: await users.get(caller, usernameOf(params)) }),
    },
    apiRoute({
      method: 'PUT',
      path: USER,
      access: 'required',
      freshLogin: true,
      body: CHANGE_USER_BODY,
      handle: async ({ caller, params, body, address }) => {
        const { password, email, enabled } = body
        const changes = { password: password ?? undefined, email, enabled: enabled ?? undefined }
        return { status: 200, body: await users.update(caller, usernameOf(params), changes, address) }
      },
    }),
    {
      method: 'DELETE',
      path: USER,
      access: 'required',
      freshLogin: true,
      body: undefined,
      handle: async ({ caller, params, address }) => {
        await users.delete(caller, usernameOf(params), address)
        return { status: 204 }
      },
    },
  ]
}

function usernameOf(params: Readonly<Record<string, string>>): string {
  return params['username'] ?? ''
}
