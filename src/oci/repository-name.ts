/** Repository names, and the organization that is their first component. */

declare const brand: unique symbol
/** A name in the spec's grammar, of one or more components. Ours start with an organization; an upstream's do not. */
export type RepositoryName = string & { readonly [brand]: 'RepositoryName' }

/** distribution-spec, "Pulling manifests": components of lower-case letters and digits with separators inside. */
const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const NAME = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`)
const ORGANIZATION = new RegExp(`^${COMPONENT}$`)

/**
 * distribution-spec: many clients limit host and name to 255 characters together; DESIGN applies it to the upstream's
 * part.
 */
export const repositoryNameCharactersMax = 255
/** Quay's limit for the name of a namespace. */
export const organizationNameCharactersMax = 255

/** Text to repository name; undefined when it is not one or is longer than `repositoryNameCharactersMax`. */
export function parseRepositoryName(text: string): RepositoryName | undefined {
  return text.length <= repositoryNameCharactersMax && NAME.test(text) ? (text as RepositoryName) : undefined
}

/** Whether `text` can be the name of an organization: one component of 2 to 255 characters (Quay's rule). */
export function isOrganizationName(text: string): boolean {
  return text.length >= 2 && text.length <= organizationNameCharactersMax && ORGANIZATION.test(text)
}
