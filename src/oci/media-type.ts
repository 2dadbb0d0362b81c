/** Media types of manifests. Any other is passed on as it is. */
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json'
export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
export const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json'
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
export const DOCKER_SCHEMA1 = 'application/vnd.docker.distribution.manifest.v1+json'
export const DOCKER_SCHEMA1_SIGNED = 'application/vnd.docker.distribution.manifest.v1+prettyjws'

/** What every question for a manifest says to an upstream, so that one tag has one digest (DESIGN part 4). */
export const UPSTREAM_ACCEPT = `${OCI_INDEX}, ${OCI_MANIFEST}, ${DOCKER_LIST}, ${DOCKER_MANIFEST}, */*;q=0.1`

/** `Application/JSON; charset=utf-8` to `application/json`: the type without parameters. */
export function bareMediaType(contentType: string): string {
  return (contentType.split(';', 1)[0] ?? '').trim().toLowerCase()
}

export function isSchema1(mediaType: string): boolean {
  return mediaType === DOCKER_SCHEMA1 || mediaType === DOCKER_SCHEMA1_SIGNED
}
