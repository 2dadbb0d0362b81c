/**
 * `/organization…`. Source: quay-behaviour.md 1.1; the fields after `tag_expiration_s` are ours (DESIGN part 4 and 6).
 */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { ORGANIZATION_LIMITS } from '../../admin/organization-changes.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'

const textCharactersMax = 1024
const seconds = z.number().int().min(0).max(ORGANIZATION_LIMITS.secondsMax)
const globs = z.array(z.string().min(1).max(ORGANIZATION_LIMITS.globCharactersMax)).max(ORGANIZATION_LIMITS.globsMax)
const email = z.string().max(textCharactersMax).nullish()

export const CREATE_ORGANIZATION_BODY = z.object({ name: z.string().max(textCharactersMax), email })

export const UPDATE_ORGANIZATION_BODY = z.object({
  email,
  tag_expiration_s: seconds.optional(),
  revalidate_after_s: seconds.optional(),
  max_stale_s: seconds.nullish(),
  refuse_when_denied: z.boolean().optional(),
  anonymous_pulls: z.boolean().optional(),
  frozen: z.boolean().optional(),
  passes_too_large: z.boolean().optional(),
  allowed_repositories: globs.optional(),
  denied_repositories: globs.optional(),
  mirror_host: z.string().max(textCharactersMax).nullish(),
  ca_certificate: z.string().max(ORGANIZATION_LIMITS.certificateBytesMax).nullish(),
})

export function organizationRoutes(admin: Admin): readonly ApiRoute[] {
  const { organizations } = admin
  return [
    apiRoute({
      method: 'POST',
      path: '/organization/',
      access: 'required',
      body: CREATE_ORGANIZATION_BODY,
      handle: async ({ caller, body }) => {
        await organizations.create(caller, body)
        return { status: 201, body: 'Created' }
      },
    }),
    {
      method: 'GET',
      path: '/organization/:organization',
      access: 'optional',
      body: undefined,
      handle: async ({ caller, params }) => ({ status: 200, body: await organizations.view(caller, nameOf(params)) }),
    },
    apiRoute({
      method: 'PUT',
      path: '/organization/:organization',
      access: 'required',
      body: UPDATE_ORGANIZATION_BODY,
      handle: async ({ caller, params, body }) => ({
        status: 200,
        body: await organizations.update(caller, nameOf(params), body),
      }),
    }),
    {
      method: 'DELETE',
      path: '/organization/:organization',
      access: 'required',
      body: undefined,
      handle: async ({ caller, params }) => {
        await organizations.delete(caller, nameOf(params))
        return { status: 204 }
      },
    },
  ]
}

/** The organization that a path names. */
export function nameOf(params: Readonly<Record<string, string>>): string {
  return params['organization'] ?? ''
}
