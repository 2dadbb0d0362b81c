/** What everything stands on, opened in order: key, database, lease, store. Part of the composition root. */
import { mkdir } from 'node:fs/promises'
import { type Clock, systemClock } from './base/clock.ts'
import { openSecretBox, type SecretBox } from './base/secret-box.ts'
import { delayMs } from './base/timers.ts'
import type { BlobStore } from './blobs/blob-store.ts'
import { openFileBlobStore } from './blobs/file-blob-store.ts'
import type { Config } from './config/load.ts'
import { insertInstanceValue } from './metadata/instance.ts'
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
  await mkdir(config.dataFolder, { recursive: true, mode: 0o700 })
  const secretBox = await openSecretBox({ secretKey: config.databaseSecretKey, keyFile: config.secretKeyFile })
  const metadata = await openMetadata({
    uri: config.databaseUri,
    dataFolder: config.dataFolder,
    onEvent: (event, fields) => report(event, { ...fields }),
  })
  try {
    await checkKey(metadata, secretBox)
    const lease = await acquireServingLease({
      metadata,
      dataFolder: config.dataFolder,
      clock: realTime,
      delayMs,
    })
    try {
      return { secretBox, metadata, lease, ...(await openStore(config, lease, report)) }
    } catch (error) {
      await lease.release()
      throw error
    }
  } catch (error) {
    await metadata.close()
    throw error
  }
}

/** Leases are compared with other processes', which have no test clock. */
const realTime: Clock = systemClock

/** The database keeps the fingerprint of the key that its secrets are sealed with: another key could open none. */
async function checkKey(metadata: Metadata, secretBox: SecretBox): Promise<void> {
  const known = await insertInstanceValue(metadata.db, 'secret_key_fingerprint', secretBox.fingerprint)
  if (known === secretBox.fingerprint) return
  throw new Error(
    'the database was written under another key: set DATABASE_SECRET_KEY to it, or bring secret.key back from a backup',
  )
}

async function openStore(config: Config, lease: ServingLease, report: Report) {
  const store = await openFileBlobStore({ folder: config.blobFolder, leaseId: lease.leaseId })
  // We hold the folder alone, so every other lease has ended.
  const swept = await store.sweep((leaseId) => leaseId !== lease.leaseId)
  if (swept > 0) report('drafts_swept', { count: swept })
  const room = new StoreRoom(store, config.minimumFreeBytes, report)
  await room.hasRoomFor(0)
  return { store, room }
}
