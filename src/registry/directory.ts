/** What the `/v2` server asks about organizations. */
import type { Reference } from '../oci/reference.ts'
import type { OrganizationRegistry, Provenance } from './served.ts'

/** A manifest that can be answered at once, from memory. Made anew for each pull, so it must stay small. */
export type HotManifest = {
  sizeBytes: number
  /** The bytes, one a character: with its headers this is one string and one write, which two buffers are not. */
  latin1: string
  /** Headers that never change for these bytes, as name, value, name, value; without `Age` and `Cache-Status`. */
  headers: readonly string[]
  provenance: Provenance
  /** Record that it was pulled: last use and expiry. Never throws, waits for nothing. */
  touch(): void
}

export type FoundOrganization = {
  name: string
  registry: OrganizationRegistry
  /** Whether it caches an upstream: then it takes no pushes. */
  isProxy: boolean
}

export interface RegistryDirectory {
  /** The hot path: without waiting; undefined when the answer needs a query or an upstream. */
  recallManifest(organization: string, name: string, reference: Reference): HotManifest | undefined
  /** Undefined when there is no organization of that name. */
  find(organization: string): Promise<FoundOrganization | undefined>
  /** The organization that is *the* mirror of an upstream host. */
  findMirror(host: string): Promise<string | undefined>
  /** Whether an organization caches that upstream host. */
  isUpstreamOf(organization: string, host: string): Promise<boolean>
  /**
   * Repository names with their organization, in the order of organization and name.
   * `maySee` is asked once an organization; `after` is the last name of the page before.
   */
  listRepositories(
    maySee: (organization: string) => Promise<boolean>,
    options: { after?: string; limit: number },
  ): Promise<{ names: string[]; isComplete: boolean }>
}
