/**
 * Changing the key that secrets are sealed with (`entrepot secrets rotate`).
 *
 * Order, so that a crash at any point leaves a key that opens everything: the new key is durable before the database
 * hears of it; one transaction then makes it the installation's key and keeps the previous one, sealed with it; values
 * are sealed anew in steps; at last the previous key is forgotten.
 */
import { type SecretBox, SecretBoxError } from '../base/secret-box.ts'
import { findInstanceValue, removeInstanceValue, setInstanceValue } from '../metadata/instance.ts'
import type { Db, Metadata } from '../metadata/open.ts'
import {
  countSealed,
  listSealedByOthers,
  replaceSealed,
  SEALED_PLACES,
  type SealedPlace,
  type SealedValue,
} from '../metadata/sealed-columns.ts'
import { INSTANCE_KEYS, WrongKeyError } from './installation-key.ts'

export const ROTATION_LIMITS = {
  /** Rows of one transaction. */
  rowsPerStep: 100,
  /** Values that no key opens and that are named; more are counted. */
  namedMax: 100,
} as const

/** A value that no key opens: where it is, never what it is. */
export type UnopenedValue = { table: string; column: string; id: string | number }

export type RotationProgress = {
  /** Values seen that were not under the new key yet, and all sealed values there are. */
  seen: number
  total: number
  resealed: number
  unopenedCount: number
  unopened: UnopenedValue[]
}

/**
 * Make `next` the installation's key; resolves to it, when it opens what the key before has sealed too. The key that
 * signs registry tokens is dropped, so that one is made anew: the former key and an old dump would be enough to sign.
 * Errors: WrongKeyError when `current` is not the installation's key, `next` is it, or another rotation is under way.
 */
export async function beginRotation(metadata: Metadata, current: SecretBox, next: SecretBox): Promise<SecretBox> {
  if (next.fingerprint === current.fingerprint) throw new WrongKeyError('this is the key already: give another one')
  const sealedPrevious = next.sealPrevious(current)
  await metadata.transaction(async (tx) => {
    const known = await findInstanceValue(tx, INSTANCE_KEYS.fingerprint)
    if (known !== current.fingerprint) throw new WrongKeyError('the database was written under another key')
    if ((await findInstanceValue(tx, INSTANCE_KEYS.previous)) !== undefined) {
      throw new WrongKeyError('another rotation is under way: it has to be finished first')
    }
    await setInstanceValue(tx, INSTANCE_KEYS.fingerprint, next.fingerprint)
    await setInstanceValue(tx, INSTANCE_KEYS.previous, sealedPrevious)
    await removeInstanceValue(tx, 'registry_token_key')
  })
  next.openAlso(sealedPrevious)
  return next
}

export async function isRotating(db: Db): Promise<boolean> {
  return (await findInstanceValue(db, INSTANCE_KEYS.previous)) !== undefined
}

/**
 * Seal everything with the key of `box` that is not, then forget the previous key. It goes on where it ended before,
 * beside a server that seals with `box`. `onStep` may reject: then it ends, and can go on later.
 * What no key opens stays as it is, and is named.
 */
export async function finishRotation(
  metadata: Metadata,
  box: SecretBox,
  onStep: (progress: RotationProgress) => Promise<void>,
): Promise<RotationProgress> {
  const progress: RotationProgress = { seen: 0, total: 0, resealed: 0, unopenedCount: 0, unopened: [] }
  for (const place of SEALED_PLACES) progress.total += await countSealed(metadata.db, place)
  await onStep(progress)
  // Until nothing is left: a row that was being written meanwhile may have come behind the place that was read.
  for (let before = -1; before !== progress.resealed; ) {
    before = progress.resealed
    Object.assign(progress, { seen: progress.resealed, unopenedCount: 0, unopened: [] })
    for (const place of SEALED_PLACES) await resealPlace(metadata, box, place, progress, onStep)
  }
  await removeInstanceValue(metadata.db, INSTANCE_KEYS.previous)
  box.openAlso(undefined)
  return progress
}

async function resealPlace(
  metadata: Metadata,
  box: SecretBox,
  place: SealedPlace,
  progress: RotationProgress,
  onStep: (progress: RotationProgress) => Promise<void>,
): Promise<void> {
  let after: string | number | undefined
  for (;;) {
    const page = { keyId: box.keyId, after, limit: ROTATION_LIMITS.rowsPerStep }
    const step = await metadata.transaction((tx) => resealSome(tx, box, place, page))
    if (step.lastId === undefined) return
    after = step.lastId
    progress.seen += step.seen
    progress.resealed += step.resealed
    progress.unopenedCount += step.unopened.length
    const room = ROTATION_LIMITS.namedMax - progress.unopened.length
    progress.unopened.push(...step.unopened.slice(0, Math.max(room, 0)))
    await onStep(progress)
  }
}

async function resealSome(tx: Db, box: SecretBox, place: SealedPlace, page: Parameters<typeof listSealedByOthers>[2]) {
  const values = await listSealedByOthers(tx, place, page)
  const unopened: UnopenedValue[] = []
  let resealed = 0
  for (const value of values) {
    const replacement = reseal(box, value)
    if (replacement === undefined) unopened.push({ table: place.table, column: place.column, id: value.id })
    else if (await replaceSealed(tx, place, { id: value.id, sealed: value.sealed, replacement })) resealed += 1
  }
  return { seen: values.length, resealed, unopened, lastId: values.at(-1)?.id }
}

function reseal(box: SecretBox, { sealed, context }: SealedValue): string | undefined {
  try {
    return box.seal(box.open(sealed, context), context)
  } catch (error) {
    if (error instanceof SecretBoxError) return undefined
    throw error
  }
}
