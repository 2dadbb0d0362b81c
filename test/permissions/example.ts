/** A request that would succeed for whoever may. */
import type { Person } from '../../src/admin/permission-rules.ts'
import type { Scope } from '../../src/admin/scopes.ts'
import type { World } from './world.ts'

/** Who asks. */
export type Asking = { world: World; person: Person; scopes: readonly Scope[] }

export type Example = {
  query?: string
  /** What the path names, beside the organization `acme`, its repository and the tag `v1`. */
  params?: Readonly<Record<string, string>>
  /** As `params`, made for this request alone. */
  make?: (asking: Asking) => Promise<Readonly<Record<string, string>>>
  body?: object | ((asking: Asking, params: Readonly<Record<string, string>>) => object)
  /** What is answered to whoever may; 2xx unless it is said. */
  statuses?: readonly number[]
}
