/** Whether the store may grow: MINIMUM_FREE_BYTES. Below it nothing new is cached, and pulls stream through. */

import { GiB, SECOND_MS } from '../base/units.ts'
import type { BlobStore } from '../blobs/blob-store.ts'

export const ROOM_LIMITS = {
  /** DESIGN part 5: the default minimum is a share of the disk, and at least so many bytes. */
  freeShare: 0.05,
  freeBytesMin: GiB,
  /** How old the answer for small things may be; blobs ask anew. */
  refreshMs: 5 * SECOND_MS,
} as const

export class StoreRoom {
  readonly #store: BlobStore
  readonly #minimumFreeBytes: number | undefined
  readonly #report: (event: string, fields: Record<string, unknown>) => void
  #hasRoom = true

  /** `minimumFreeBytes` undefined: the default. */
  constructor(
    store: BlobStore,
    minimumFreeBytes: number | undefined,
    report: (event: string, fields: Record<string, unknown>) => void,
  ) {
    this.#store = store
    this.#minimumFreeBytes = minimumFreeBytes
    this.#report = report
  }

  /** As it was when it was last looked at. */
  get hasRoom(): boolean {
    return this.#hasRoom
  }

  /** Look again: is there room for so many bytes more? A store that cannot tell is treated as full. */
  async hasRoomFor(bytes: number): Promise<boolean> {
    return (await this.shortfallBytes(bytes)) <= 0
  }

  /** How much must be freed before so many bytes more have room; nothing when it is 0 or less. */
  async shortfallBytes(bytes: number): Promise<number> {
    const before = this.#hasRoom
    try {
      const capacity = await this.#store.capacity()
      if (capacity === undefined) {
        this.#hasRoom = true
        return 0
      }
      const minimumBytes = this.#minimumOf(capacity.totalBytes)
      this.#hasRoom = capacity.freeBytes >= minimumBytes
      this.#say(before, capacity.freeBytes)
      return minimumBytes + bytes - capacity.freeBytes
    } catch (error) {
      this.#hasRoom = false
      this.#report('store_capacity_unknown', { error })
      this.#say(before, undefined)
      return Number.POSITIVE_INFINITY
    }
  }

  #minimumOf(totalBytes: number): number {
    const byDefault = Math.max(ROOM_LIMITS.freeBytesMin, Math.floor(totalBytes * ROOM_LIMITS.freeShare))
    return this.#minimumFreeBytes ?? byDefault
  }

  #say(before: boolean, freeBytes: number | undefined): void {
    if (before === this.#hasRoom) return
    this.#report(this.#hasRoom ? 'store_has_room_again' : 'store_nearly_full', { freeBytes })
  }
}
