/** May the caller pull what the request means? */
import type { Identity } from '../../admin/identity.ts'
import { RegistryError } from '../../errors.ts'
import type { FoundOrganization } from '../../registry/directory.ts'
import { describePrincipal, type Exchange } from './exchange.ts'
import type { RegistryDeps } from './registry-deps.ts'
import { type ResolvedName, resolveName } from './resolve-name.ts'

export const ANONYMOUS: Identity = { principal: { kind: 'anonymous' }, grants: undefined }

/** A repository that the caller may pull from. */
export type OpenRepository = ResolvedName & { found: FoundOrganization; isAnonymous: boolean }

type AuthorizeDeps = Pick<RegistryDeps, 'directory' | 'authenticator' | 'permission' | 'settings'>

/**
 * Resolve the name, then judge: the permission is about the repository that is meant, not the one that is written.
 *
 * Errors: of `resolveName`; UNAUTHORIZED without credentials, with wrong ones, or with a token for something else;
 * DENIED for a known caller. An organization that does not exist answers as one that the caller may not see.
 */
export async function openRepository(
  deps: AuthorizeDeps,
  exchange: Exchange,
  request: { name: string; ns: string | undefined },
): Promise<OpenRepository> {
  if (request.ns !== undefined) exchange.challenge.ns = request.ns
  const resolved = await resolveName(deps.directory, deps.settings.rootOrganization, request)
  const repository = `${resolved.organization}/${resolved.name}`
  exchange.record.repository = repository
  exchange.challenge.scope = `repository:${repository}:pull`
  const { principal, grants } = await authenticate(deps, exchange)
  const isAnonymous = principal.kind === 'anonymous'
  if (!(await deps.permission.canPull(principal, resolved.organization, resolved.name))) {
    if (isAnonymous) throw new RegistryError('UNAUTHORIZED')
    throw new RegistryError('DENIED', {
      message: `the organization ${resolved.organization} does not exist, or you may not pull from it`,
    })
  }
  if (grants !== undefined && grants.get(repository)?.includes('pull') !== true) {
    exchange.challenge.error = 'insufficient_scope'
    throw new RegistryError('UNAUTHORIZED', { message: 'the token is not for this repository' })
  }
  // The permission was remembered, and the organization has gone meanwhile.
  if (resolved.found === undefined) throw new RegistryError('NAME_UNKNOWN')
  exchange.record.organization = resolved.organization
  return { ...resolved, found: resolved.found, isAnonymous }
}

/** Errors: UNAUTHORIZED for wrong credentials, TOO_MANY_REQUESTS after too many of them. */
export async function authenticate(deps: Pick<RegistryDeps, 'authenticator'>, exchange: Exchange): Promise<Identity> {
  const header = exchange.request.headers.authorization
  const recalled = header === undefined ? undefined : deps.authenticator.recall(header)
  const identity = recalled ?? (await verify(deps, exchange, header))
  exchange.record.principal = describePrincipal(identity.principal)
  return identity
}

async function verify(
  deps: Pick<RegistryDeps, 'authenticator'>,
  exchange: Exchange,
  header: string | undefined,
): Promise<Identity> {
  try {
    return await deps.authenticator.authenticate(header, exchange.record.address)
  } catch (error) {
    if (header !== undefined && /^bearer /i.test(header)) exchange.challenge.error = 'invalid_token'
    throw error
  }
}
