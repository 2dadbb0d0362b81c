/** Admission with a real database, and room as the test says. */
import type { Clock } from '../../src/base/clock.ts'
import type { BlobStore } from '../../src/blobs/blob-store.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import type { LimitSettings } from '../../src/metadata/quotas.ts'
import { BlobShelf } from '../../src/registry/blob-shelf.ts'
import { LastUses } from '../../src/registry/last-uses.ts'
import { ManifestMemory } from '../../src/registry/manifest-memory.ts'
import { Space } from '../../src/registry/space.ts'
import { Transfers } from '../../src/registry/transfers.ts'

export function openSpace(options: {
  metadata: Metadata
  store: BlobStore
  clock: Clock
  hasRoom: () => boolean
  onEvent: (event: string, fields: Record<string, unknown>) => void
  limits?: LimitSettings
}) {
  const { metadata, store, clock, onEvent } = options
  const limits = options.limits ?? { hasQuotaManagement: true, systemRejectBytes: undefined }
  const memory = new ManifestMemory()
  const uses = new LastUses(metadata, (repositoryId, tag) => memory.forgetTag(repositoryId, tag), onEvent)
  const shelf = new BlobShelf({ metadata, store, clock, limits, onEvent })
  const transfers = new Transfers()
  const space = new Space({
    ...{ metadata, clock, uses, transfers, memory, shelf, limits },
    store: { hasRoomFor: () => Promise.resolve(options.hasRoom()) },
    onEvicted: (removal, reason) => onEvent('image_evicted', { removal, reason }),
  })
  return { memory, uses, shelf, transfers, space }
}
