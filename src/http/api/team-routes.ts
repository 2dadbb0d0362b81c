/** `/organization/<o>/team…`. Source: quay-behaviour.md 1.6. `limit`, `next_page`: ours; Quay pages nothing here. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import type { OrganizationCall } from '../../admin/organization-people.ts'
import { TEAM_LIMITS } from '../../admin/teams.ts'
import { type ApiCall, type ApiRoute, apiRoute } from './api-route.ts'
import { nameOf } from './organization-routes.ts'
import { nextPageField, parsePageQuery } from './page-query.ts'

const roleError = 'expected member, creator or admin'

export const TEAM_BODY = z.object({
  role: z.enum(['member', 'creator', 'admin'], { error: roleError }),
  description: z.string().max(TEAM_LIMITS.descriptionCharactersMax).optional(),
})

const TEAM = '/organization/:organization/team/:team'
const access = 'required'

export function teamRoutes({ teams }: Admin): readonly ApiRoute[] {
  return [
    apiRoute({
      ...{ method: 'PUT', path: TEAM, access, body: TEAM_BODY },
      handle: async (call) => ({
        status: 200,
        body: await teams.put(organizationCallOf(call), teamOf(call), call.body),
      }),
    }),
    {
      ...{ method: 'DELETE', path: TEAM, access, body: undefined },
      handle: async (call) => {
        await teams.delete(organizationCallOf(call), teamOf(call))
        return { status: 204 }
      },
    },
    {
      // `includePending` is taken and changes nothing: nobody is invited here, who is added is a member at once.
      ...{ method: 'GET', path: `${TEAM}/members`, access, body: undefined },
      handle: async (call) => {
        const list = await teams.members(organizationCallOf(call), teamOf(call), parsePageQuery(call))
        const body = { name: list.name, members: list.entries, can_edit: list.canEdit, ...nextPageField(list.next) }
        return { status: 200, body }
      },
    },
    {
      ...{ method: 'PUT', path: `${TEAM}/members/:member`, access, body: undefined },
      handle: async (call) => ({
        status: 200,
        body: await teams.addMember(organizationCallOf(call), teamOf(call), memberOf(call)),
      }),
    },
    {
      ...{ method: 'DELETE', path: `${TEAM}/members/:member`, access, body: undefined },
      handle: async (call) => {
        await teams.removeMember(organizationCallOf(call), teamOf(call), memberOf(call))
        return { status: 204 }
      },
    },
    {
      ...{ method: 'GET', path: `${TEAM}/permissions`, access, body: undefined },
      handle: async (call) => {
        const { entries, next } = await teams.permissions(organizationCallOf(call), teamOf(call), parsePageQuery(call))
        return { status: 200, body: { permissions: entries, ...nextPageField(next) } }
      },
    },
  ]
}

/** Who asks for which organization. */
export function organizationCallOf({ caller, address, params }: ApiCall<unknown>): OrganizationCall {
  return { caller, address, organization: nameOf(params) }
}

export function memberOf({ params }: ApiCall<unknown>): string {
  return params['member'] ?? ''
}

function teamOf({ params }: ApiCall<unknown>): string {
  return params['team'] ?? ''
}
