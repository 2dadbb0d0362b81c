/** An organization as the cache sees it: its rules in the units and shapes that decisions need. */
import { SECOND_MS } from '../base/units.ts'
import type { Upstream } from '../oci/registry.ts'
import type { RepositoryRules } from './repository-rules.ts'
import type { TagPolicy } from './tag-decision.ts'

export type OrganizationView = {
  id: number
  name: string
  generation: number
  policy: TagPolicy
  rules: RepositoryRules
  frozen: boolean
  /** Images that are larger than the quota are passed through uncached instead of refused. */
  passesTooLarge: boolean
  /** The host whose `?ns=` it answers. */
  mirrorHost: string | undefined
  /** Undefined when there is no proxy configuration: then only what is cached is served. */
  upstream: { client: Upstream; namespace: string | undefined; isDockerHub: boolean } | undefined
}

/**
 * The policy's columns, in seconds, as a policy; an `expiration` of 0 is for ever (Quay). Undefined: there is no proxy
 * configuration, and what is cached is served until it expires (DESIGN part 6).
 */
export function makeTagPolicy(
  organization: {
    tagExpirationSeconds: number
    revalidateAfterSeconds: number
    maxStaleSeconds: number | undefined
    refuseWhenDenied: boolean
  },
  expirationSeconds: number | undefined,
): TagPolicy {
  const { maxStaleSeconds } = organization
  return {
    expirationMs: expirationSeconds ? expirationSeconds * SECOND_MS : undefined,
    renews: expirationSeconds !== undefined,
    revalidateAfterMs: organization.revalidateAfterSeconds * SECOND_MS,
    maxStaleMs: maxStaleSeconds === undefined ? undefined : maxStaleSeconds * SECOND_MS,
    refuseWhenDenied: organization.refuseWhenDenied,
    windowMs: organization.tagExpirationSeconds * SECOND_MS,
  }
}

/** The upstream that may be asked now, if any. */
export function askableUpstream(view: OrganizationView): Upstream | undefined {
  return view.frozen ? undefined : view.upstream?.client
}
