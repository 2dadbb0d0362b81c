/** The `scope` of Docker's token protocol, and what of it is granted. */
import { isOrganizationName, parseRepositoryName } from '../oci/repository-name.ts'
import type { Identity, PullPermission, TokenScope } from './identity.ts'

export const TOKEN_SCOPE_LIMITS = {
  /** docker and containerd ask for one or two; a token must fit into a header. */
  scopesMax: 20,
  /** `repository:`, two names of 255 and some actions. */
  scopeCharactersMax: 600,
} as const

/** `type:name:action,action`; the name may hold colons (a port). Undefined when it is none. */
export function parseTokenScope(text: string): TokenScope | undefined {
  if (text.length > TOKEN_SCOPE_LIMITS.scopeCharactersMax) return undefined
  const first = text.indexOf(':')
  const last = text.lastIndexOf(':')
  if (first <= 0 || last <= first + 1) return undefined
  // `repository(plugin)` is Docker's class of a type.
  const type = text.slice(0, first).replace(/\([a-z]+\)$/, '')
  const actions = text
    .slice(last + 1)
    .split(',')
    .filter((action) => action !== '')
  return { type, name: text.slice(first + 1, last), actions }
}

/** What the identity may, out of what was asked: less is no error, the client finds out when it uses the token. */
export async function grantScopes(
  identity: Identity,
  asked: readonly TokenScope[],
  permission: PullPermission,
): Promise<TokenScope[]> {
  const granted: TokenScope[] = []
  if (identity.grants !== undefined) return granted // Limited credentials are not exchanged for wider ones.
  for (const { type, name, actions } of asked) {
    if (type === 'registry' && name === 'catalog' && actions.includes('*')) granted.push({ type, name, actions: ['*'] })
    if (type !== 'repository' || !(actions.includes('pull') || actions.includes('*'))) continue
    const slash = name.indexOf('/')
    const organization = name.slice(0, Math.max(0, slash))
    const repository = parseRepositoryName(name.slice(slash + 1))
    if (!isOrganizationName(organization) || repository === undefined) continue
    if (await permission.canPull(identity.principal, organization, repository))
      granted.push({ type, name, actions: ['pull'] })
  }
  return granted
}
