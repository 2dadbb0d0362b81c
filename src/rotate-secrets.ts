/** `entrepot secrets rotate`, and a server that finishes what it began. Part of the composition root. */
import {
  discardFormerKeys,
  installNextKey,
  KEY_FILE_SUFFIXES,
  keepFormerKey,
  openInstallationKey,
  WrongKeyError,
} from './admin/installation-key.ts'
import { beginRotation, finishRotation, isRotating, type RotationProgress } from './admin/secret-rotation.ts'
import { monotonicMs } from './base/clock.ts'
import { openSecretBox, type SecretBox, stretchSecretKey } from './base/secret-box.ts'
import { delayMs } from './base/timers.ts'
import type { Config } from './config/load.ts'
import { type Foundations, keySourceOf, openDatabase, type Report } from './foundations.ts'
import type { Metadata } from './metadata/open.ts'
import { LEASE_LIMITS, type ServingLease } from './workers/serving-lease.ts'

/** Between two steps of a server: requests that came meanwhile are answered. */
const pauseMs = 5

export type RotationRequest = {
  /** file: a new secret.key is made. text: `readNewKey` gives it. Undefined: as the configuration has it. */
  to: 'file' | 'text' | undefined
  /** Asked for at most once. */
  readNewKey: () => Promise<string>
  onProgress: (progress: RotationProgress) => void
  /** Told of each durable change but those of `onProgress`; for tests, which end it there. */
  onStage?: (stage: RotationStage) => void
}

export type RotationStage = 'next_key_made' | 'former_key_kept' | 'begun' | 'next_key_installed' | 'finished'

export type RotationResult = RotationProgress & { wasUnderWay: boolean; to: 'file' | 'text' }

/**
 * Change the key of an installation that nobody serves, or finish such a change.
 * Errors: what keeps it from running, for the operator; after any, it can be run again.
 */
export async function rotateSecrets(config: Config, request: RotationRequest): Promise<RotationResult> {
  const { metadata, lease } = await openDatabase(config, () => undefined, 0)
  try {
    const to = request.to ?? (config.databaseSecretKey === undefined ? 'file' : 'text')
    const wasUnderWay = await isRotating(metadata.db)
    const open = wasUnderWay ? openBegun : begin
    const box = await open(metadata, config, to, request)
    const progress = await finishRotation(metadata, box, keepLease(lease, request.onProgress))
    request.onStage?.('finished')
    await discardFormerKeys(keySourceOf(config))
    return { ...progress, wasUnderWay, to }
  } finally {
    await lease.release()
    await metadata.close()
  }
}

type Open = (metadata: Metadata, config: Config, to: 'file' | 'text', request: RotationRequest) => Promise<SecretBox>

/** The configuration has the new key, or still the one before. */
const openBegun: Open = async ({ db }, config, to, request) => {
  const source = keySourceOf(config)
  if (to === 'file') return openInstallationKey(db, { ...source, secretKey: undefined })
  try {
    if (source.secretKey !== undefined) return await openInstallationKey(db, source)
  } catch (error) {
    if (!(error instanceof WrongKeyError)) throw error
  }
  return openInstallationKey(db, { ...source, secretKey: await request.readNewKey() })
}

const begin: Open = async (metadata, config, to, request) => {
  const { secretKeyFile: keyFile } = config
  const current = await openInstallationKey(metadata.db, keySourceOf(config))
  if (to === 'text') return beginRotation(metadata, current, stretchSecretKey(await request.readNewKey()))
  const next = await openSecretBox({ secretKey: undefined, keyFile: keyFile + KEY_FILE_SUFFIXES.next })
  request.onStage?.('next_key_made')
  await keepFormerKey(keyFile)
  request.onStage?.('former_key_kept')
  await beginRotation(metadata, current, next)
  request.onStage?.('begun')
  await installNextKey(keyFile)
  request.onStage?.('next_key_installed')
  return next
}

/** Nobody else may begin to serve meanwhile. */
function keepLease(lease: ServingLease, onProgress: RotationRequest['onProgress']) {
  let beatAtMs = monotonicMs()
  return async (progress: RotationProgress) => {
    onProgress(progress)
    if (monotonicMs() - beatAtMs < LEASE_LIMITS.heartbeatMs) return
    beatAtMs = monotonicMs()
    if (!(await lease.heartbeat())) throw new Error('another process has taken over the database: run it again later')
  }
}

/** Finish, beside the requests, a rotation that ended early. Resolves to how that is stopped. */
export async function resumeRotation(
  { metadata, secretBox }: Pick<Foundations, 'metadata' | 'secretBox'>,
  config: Config,
  report: Report,
): Promise<() => Promise<void>> {
  if (!(await isRotating(metadata.db))) return async () => undefined
  const stopping = new AbortController()
  const pause = () => delayMs(pauseMs, { signal: stopping.signal })
  const work = finishRotation(metadata, secretBox, pause)
    .then(async (progress) => {
      await discardFormerKeys(keySourceOf(config))
      const { resealed, unopened, unopenedCount } = progress
      report('secrets_rotated', { resealed, unopenedCount, unopened })
    })
    .catch((error: unknown) => {
      if (!stopping.signal.aborted) report('secret_rotation_failed', { error })
    })
  return async () => {
    stopping.abort(new Error('the server is stopping'))
    await work
  }
}
