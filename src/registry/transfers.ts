/**
 * Blobs that clients or jobs are receiving at this moment: an image of which something is being received is not
 * evicted, and its reservation does not end.
 */
import type { Digest } from '../oci/digest.ts'

/** Where a blob is received; `repositoryId` is undefined when nothing of the repository is held. */
export type Transfer = { organizationId: number; repositoryId: number | undefined; digest: Digest }

export class Transfers {
  /** Organization to "repository digest" to how many receive it. */
  readonly #running = new Map<number, Map<string, number>>()
  /** Blobs of which something was received since it was last asked, per organization. */
  #touched = new Map<number, Set<Digest>>()

  /** A transfer begins; the returned function ends it. Idempotent. */
  begin(transfer: Transfer): () => void {
    const { organizationId } = transfer
    const key = keyOf(transfer.repositoryId, transfer.digest)
    const running = this.#running.get(organizationId) ?? new Map<string, number>()
    this.#running.set(organizationId, running)
    running.set(key, (running.get(key) ?? 0) + 1)
    this.#touch(organizationId, transfer.digest)
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#touch(organizationId, transfer.digest)
      const left = (running.get(key) ?? 1) - 1
      if (left > 0) running.set(key, left)
      else running.delete(key)
      if (running.size === 0 && this.#running.get(organizationId) === running) this.#running.delete(organizationId)
    }
  }

  /** Whether one of the blobs is being received through that repository. */
  isReceiving(organizationId: number, repositoryId: number, digests: Iterable<string>): boolean {
    const running = this.#running.get(organizationId)
    if (running === undefined) return false
    for (const digest of digests) if (running.has(keyOf(repositoryId, digest))) return true
    return false
  }

  /** Every blob that the organization's clients and jobs are receiving. */
  activeDigests(organizationId: number): ReadonlySet<string> {
    const keys = this.#running.get(organizationId)?.keys() ?? []
    return new Set([...keys].map((key) => key.slice(key.indexOf(' ') + 1)))
  }

  /** Blobs that are being received, or were since this was last asked. */
  takeTouched(): { organizationId: number; digests: Digest[] }[] {
    const touched = this.#touched
    this.#touched = new Map()
    for (const organizationId of this.#running.keys()) {
      const digests = touched.get(organizationId) ?? new Set<Digest>()
      for (const digest of this.activeDigests(organizationId)) digests.add(digest as Digest)
      touched.set(organizationId, digests)
    }
    return [...touched].map(([organizationId, digests]) => ({ organizationId, digests: [...digests] }))
  }

  #touch(organizationId: number, digest: Digest): void {
    const digests = this.#touched.get(organizationId) ?? new Set<Digest>()
    this.#touched.set(organizationId, digests.add(digest))
  }
}

function keyOf(repositoryId: number | undefined, digest: string): string {
  return `${repositoryId ?? 0} ${digest}`
}
