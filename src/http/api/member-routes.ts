/**
 * `/organization/<o>/members…`, `…/collaborators` and `/superuser/organizations…`. Source: quay-behaviour.md 1.1 and
 * Quay's endpoints/api/superuser.py. `limit` and `next_page` of the first two are ours.
 */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { invalidRequest } from '../../admin/admin-error.ts'
import { type ApiCall, type ApiRoute, apiRoute } from './api-route.ts'
import { nextPageField, parsePageQuery, queryText } from './page-query.ts'
import { memberOf, organizationCallOf } from './team-routes.ts'

const nameCharactersMax = 1024
/** Quay's, of a page of organizations. */
const organizationsMax = 100

export const RENAME_ORGANIZATION_BODY = z.object({ name: z.string().max(nameCharactersMax).nullish() })

const access = 'required'
const MEMBERS = '/organization/:organization/members'

export function memberRoutes({ members }: Admin): readonly ApiRoute[] {
  return [
    {
      ...{ method: 'GET', path: MEMBERS, access, body: undefined },
      handle: async (call) => {
        const { entries, next } = await members.list(organizationCallOf(call), parsePageQuery(call))
        return { status: 200, body: { members: entries, ...nextPageField(next) } }
      },
    },
    {
      ...{ method: 'GET', path: `${MEMBERS}/:member`, access, body: undefined },
      handle: async (call) => ({ status: 200, body: await members.get(organizationCallOf(call), memberOf(call)) }),
    },
    {
      ...{ method: 'DELETE', path: `${MEMBERS}/:member`, access, body: undefined },
      handle: async (call) => {
        await members.remove(organizationCallOf(call), memberOf(call))
        return { status: 204 }
      },
    },
    {
      ...{ method: 'GET', path: '/organization/:organization/collaborators', access, body: undefined },
      handle: async (call) => {
        const { entries, next } = await members.listCollaborators(organizationCallOf(call), parsePageQuery(call))
        return { status: 200, body: { collaborators: entries, ...nextPageField(next) } }
      },
    },
  ]
}

export function superuserOrganizationRoutes({ superuserOrganizations: organizations }: Admin): readonly ApiRoute[] {
  const path = '/superuser/organizations/:name'
  return [
    {
      ...{ method: 'GET', path: '/superuser/organizations/', access, freshLogin: true, body: undefined },
      handle: async (call) => {
        const query = parsePageQuery(call)
        if (queryText(call, 'limit') !== undefined && query.limit > organizationsMax) {
          throw invalidRequest(`limit: Page limit cannot be above ${organizationsMax}`)
        }
        const { entries, next } = await organizations.list(call, query)
        return { status: 200, body: { organizations: entries, ...nextPageField(next) } }
      },
    },
    apiRoute({
      ...{ method: 'PUT', path, access, freshLogin: true, body: RENAME_ORGANIZATION_BODY },
      handle: async (call) => ({
        status: 200,
        body: await organizations.rename(call, nameOf(call), call.body.name ?? undefined),
      }),
    }),
    {
      ...{ method: 'DELETE', path, access, freshLogin: true, body: undefined },
      handle: async (call) => {
        await organizations.delete(call, nameOf(call))
        return { status: 204 }
      },
    },
  ]
}

function nameOf({ params }: ApiCall<unknown>): string {
  return params['name'] ?? ''
}
