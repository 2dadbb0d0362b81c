/**
 * Which key this installation's secrets are sealed with. The database keeps the key's fingerprint; a key that is
 * another one refuses to start. While a rotation is under way the database also has the previous key, sealed with the
 * new one, so that whoever has the new key has both.
 */
import {
  type KeySource,
  linkKeyFile,
  openSecretBox,
  readSecretBox,
  removeKeyFile,
  renameKeyFile,
  type SecretBox,
  stretchSecretKey,
} from '../base/secret-box.ts'
import { findInstanceValue, insertInstanceValue } from '../metadata/instance.ts'
import type { Db } from '../metadata/open.ts'

export const INSTANCE_KEYS = {
  fingerprint: 'secret_key_fingerprint',
  /** There while a rotation is under way. */
  previous: 'secret_key_previous',
} as const

/** `secret.key.new`: made before the database is told of it. `secret.key.old`: kept until a rotation is done. */
export const KEY_FILE_SUFFIXES = { next: '.new', former: '.old' } as const

/** Not the key that the database was written under. The message says what to do. */
export class WrongKeyError extends Error {
  override readonly name = 'WrongKeyError'
}

/**
 * The box that opens what is sealed in this database; the first start decides which key that is. Only one process at a
 * time (under the serving lease): a key file that a crash left under another name gets its own.
 * Errors: WrongKeyError; SecretBoxError.
 */
export async function openInstallationKey(db: Db, source: KeySource): Promise<SecretBox> {
  const known = await findInstanceValue(db, INSTANCE_KEYS.fingerprint)
  const previous = await findInstanceValue(db, INSTANCE_KEYS.previous)
  const box = known === undefined ? await openSecretBox(source) : await findBox(source, known)
  if (box === undefined) throw new WrongKeyError(wrongKeyMessage(source, previous !== undefined))
  if ((await insertInstanceValue(db, INSTANCE_KEYS.fingerprint, box.fingerprint)) !== box.fingerprint) {
    throw new WrongKeyError('another process has just chosen another key: start again')
  }
  if (previous === undefined) await discardFormerKeys(source)
  else box.openAlso(previous)
  return box
}

/** Keep the key in use as `secret.key.old`, before the database hears of another. */
export async function keepFormerKey(keyFile: string): Promise<void> {
  if ((await readSecretBox(keyFile)) !== undefined) await linkKeyFile(keyFile, keyFile + KEY_FILE_SUFFIXES.former)
}

/** `secret.key.new` is the key now. */
export async function installNextKey(keyFile: string): Promise<void> {
  await renameKeyFile(keyFile + KEY_FILE_SUFFIXES.next, keyFile)
}

/** After a rotation: nothing is sealed with what lies beside the key file. */
export async function discardFormerKeys({ keyFile }: KeySource): Promise<void> {
  for (const suffix of Object.values(KEY_FILE_SUFFIXES)) await removeKeyFile(keyFile + suffix)
}

/** The key with this fingerprint, if it is what the operator gave or lies beside the key file. */
async function findBox(source: KeySource, fingerprint: string): Promise<SecretBox | undefined> {
  const { secretKey, keyFile } = source
  if (secretKey !== undefined) {
    const box = stretchSecretKey(secretKey)
    return box.fingerprint === fingerprint ? box : undefined
  }
  for (const suffix of ['', KEY_FILE_SUFFIXES.next, KEY_FILE_SUFFIXES.former]) {
    const path = keyFile + suffix
    const box = await readSecretBox(path)
    if (box?.fingerprint !== fingerprint) continue
    if (suffix !== '') await renameKeyFile(path, keyFile)
    return box
  }
  return undefined
}

function wrongKeyMessage({ secretKey }: KeySource, isRotating: boolean): string {
  if (!isRotating) {
    return 'the database was written under another key: set DATABASE_SECRET_KEY to it, or bring secret.key back from a backup'
  }
  const what = secretKey === undefined ? 'set DATABASE_SECRET_KEY to it' : 'set DATABASE_SECRET_KEY to the new one'
  return `a rotation to another key was begun: ${what} (or unset it, if the new key is secret.key); it is then finished`
}
