/** `/superuser/verification`: ours. Superusers have the store verified. */
import { z } from 'zod'
import type { Admin } from '../../admin/admin.ts'
import { type ApiRoute, apiRoute } from './api-route.ts'

export const START_VERIFICATION_BODY = z
  .object({ sample_percent: z.number().gt(0).max(100).optional(), repair: z.boolean().optional() })
  .optional()

const path = '/superuser/verification'

export function verificationRoutes(admin: Admin): readonly ApiRoute[] {
  const { verifications } = admin
  return [
    apiRoute({
      method: 'POST',
      path,
      access: 'required',
      body: START_VERIFICATION_BODY,
      handle: async ({ caller, body }) => ({
        status: 202,
        body: verifications.start(caller, {
          samplePercent: body?.sample_percent ?? 100,
          repairs: body?.repair ?? true,
        }),
      }),
    }),
    {
      method: 'GET',
      path,
      access: 'required',
      body: undefined,
      handle: async () => ({ status: 200, body: verifications.view() }),
    },
    {
      method: 'DELETE',
      path,
      access: 'required',
      body: undefined,
      handle: async () => {
        await verifications.cancel()
        return { status: 204 }
      },
    },
  ]
}
