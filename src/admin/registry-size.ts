/** How many bytes the store holds in all, Quay's `registrysize`. */
import { findStoreUsage } from '../metadata/blobs.ts'
import type { AdminContext } from './settings.ts'

/** `last_ran` in milliseconds since the epoch, as Quay has it. */
export type RegistrySizeView = { size_bytes: number; last_ran: number; queued: boolean; running: boolean }

export class RegistrySize {
  readonly #context: AdminContext

  constructor(context: AdminContext) {
    this.#context = context
  }

  /** Kept with every change, so always of now. */
  async view(): Promise<RegistrySizeView> {
    const { metadata, clock } = this.#context
    const { blobBytes } = await findStoreUsage(metadata.db)
    return { size_bytes: blobBytes, last_ran: clock(), queued: false, running: false }
  }
}
