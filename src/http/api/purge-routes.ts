/** `…/purge` and `…/quota/preview` of organizations: ours (DESIGN part 6, additions). */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { invalidRequest } from '../../admin/admin-error.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'
import { nameOf } from './organization-routes.ts'

const nameCharactersMax = 512

export const PURGE_BODY = z
  .object({
    repository: z.string().max(nameCharactersMax).optional(),
    reference: z.string().max(nameCharactersMax).optional(),
    include_pinned: z.boolean().optional(),
    dry_run: z.boolean().optional(),
  })
  .optional()

const path = '/organization/:organization/purge'

export function purgeRoutes(admin: Admin): readonly ApiRoute[] {
  const { purges } = admin
  return [
    apiRoute({
      method: 'POST',
      path,
      access: 'required',
      body: PURGE_BODY,
      handle: async ({ caller, params, address, body }) => {
        const call = { caller, organization: nameOf(params), address }
        const { repository, reference, include_pinned: includesPinned = false } = body ?? {}
        const fields = { repository, reference, includesPinned }
        if (body?.dry_run === true) return { status: 200, body: await purges.foresee(call, fields) }
        const answer = await purges.start(call, fields)
        return { status: answer.state === 'running' ? 202 : 200, body: answer }
      },
    }),
    {
      method: 'GET',
      path,
      access: 'required',
      body: undefined,
      handle: async ({ params }) => ({ status: 200, body: await purges.view(nameOf(params)) }),
    },
  ]
}

/** With quotas only. */
export function evictionPreviewRoutes(admin: Admin): readonly ApiRoute[] {
  return [
    {
      method: 'GET',
      path: '/organization/:organization/quota/preview',
      access: 'required',
      body: undefined,
      handle: async ({ params, request }) => {
        const bytes = parseBytes((request.query as Readonly<Record<string, unknown>>)['bytes'])
        return { status: 200, body: await admin.purges.preview(nameOf(params), bytes) }
      },
    },
  ]
}

function parseBytes(text: unknown): number {
  const bytes = typeof text === 'string' && /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(bytes)) return bytes
  throw invalidRequest('bytes: expected a whole number of bytes from 1 to 2^53-1, such as ?bytes=1073741824')
}
