/** Publishing and removing one blob exclude each other, so that bytes published again are never removed. */
import type { Digest } from '../oci/digest.ts'

export class BlobLock {
  readonly #tails = new Map<Digest, Promise<unknown>>()

  /** Run `work` when all earlier work on `digest` has ended. The map holds only what is under way. */
  async run<Value>(digest: Digest, work: () => Promise<Value>): Promise<Value> {
    const earlier = this.#tails.get(digest) ?? Promise.resolve()
    const mine = earlier.then(work, work)
    this.#tails.set(digest, mine)
    try {
      return await mine
    } finally {
      if (this.#tails.get(digest) === mine) this.#tails.delete(digest)
    }
  }
}
