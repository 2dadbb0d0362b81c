/** `/user…` and `/superuser/users/`. Source: quay-behaviour.md 1.0. */
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'
import { isLocalRequest } from './local-request.ts'

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

export const CREATE_USER_BODY = z.object({
  username: text,
  email: text.nullish(),
  /** Ours: Quay always makes one. */
  password: text.nullish(),
})

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
      path: '/superuser/users/',
      access: 'required',
      body: CREATE_USER_BODY,
      // 200, not 201 (Quay).
      handle: async ({ caller, body, address }) => ({
        status: 200,
        body: await admin.accounts.create(
          caller,
          { username: body.username, email: presentOf(body.email), password: presentOf(body.password) },
          address,
        ),
      }),
    }),
  ]
}

function presentOf(value: string | null | undefined): string | undefined {
  return value === null || value === '' ? undefined : value
}

function setupTokenHeader(request: FastifyRequest): string | undefined {
  const header = request.headers[SETUP_TOKEN_HEADER]
  return typeof header === 'string' ? header : undefined
}
