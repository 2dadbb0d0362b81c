/** Which organization and repository a request means. Source: DESIGN part 4, *Names*. */
import { RegistryError } from '../../errors.ts'
import { parseRepositoryName, type RepositoryName } from '../../oci/repository-name.ts'
import type { FoundOrganization, RegistryDirectory } from '../../registry/directory.ts'

/** What a name stands for; permissions are judged about this, and tokens and logs name it. */
export type ResolvedName = {
  organization: string
  /** Undefined when there is no such organization. */
  found: FoundOrganization | undefined
  /** Without the organization. */
  name: RepositoryName
  /** The host in `?ns=` that selected the organization, for `OCI-Namespace`. */
  namespace: string | undefined
}

/** `host[:port]`; RFC 1035 limits the name to 253 characters. */
const NAMESPACE_HOST = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::\d{1,5})?$/

/**
 * The prefix form `<org>/<rest>`; the mirror of `ns`, unless the prefix already names an organization of that upstream;
 * `rootOrganization` for names whose first component is no organization.
 * Errors: NAME_UNKNOWN for an `ns` that nobody mirrors and a name of one component; NAME_INVALID when the upstream's
 * part is too long. An organization that does not exist is no error here: it must not be told from a hidden one.
 */
export async function resolveName(
  directory: RegistryDirectory,
  rootOrganization: string | undefined,
  request: { name: string; ns: string | undefined },
): Promise<ResolvedName> {
  const { organization, rest } = splitName(request.name)
  const found = rest === undefined ? undefined : await directory.find(organization)
  if (request.ns !== undefined) {
    const namespace = request.ns.toLowerCase()
    const isHost = NAMESPACE_HOST.test(namespace)
    if (
      isHost &&
      found !== undefined &&
      rest !== undefined &&
      (await directory.isUpstreamOf(organization, namespace))
    ) {
      return { organization, found, name: checkName(rest), namespace: undefined }
    }
    const mirror = isHost ? await directory.findMirror(namespace) : undefined
    if (mirror === undefined) {
      throw new RegistryError('NAME_UNKNOWN', { message: 'no organization is the mirror of the host in ns' })
    }
    return { organization: mirror, found: await directory.find(mirror), name: checkName(request.name), namespace }
  }
  if (found === undefined && rootOrganization !== undefined) {
    const name = checkName(request.name)
    return { organization: rootOrganization, found: await directory.find(rootOrganization), name, namespace: undefined }
  }
  if (rest === undefined) {
    throw new RegistryError('NAME_UNKNOWN', { message: 'expected a name of the form organization/repository' })
  }
  return { organization, found, name: checkName(rest), namespace: undefined }
}

/** `a/b/c` to `a` and `b/c`. */
export function splitName(name: string): { organization: string; rest: string | undefined } {
  const slash = name.indexOf('/')
  return slash === -1
    ? { organization: name, rest: undefined }
    : { organization: name.slice(0, slash), rest: name.slice(slash + 1) }
}

function checkName(text: string): RepositoryName {
  const name = parseRepositoryName(text)
  if (name === undefined) throw new RegistryError('NAME_INVALID')
  return name
}
