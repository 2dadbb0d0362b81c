/** What pulls were answered with lately, ready to be sent again without a query. Shared by all organizations. */
import { BoundedMap } from '../base/bounded-map.ts'
import { MiB } from '../base/units.ts'
import type { Digest } from '../oci/digest.ts'
import type { Tag } from '../oci/reference.ts'
import type { Manifest } from '../oci/registry.ts'

export type HeldRepository = {
  id: number
  /** Since when the upstream refuses it; changed in place. */
  deniedAtMs: number | undefined
}

/** A stored manifest; nothing of what it says changes. */
export type HeldManifest = Manifest & {
  /** Undefined when it could not be stored: then it is in nobody's memory. */
  id: number | undefined
  /** When the upstream named this digest in this repository. */
  storedAtMs: number
  /** The bytes, one a character (see `HotManifest`); made when it is first recalled. */
  latin1: string | undefined
  /** The headers that never change for these bytes, flat, as `http.ServerResponse.writeHead` takes them. */
  headers: readonly string[]
}

/** The current row of a tag. Last use, expiry and confirmation are changed in place as pulls are answered. */
export type HeldTag = {
  id: number
  digest: Digest
  confirmedAtMs: number
  expiresAtMs: number | undefined
  /** Somebody set the expiry by hand: the next pull sets it anew. */
  isExpirySet: boolean
}

export const MEMORY_LIMITS = {
  /** Manifests of some kilobytes each: tens of thousands of them. */
  manifestBytesMax: 64 * MiB,
  /** Some 200 bytes each. */
  tagsMax: 200_000,
  repositoriesMax: 100_000,
} as const

/** Rows of this size are charged to an entry besides its bytes. */
const entryBytes = 1024

export class ManifestMemory {
  readonly #manifests = new BoundedMap<string, HeldManifest>(
    MEMORY_LIMITS.manifestBytesMax,
    (held) => 2 * held.bytes.byteLength + entryBytes,
  )
  readonly #tags = new BoundedMap<string, HeldTag>(MEMORY_LIMITS.tagsMax)
  readonly #repositories = new BoundedMap<string, HeldRepository>(MEMORY_LIMITS.repositoriesMax)
  #epoch = 0

  /** Changes whenever something is forgotten: what was read from the database before may be gone by now. */
  get epoch(): number {
    return this.#epoch
  }

  /** `space` is the organization's id and generation: another generation is another space. */
  findRepository(space: string, name: string): HeldRepository | undefined {
    return this.#repositories.peek(`${space}/${name}`)
  }

  setRepository(space: string, name: string, held: HeldRepository): void {
    this.#repositories.set(`${space}/${name}`, held)
  }

  findManifest(repositoryId: number, digest: Digest): HeldManifest | undefined {
    return this.#manifests.get(`${repositoryId}@${digest}`)
  }

  setManifest(repositoryId: number, held: HeldManifest): void {
    this.#manifests.set(`${repositoryId}@${held.descriptor.digest}`, held)
  }

  findTag(repositoryId: number, tag: Tag): HeldTag | undefined {
    return this.#tags.get(`${repositoryId}:${tag}`)
  }

  setTag(repositoryId: number, tag: Tag, held: HeldTag): void {
    this.#tags.set(`${repositoryId}:${tag}`, held)
  }

  /** Forget a tag whose row has changed elsewhere. */
  forgetTag(repositoryId: number, name: string): void {
    this.#epoch += 1
    this.#tags.delete(`${repositoryId}:${name}`)
  }

  /** Forget a manifest whose row is gone. */
  forgetManifest(repositoryId: number, digest: Digest): void {
    this.#epoch += 1
    this.#manifests.delete(`${repositoryId}@${digest}`)
  }

  /** Forget everything, after rows were changed in ways that are not followed one by one. */
  clear(): void {
    this.#epoch += 1
    this.#manifests.clear()
    this.#tags.clear()
    this.#repositories.clear()
  }
}

/** Build the memory's form of a manifest. */
export function holdManifest(manifest: Manifest, id: number | undefined, storedAtMs: number): HeldManifest {
  const { digest, mediaType, size } = manifest.descriptor
  const headers = [
    'Content-Type',
    mediaType,
    'Content-Length',
    String(size),
    'Docker-Content-Digest',
    digest,
    'ETag',
    `"${digest}"`,
    'Docker-Distribution-Api-Version',
    'registry/2.0',
    'X-Content-Type-Options',
    'nosniff',
  ]
  return { ...manifest, id, storedAtMs, latin1: undefined, headers }
}
