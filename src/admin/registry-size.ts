/** How many bytes the store holds in all, Quay's `registrysize`. */
import { findStoreUsage } from '../metadata/blobs.ts'
import { unauthorized } from './admin-error.ts'
import { type Caller, requireAccount } from './caller.ts'
import { requireSuperuserEyes } from './quotas.ts'
import type { Rights } from './rights.ts'
import type { AdminContext } from './settings.ts'

/** `last_ran` in milliseconds since the epoch, as Quay has it. */
export type RegistrySizeView = { size_bytes: number; last_ran: number; queued: boolean; running: boolean }

export class RegistrySize {
  readonly #context: AdminContext
  readonly #rights: Rights

  constructor(context: AdminContext, rights: Rights) {
    this.#context = context
    this.#rights = rights
  }

  /** Kept with every change, so always of now. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  async view(caller: Caller): Promise<RegistrySizeView> {
    requireSuperuserEyes(this.#rights, caller)
    const { metadata, clock } = this.#context
    const { blobBytes } = await findStoreUsage(metadata.db)
    return { size_bytes: blobBytes, last_ran: clock(), queued: false, running: false }
  }

  /** Quay counts when asked; here there is nothing to count. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  recount(caller: Caller): void {
    const by = requireAccount(caller)
    if (!this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    this.#rights.refuseReader(by)
  }
}
