/** `/organization/<org>/proxycache` and `…/validateproxycache`. Source: quay-behaviour.md 1.2. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { ORGANIZATION_LIMITS } from '../../admin/organization-changes.ts'
import { PROXY_CACHE_LIMITS } from '../../admin/proxy-caches.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'
import { nameOf } from './organization-routes.ts'

const registryCharactersMax = 1024
/** Control characters would end up in a header of ours. */
const credential = z
  .string()
  .max(PROXY_CACHE_LIMITS.credentialCharactersMax)
  .regex(/^[^\0-\x1f\x7f]*$/, 'holds control characters')
  .nullish()

const FIELDS = {
  upstream_registry_username: credential,
  upstream_registry_password: credential,
  expiration_s: z.number().int().min(0).max(ORGANIZATION_LIMITS.secondsMax).optional(),
  insecure: z.boolean().optional(),
}

export const CREATE_PROXY_CACHE_BODY = z.object({
  upstream_registry: z.string().max(registryCharactersMax),
  ...FIELDS,
})
export const CHANGE_PROXY_CACHE_BODY = z.object({
  upstream_registry: z.string().max(registryCharactersMax).optional(),
  ...FIELDS,
})

const path = '/organization/:organization/proxycache'

export function proxyCacheRoutes(admin: Admin): readonly ApiRoute[] {
  const { proxyCaches } = admin
  return [
    {
      method: 'GET',
      path,
      access: 'required',
      body: undefined,
      handle: async ({ caller, params }) => ({ status: 200, body: await proxyCaches.view(caller, nameOf(params)) }),
    },
    apiRoute({
      method: 'POST',
      path,
      access: 'required',
      body: CREATE_PROXY_CACHE_BODY,
      handle: async ({ caller, params, body }) => {
        await proxyCaches.create(caller, nameOf(params), body)
        return { status: 201, body: 'Created' }
      },
    }),
    // Ours: Quay can only delete and create.
    apiRoute({
      method: 'PUT',
      path,
      access: 'required',
      body: CHANGE_PROXY_CACHE_BODY,
      handle: async ({ caller, params, body }) => ({
        status: 200,
        body: await proxyCaches.update(caller, nameOf(params), body),
      }),
    }),
    {
      method: 'DELETE',
      path,
      access: 'required',
      body: undefined,
      // 201 where 204 was meant: Quay's, and what its clients expect.
      handle: async ({ caller, params }) => {
        await proxyCaches.delete(caller, nameOf(params))
        return { status: 201, body: 'Deleted' }
      },
    },
    apiRoute({
      method: 'POST',
      path: '/organization/:organization/validateproxycache',
      access: 'required',
      body: CHANGE_PROXY_CACHE_BODY,
      handle: async ({ caller, params, body }) => ({
        status: 202,
        body: await proxyCaches.validate(caller, nameOf(params), body),
      }),
    }),
  ]
}
