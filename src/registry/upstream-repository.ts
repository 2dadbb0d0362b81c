/** From a repository's name in an organization to the one name it is stored under, and its name upstream. */
import { RegistryError } from '../errors.ts'
import { parseRepositoryName, type RepositoryName, repositoryNameCharactersMax } from '../oci/repository-name.ts'

export type RepositoryNames = {
  /** Without the organization; Docker Hub's official images always as `library/…`. */
  stored: string
  upstream: RepositoryName
}

/**
 * Source: DESIGN part 4 *Names*; Docker's client itself writes `library/` before a one-component name of Docker Hub.
 * Errors: NAME_INVALID when the upstream's name would be too long.
 */
export function mapRepositoryName(
  upstream: { namespace: string | undefined; isDockerHub: boolean },
  name: string,
): RepositoryNames {
  const isOfficial = upstream.isDockerHub && upstream.namespace === undefined && !name.includes('/')
  const stored = isOfficial ? `library/${name}` : name
  const upstreamName = parseRepositoryName(
    upstream.namespace === undefined ? stored : `${upstream.namespace}/${stored}`,
  )
  if (upstreamName === undefined) {
    throw new RegistryError('NAME_INVALID', {
      message: `invalid repository name: its name upstream must be lower-case components of at most ${repositoryNameCharactersMax} characters in all`,
    })
  }
  return { stored, upstream: upstreamName }
}
