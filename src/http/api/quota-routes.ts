/** `…/quota…` of organizations and users, and the size of the registry. Source: quay-behaviour.md 1.3. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { notFound } from '../../admin/admin-error.ts'
import type { QuotaRequest } from '../../admin/quotas.ts'
import { type ApiCall, type ApiRoute, apiRoute } from './api-route.ts'
import { nameOf } from './organization-routes.ts'

const sizeCharactersMax = 64
const bytesError = 'expected a whole number of bytes from 1 to 2^53-1, such as 10737418240; or limit, such as "10 GiB"'
const sizeError = 'expected a text such as "150 MB" or "10 GiB"'
const typeError = 'expected "Warning" or "Reject"'
const percentError = 'expected a whole number from 1 to 100, such as 80'

const bytes = z
  .number({ error: bytesError })
  .int({ error: bytesError })
  .min(1, { error: bytesError })
  .max(Number.MAX_SAFE_INTEGER, { error: bytesError })
const type = z.enum(['Warning', 'Reject'], { error: typeError })
const percent = z
  .number({ error: percentError })
  .int({ error: percentError })
  .min(1, { error: percentError })
  .max(100, { error: percentError })

/** `limit_bytes` or `limit`. */
export const QUOTA_BODY = z.object({
  limit_bytes: bytes.optional(),
  limit: z.string({ error: sizeError }).max(sizeCharactersMax, { error: sizeError }).optional(),
})
export const CREATE_QUOTA_LIMIT_BODY = z.object({ type, threshold_percent: percent })
export const UPDATE_QUOTA_LIMIT_BODY = z.object({ type: type.optional(), threshold_percent: percent.optional() })

/** Without FEATURE_EDIT_QUOTA they can only be read. */
export function quotaRoutes(admin: Admin): readonly ApiRoute[] {
  const routes = [
    ...routesBelow(admin, '/organization/:organization/quota'),
    // Needs no full access (FEATURE_SUPERUSERS_FULL_ACCESS).
    ...routesBelow(admin, '/superuser/organization/:organization/quota'),
    ...userQuotaRoutes(admin),
  ]
  const isServed = ({ method }: ApiRoute) => method === 'GET' || admin.settings.canEditQuota
  return [...routes.filter(isServed), ...registrySizeRoutes(admin)]
}

function routesBelow(admin: Admin, path: string): readonly ApiRoute[] {
  const requestOf = (call: ApiCall<unknown>): QuotaRequest => ({
    caller: call.caller,
    name: nameOf(call.params),
    address: call.address,
  })
  return [...quotaRoutesAt(admin, path, requestOf), ...limitRoutesAt(admin, `${path}/:quota/limit`, requestOf)]
}

type RequestOf = (call: ApiCall<unknown>) => QuotaRequest

function quotaRoutesAt({ quotas }: Admin, path: string, requestOf: RequestOf): readonly ApiRoute[] {
  const access = 'required'
  return [
    get(path, async (call) => quotas.list(requestOf(call))),
    apiRoute({
      ...{ method: 'POST', path, access, body: QUOTA_BODY },
      handle: async (call) => {
        await quotas.create(requestOf(call), call.body)
        return { status: 201, body: 'Created' }
      },
    }),
    get(`${path}/:quota`, async (call) => quotas.view(requestOf(call), quotaOf(call))),
    apiRoute({
      ...{ method: 'PUT', path: `${path}/:quota`, access, body: QUOTA_BODY },
      handle: async (call) => ({ status: 200, body: await quotas.update(requestOf(call), quotaOf(call), call.body) }),
    }),
    remove(`${path}/:quota`, (call) => quotas.delete(requestOf(call), quotaOf(call))),
  ]
}

function limitRoutesAt({ quotas }: Admin, path: string, requestOf: RequestOf): readonly ApiRoute[] {
  const access = 'required'
  return [
    get(path, async (call) => quotas.listLimits(requestOf(call), quotaOf(call))),
    apiRoute({
      ...{ method: 'POST', path, access, body: CREATE_QUOTA_LIMIT_BODY },
      handle: async (call) => {
        await quotas.createLimit(requestOf(call), quotaOf(call), call.body)
        return { status: 201, body: 'Created' }
      },
    }),
    get(`${path}/:limit`, async (call) => quotas.viewLimit(requestOf(call), quotaOf(call), limitOf(call))),
    apiRoute({
      ...{ method: 'PUT', path: `${path}/:limit`, access, body: UPDATE_QUOTA_LIMIT_BODY },
      handle: async (call) => ({
        status: 200,
        body: await quotas.updateLimit(requestOf(call), quotaOf(call), limitOf(call), call.body),
      }),
    }),
    remove(`${path}/:limit`, (call) => quotas.deleteLimit(requestOf(call), quotaOf(call), limitOf(call))),
  ]
}

function userQuotaRoutes({ userQuotas }: Admin): readonly ApiRoute[] {
  const path = '/superuser/users/:user/quota'
  const ownAbsent = async () => {
    throw notFound('quota')
  }
  const absent = async (call: ApiCall<unknown>) => {
    await userQuotas.list(userOf(call))
    throw notFound('quota')
  }
  return [
    get('/user/quota', async () => []),
    ...['/user/quota/:quota', '/user/quota/:quota/limit', '/user/quota/:quota/limit/:limit'].map((own) =>
      get(own, ownAbsent),
    ),
    get(path, (call) => userQuotas.list(userOf(call))),
    {
      ...{ method: 'POST', path, access: 'required', body: undefined },
      handle: (call) => userQuotas.create(userOf(call)),
    },
    { ...{ method: 'PUT', path: `${path}/:quota`, access: 'required', body: undefined }, handle: absent },
    remove(`${path}/:quota`, absent),
  ]
}

function registrySizeRoutes({ registrySize }: Admin): readonly ApiRoute[] {
  const path = '/superuser/registrysize/'
  return [
    get(path, () => registrySize.view()),
    {
      ...{ method: 'POST', path, access: 'required', body: undefined },
      // Quay counts when asked; here there is nothing to count.
      handle: async () => ({ status: 201 }),
    },
  ]
}

function get(path: string, read: (call: ApiCall<unknown>) => Promise<unknown>): ApiRoute {
  return {
    ...{ method: 'GET', path, access: 'required', body: undefined },
    handle: async (call) => ({ status: 200, body: await read(call) }),
  }
}

function remove(path: string, work: (call: ApiCall<unknown>) => Promise<void>): ApiRoute {
  return {
    ...{ method: 'DELETE', path, access: 'required', body: undefined },
    handle: async (call) => {
      await work(call)
      return { status: 204 }
    },
  }
}

function quotaOf({ params }: ApiCall<unknown>): string {
  return params['quota'] ?? ''
}

function limitOf({ params }: ApiCall<unknown>): string {
  return params['limit'] ?? ''
}

function userOf({ params }: ApiCall<unknown>): string {
  return params['user'] ?? ''
}
