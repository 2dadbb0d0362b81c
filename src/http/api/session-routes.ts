/** `/signin…`, `/signout` and `/csrf_token`. Source: quay-behaviour.md 1.0; Quay's endpoints/api/user.py. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { AdminError } from '../../admin/admin-error.ts'
import { toCallerError } from '../../admin/callers.ts'
import { CredentialsError } from '../../admin/credentials.ts'
import { csrfTokenOf } from '../../admin/csrf.ts'
import { makeSecretToken } from '../../admin/secret-token.ts'
import type { OpenedSession } from '../../admin/sessions.ts'
import { type ApiAnswer, sendAnswer, toErrorBody } from './answer.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'
import { formatSessionCookie, readSessionCookie } from './session-cookie.ts'

const textCharactersMax = 1024
const text = z.string().max(textCharactersMax)

export const SIGN_IN_BODY = z.object({ username: text, password: text })
export const VERIFY_BODY = z.object({ password: text })

export function sessionRoutes(admin: Admin): readonly ApiRoute[] {
  const { sessions, settings } = admin
  const signIn = apiRoute({
    method: 'POST',
    path: '/signin',
    access: 'open',
    csrf: 'always',
    body: SIGN_IN_BODY,
    handle: async ({ body, request, address }) =>
      answerSignIn(admin, async () => {
        const formerId = readSessionCookie(request.headers.cookie)
        const opened = await sessions.signIn(body.username, body.password, address, formerId)
        return { status: 200, body: { success: true }, headers: signedInHeaders(admin, request, opened) }
      }),
  })
  const verify = apiRoute({
    method: 'POST',
    path: '/signin/verify',
    access: 'required',
    body: VERIFY_BODY,
    handle: async ({ caller, body, address }) =>
      answerSignIn(admin, async () => {
        await sessions.verify(caller, body.password, address)
        return { status: 200, body: { success: true } }
      }),
  })
  return [
    // When people sign in elsewhere only (FEATURE_DIRECT_LOGIN), Quay has neither.
    ...(settings.hasDirectLogin ? [signIn, verify] : []),
    {
      method: 'POST',
      path: '/signout',
      access: 'optional',
      body: undefined,
      handle: async ({ caller, request, address }) => {
        await sessions.signOut(caller, address)
        const cookie = formatSessionCookie('', 'none', isSecure(admin, request))
        return { status: 200, body: { success: true }, headers: { 'Set-Cookie': cookie } }
      },
    },
  ]
}

/** Outside `/api/v1`: a browser's first question. Without a cookie it is given one, which signs nobody in. */
export function registerCsrfToken(fastify: FastifyInstance, admin: Admin): void {
  fastify.get('/csrf_token', async (request, reply) => {
    const known = readSessionCookie(request.headers.cookie)
    const id = known ?? makeSecretToken()
    const cookie = formatSessionCookie(id, 'visitor', isSecure(admin, request))
    const headers = known === undefined ? { headers: { 'Set-Cookie': cookie } } : {}
    return sendAnswer(reply, { status: 200, body: { csrf_token: csrfTokenOf(id) }, ...headers })
  })
}

/** The cookie of a session that was just opened, and its CSRF token (Quay's header). */
export function signedInHeaders(
  admin: Admin,
  request: FastifyRequest,
  { id, csrfToken }: OpenedSession,
): Readonly<Record<string, string>> {
  const cookie = formatSessionCookie(id, 'signed-in', isSecure(admin, request))
  return { 'Set-Cookie': cookie, 'X-Next-CSRF-Token': csrfToken }
}

function isSecure(admin: Admin, request: FastifyRequest): boolean {
  return admin.settings.preferredUrlScheme === 'https' || request.protocol === 'https'
}

/** Quay answers wrong credentials with 403 and fields of their own; the rest of its error body is there too. */
async function answerSignIn(admin: Admin, signIn: () => Promise<ApiAnswer>): Promise<ApiAnswer> {
  try {
    return await signIn()
  } catch (error) {
    if (!(error instanceof CredentialsError) || error.reason !== 'wrong') throw toCallerError(error)
    const refused = new AdminError('INSUFFICIENT_SCOPE', 'Invalid Username or Password')
    const body = toErrorBody(refused, admin.settings.serverHostname)
    return { status: 403, body: { ...body, needsEmailVerification: false, invalidCredentials: true } }
  }
}
