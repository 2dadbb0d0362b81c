/** What everything stands on, opened in order: database, lease, key, store. Part of the composition root. */
import { mkdir } from 'node:fs/promises'
import { openInstallationKey } from './admin/installation-key.ts'
import { type Clock, systemClock } from './base/clock.ts'
import type { KeySource, SecretBox } from './base/secret-box.ts'
import { delayMs } from './base/timers.ts'
import type { BlobStore } from './blobs/blob-store.ts'
import { openFileBlobStore } from './blobs/file-blob-store.ts'
import type { Config } from './config/load.ts'
import { type Metadata, openMetadata } from './metadata/open.ts'
import { StoreRoom } from './registry/store-room.ts'
import { acquireServingLease, type ServingLease } from './workers/serving-lease.ts'

export type Report = (event: string, fields: Record<string, unknown>) => void

export type Foundations = {
  secretBox: SecretBox
  metadata: Metadata
  lease: ServingLease
  store: BlobStore
  room: StoreRoom
}

/**
 * Errors: a message for the operator when something is held by another process, belongs to another key, or is broken.
 */
export async function openFoundations(config: Config, report: Report): Promise<Foundations> {
  const { metadata, lease } = await openDatabase(config, report)
  try {
    const secretBox = await openInstallationKey(metadata.db, keySourceOf(config))
    return { secretBox, metadata, lease, ...(await openStore(config, lease, report)) }
  } catch (error) {
    await lease.release()
    await metadata.close()
    throw error
  }
}

/** The database, for this process alone. `waitMsMax`: how long another one is waited for. Errors: as above. */
export async function openDatabase(
  config: Config,
  report: Report,
  waitMsMax?: number,
): Promise<Pick<Foundations, 'metadata' | 'lease'>> {
  const { dataFolder } = config
  await mkdir(dataFolder, { recursive: true, mode: 0o700 })
  const metadata = await openMetadata({
    uri: config.databaseUri,
    dataFolder,
    onEvent: (event, fields) => report(event, { ...fields }),
  })
  try {
    const waiting = waitMsMax === undefined ? {} : { waitMsMax }
    const lease = await acquireServingLease({ metadata, dataFolder, clock: realTime, delayMs, ...waiting })
    return { metadata, lease }
  } catch (error) {
    await metadata.close()
    throw error
  }
}

export function keySourceOf(config: Config): KeySource {
  return { secretKey: config.databaseSecretKey, keyFile: config.secretKeyFile }
}

/** Leases are compared with other processes', which have no test clock. */
const realTime: Clock = systemClock

async function openStore(config: Config, lease: ServingLease, report: Report) {
  const store = await openFileBlobStore({ folder: config.blobFolder, leaseId: lease.leaseId })
  // We hold the folder alone, so every other lease has ended.
  const swept = await store.sweep((leaseId) => leaseId !== lease.leaseId)
  if (swept > 0) report('drafts_swept', { count: swept })
  const room = new StoreRoom(store, config.minimumFreeBytes, report)
  await room.hasRoomFor(0)
  return { store, room }
}
