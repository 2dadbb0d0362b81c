/** `/organization/<org>/applications…`. Source: quay-behaviour.md 1.1; the bodies of tokens are ours. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import type { ApplicationCall } from '../../admin/oauth-applications.ts'
import { type ApiCall, type ApiRoute, apiRoute } from './api-route.ts'
import { nameOf } from './organization-routes.ts'
import { nextPageField, parsePageQuery } from './page-query.ts'
import { storableText } from './storable-text.ts'

const optional = storableText.nullish()

export const APPLICATION_BODY = z.object({
  name: storableText,
  description: optional,
  application_uri: optional,
  redirect_uri: optional,
  avatar_email: optional,
})

export const APPLICATION_TOKEN_BODY = z.object({
  /** Scopes, separated by blanks or commas. */
  scope: storableText,
  title: storableText.min(1).max(255).nullish(),
  /** Seconds since the epoch; null is for ever. */
  expires: z
    .number()
    .int()
    .positive()
    .max(Number.MAX_SAFE_INTEGER / 1000)
    .nullish(),
})

const APPLICATIONS = '/organization/:organization/applications'
const APPLICATION = `${APPLICATIONS}/:client`

export function applicationRoutes(admin: Admin): readonly ApiRoute[] {
  const { oauthApplications } = admin
  return [
    {
      method: 'GET',
      path: APPLICATIONS,
      access: 'required',
      body: undefined,
      handle: async (call) => {
        const { entries, next } = await oauthApplications.list(toCall(call), parsePageQuery(call))
        return { status: 200, body: { applications: entries, ...nextPageField(next) } }
      },
    },
    apiRoute({
      method: 'POST',
      path: APPLICATIONS,
      access: 'required',
      body: APPLICATION_BODY,
      // 200, not 201 (Quay).
      handle: async (call) => ({
        status: 200,
        body: await oauthApplications.create(toCall(call), withAllFields(call.body)),
      }),
    }),
    {
      method: 'GET',
      path: APPLICATION,
      access: 'required',
      body: undefined,
      handle: async (call) => ({ status: 200, body: await oauthApplications.get(toCall(call), clientOf(call)) }),
    },
    apiRoute({
      method: 'PUT',
      path: APPLICATION,
      access: 'required',
      body: APPLICATION_BODY,
      handle: async (call) => ({
        status: 200,
        body: await oauthApplications.update(toCall(call), clientOf(call), withAllFields(call.body)),
      }),
    }),
    {
      method: 'DELETE',
      path: APPLICATION,
      access: 'required',
      body: undefined,
      handle: async (call) => {
        await oauthApplications.delete(toCall(call), clientOf(call))
        return { status: 204 }
      },
    },
    {
      method: 'POST',
      path: `${APPLICATION}/resetclientsecret`,
      access: 'required',
      body: undefined,
      handle: async (call) => ({
        status: 200,
        body: await oauthApplications.resetClientSecret(toCall(call), clientOf(call)),
      }),
    },
    ...tokenRoutes(admin),
  ]
}

function tokenRoutes({ oauthApplications }: Admin): readonly ApiRoute[] {
  return [
    {
      method: 'GET',
      path: `${APPLICATION}/tokens`,
      access: 'required',
      body: undefined,
      handle: async (call) => {
        const page = await oauthApplications.listTokens(toCall(call), clientOf(call), parsePageQuery(call))
        return { status: 200, body: { tokens: page.entries, ...nextPageField(page.next) } }
      },
    },
    apiRoute({
      method: 'POST',
      path: `${APPLICATION}/tokens`,
      access: 'required',
      freshLogin: true,
      body: APPLICATION_TOKEN_BODY,
      handle: async (call) => {
        const { scope, title, expires } = call.body
        const wanted = { scope, title: title ?? undefined, expiresAtSeconds: expires ?? undefined }
        return { status: 201, body: await oauthApplications.createToken(toCall(call), clientOf(call), wanted) }
      },
    }),
    {
      method: 'DELETE',
      path: `${APPLICATION}/tokens/:token`,
      access: 'required',
      body: undefined,
      handle: async (call) => {
        await oauthApplications.revokeToken(toCall(call), clientOf(call), call.params['token'] ?? '')
        return { status: 204 }
      },
    },
  ]
}

function toCall({ caller, params, address }: ApiCall<unknown>): ApplicationCall {
  return { caller, organization: nameOf(params), address }
}

function clientOf({ params }: ApiCall<unknown>): string {
  return params['client'] ?? ''
}

function withAllFields({ name, ...rest }: z.output<typeof APPLICATION_BODY>) {
  const { description, application_uri, redirect_uri, avatar_email } = rest
  return { name, description, application_uri, redirect_uri, avatar_email }
}
