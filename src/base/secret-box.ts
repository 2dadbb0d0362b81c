/**
 * Secrets at rest: AES-256-GCM under the installation's key.
 *
 * Sealed text: `<key id>.<base64url of nonce (12 bytes), ciphertext, tag (16 bytes)>`.
 * Key: an operator's text is stretched with scrypt; without one, 32 random bytes in a file (0600, base64url, one line).
 * From either HKDF-SHA-256 makes one key to seal with and, under another label, the public fingerprint, whose first
 * 8 digits are the key id. A change of the format gets a new label, and so another id.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, scryptSync } from 'node:crypto'
import { link, mkdir, open, readFile, rename, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'

const keyBytes = 32
const nonceBytes = 12
const tagBytes = 16
const keyIdDigits = 8
/** What the key before a rotation is sealed for, under the key after it. */
const previousContext = 'instance:secret_key_previous'
/** Larger than any key file that this program writes. */
const keyFileBytesMax = 1024
/** The salt must be known before the database is open, so it is fixed: the text has to be hard to guess by itself. */
const stretchSalt = 'entrepot secret box 1'
/** OWASP's scrypt parameters (N = 2^17, r = 8, p = 1): about 0.3 s and 128 MiB, once at start. */
const STRETCH = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 } as const

/** A secret that cannot be opened, or a key that cannot be used. The message says what to do and holds no secret. */
export class SecretBoxError extends Error {
  override readonly name = 'SecretBoxError'
}

export class SecretBox {
  /** Names the key without telling it: 32 hex digits. */
  readonly fingerprint: string
  readonly #master: Buffer
  readonly #sealingKey: Buffer
  /** The key before a rotation, which opens what is not sealed anew yet. */
  #previous: SecretBox | undefined

  constructor(master: Buffer) {
    this.#master = master
    this.#sealingKey = derive(master, 'entrepot seal 1', keyBytes)
    this.fingerprint = derive(master, 'entrepot fingerprint 1', 16).toString('hex')
  }

  /** What stands before the dot of everything that this key seals. */
  get keyId(): string {
    return this.fingerprint.slice(0, keyIdDigits)
  }

  /** Seal text so that only this key opens it, and only for the same `context` (its table, row and column). */
  seal(plaintext: string, context: string): string {
    const nonce = randomBytes(nonceBytes)
    const cipher = createCipheriv('aes-256-gcm', this.#sealingKey, nonce).setAAD(Buffer.from(context))
    const ciphertext = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
    return `${this.keyId}.${Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]).toString('base64url')}`
  }

  /**
   * The text that was sealed, also with the previous key of a rotation.
   * Errors: SecretBoxError for another key, another context or damage.
   */
  open(sealed: string, context: string): string {
    const [keyId, encoded, ...rest] = sealed.split('.')
    if (keyId === undefined || encoded === undefined || rest.length > 0) throw new SecretBoxError('no sealed secret')
    const box = [this, this.#previous].find((candidate) => candidate?.keyId === keyId)
    if (box !== undefined) return box.#open(encoded, context)
    throw new SecretBoxError(
      `cannot open a secret: it was sealed with key ${keyId.slice(0, keyIdDigits)}, this is key ${this.keyId}; ` +
        'give the DATABASE_SECRET_KEY or secret.key that it was sealed with',
    )
  }

  /** The key of `previous`, sealed with this one: whoever has this key can open what that one sealed. */
  sealPrevious(previous: SecretBox): string {
    return this.seal(previous.#master.toString('base64url'), previousContext)
  }

  /** Open from now on also what the key of `sealPrevious` sealed; undefined: nothing else any more. */
  openAlso(sealedPrevious: string | undefined): void {
    this.#previous =
      sealedPrevious === undefined
        ? undefined
        : new SecretBox(Buffer.from(this.open(sealedPrevious, previousContext), 'base64url'))
  }

  #open(encoded: string, context: string): string {
    const bytes = Buffer.from(encoded, 'base64url')
    if (bytes.byteLength < nonceBytes + tagBytes) throw new SecretBoxError('cannot open a secret: it is cut short')
    const decipher = createDecipheriv('aes-256-gcm', this.#sealingKey, bytes.subarray(0, nonceBytes), {
      authTagLength: tagBytes,
    })
    decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-tagBytes))
    try {
      return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString('utf8')
    } catch (cause) {
      throw new SecretBoxError(`cannot open the secret of ${context}: it was changed, or belongs elsewhere`, { cause })
    }
  }
}

/** DATABASE_SECRET_KEY, or the file that has the key when there is none. */
export type KeySource = { secretKey: string | undefined; keyFile: string }

/**
 * The box under `secretKey`, or else under the key in `keyFile`, which is made when it is absent; of several that start
 * at once one makes it and all use it. Errors: SecretBoxError when the file is damaged or open to everyone.
 */
export async function openSecretBox(source: KeySource): Promise<SecretBox> {
  if (source.secretKey !== undefined) return stretchSecretKey(source.secretKey)
  return (await readSecretBox(source.keyFile)) ?? new SecretBox(await createKeyFile(source.keyFile))
}

/** The box under an operator's text. */
export function stretchSecretKey(text: string): SecretBox {
  return new SecretBox(scryptSync(text.normalize('NFC'), stretchSalt, keyBytes, STRETCH))
}

/** The box under the key in a file; undefined when there is no file. Errors: as `openSecretBox`. */
export async function readSecretBox(keyFile: string): Promise<SecretBox | undefined> {
  const key = await readKeyFile(keyFile)
  return key && new SecretBox(key)
}

/** Give a key file another name, durably; one that has that name already goes. */
export async function renameKeyFile(path: string, to: string): Promise<void> {
  await rename(path, to)
  await syncFolder(dirname(to))
}

/** Durably. Nothing happens when there is no such file. */
export async function removeKeyFile(path: string): Promise<void> {
  try {
    await unlink(path)
    await syncFolder(dirname(path))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** Keep a key file under a second name too, durably. */
export async function linkKeyFile(path: string, also: string): Promise<void> {
  await removeKeyFile(also)
  await link(path, also)
  await syncFolder(dirname(also))
}

async function readKeyFile(path: string): Promise<Buffer | undefined> {
  try {
    const { mode, size } = await stat(path)
    // A group may read it: Kubernetes' fsGroup opens every file of a volume to the pod's group.
    if ((mode & 0o007) !== 0) {
      throw new SecretBoxError(`cannot use ${path}: everyone on this machine may read it; run chmod 600 on it`)
    }
    const key = size <= keyFileBytesMax ? Buffer.from((await readFile(path, 'utf8')).trim(), 'base64url') : undefined
    if (key?.byteLength === keyBytes) return key
    throw new SecretBoxError(`cannot use ${path}: it holds no key; bring it back from a backup`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Written whole under another name, then linked: a reader never sees half a key, and the first link wins. */
async function createKeyFile(path: string): Promise<Buffer> {
  await mkdir(dirname(path), { recursive: true })
  const key = randomBytes(keyBytes)
  const draft = `${path}.${randomBytes(8).toString('hex')}`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(`${key.toString('base64url')}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(draft, path)
    await syncFolder(dirname(path))
    return key
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const winner = await readKeyFile(path)
    if (winner === undefined) throw error
    return winner
  } finally {
    await unlink(draft).catch(() => undefined) // A draft that stays holds no key in use, and no one reads it.
  }
}

/** Without this a power cut could take the key's name, and every sealed secret with it. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function derive(master: Buffer, label: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', master, '', label, bytes))
}
