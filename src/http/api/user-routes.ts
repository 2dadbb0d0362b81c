/** `/user…`. Source: quay-behaviour.md 1.0; Quay's endpoints/api/user.py. */
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'
import { isLocalRequest } from './local-request.ts'
import { signedInHeaders } from './session-routes.ts'

/** The set-up token in a header, for who cannot put it into the body. */
const SETUP_TOKEN_HEADER = 'x-entrepot-setup-token'

const textCharactersMax = 1024
const text = z.string().max(textCharactersMax)

export const INITIALIZE_BODY = z.object({
  username: text,
  password: text,
  email: text.nullish(),
  access_token: z.boolean().optional(),
  setup_token: text.nullish(),
})

export const SIGN_UP_BODY = z.object({
  username: text,
  password: text,
  email: text.nullish(),
  setup_token: text.nullish(),
})

export const UPDATE_USER_BODY = z.object({ password: text.nullish(), email: text.nullish() })

export function userRoutes(admin: Admin): readonly ApiRoute[] {
  return [
    apiRoute({
      method: 'POST',
      path: '/user/initialize',
      access: 'open',
      body: INITIALIZE_BODY,
      // 200, not 201 (Quay). Its `encrypted_password` is left out: here a password or a token signs in to the registry.
      handle: async ({ body, request, address }) => ({
        status: 200,
        body: await admin.accounts.initialize({
          username: body.username,
          password: body.password,
          email: presentOf(body.email),
          wantsAccessToken: body.access_token === true,
          isLocal: isLocalRequest(request),
          setupToken: presentOf(body.setup_token) ?? setupTokenHeader(request),
          address,
        }),
      }),
    }),
    {
      method: 'GET',
      path: '/user/',
      access: 'required',
      body: undefined,
      handle: async ({ caller }) => ({ status: 200, body: await admin.accounts.view(caller) }),
    },
    apiRoute({
      method: 'POST',
      path: '/user/',
      access: 'open',
      csrf: 'always',
      body: SIGN_UP_BODY,
      // 200 and the user, who is signed in (Quay).
      handle: async ({ body, request, address }) => {
        const account = await admin.accounts.signUp({
          username: body.username,
          password: body.password,
          email: presentOf(body.email),
          isLocal: isLocalRequest(request),
          setupToken: presentOf(body.setup_token) ?? setupTokenHeader(request),
          address,
        })
        const opened = await admin.sessions.open(account)
        const headers = signedInHeaders(admin, request, opened)
        return {
          status: 200,
          headers,
          body: await admin.accounts.view({ kind: 'account', account, scopes: undefined }),
        }
      },
    }),
    ...ownAccountRoutes(admin),
  ]
}

function ownAccountRoutes(admin: Admin): readonly ApiRoute[] {
  return [
    apiRoute({
      method: 'PUT',
      path: '/user/',
      access: 'required',
      freshLogin: true,
      body: UPDATE_USER_BODY,
      handle: async ({ caller, body, request, address }) => {
        const changes = { password: body.password ?? undefined, email: body.email }
        const opened = await admin.ownAccount.update(caller, changes, address)
        const headers = opened === undefined ? {} : signedInHeaders(admin, request, opened)
        return { status: 200, headers, body: await admin.accounts.viewOwn(caller) }
      },
    }),
    {
      method: 'DELETE',
      path: '/user/',
      access: 'required',
      freshLogin: true,
      body: undefined,
      handle: async ({ caller, address }) => {
        await admin.ownAccount.delete(caller, address)
        return { status: 204 }
      },
    },
  ]
}

/** An empty text is as good as none. */
export function presentOf(value: string | null | undefined): string | undefined {
  return value === null || value === '' ? undefined : value
}

function setupTokenHeader(request: FastifyRequest): string | undefined {
  const header = request.headers[SETUP_TOKEN_HEADER]
  return typeof header === 'string' ? header : undefined
}
