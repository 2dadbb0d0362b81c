/** `/repository/<r>/tag/…`. Source: quay-behaviour.md 1.5. */
import type { Admin } from '../../admin/admin.ts'
import type { ApiRoute } from './api-route.ts'

export function tagRoutes(_admin: Admin): readonly ApiRoute[] {
  return []
}
