/**
 * Secrets at rest: AES-256-GCM under the installation's key.
 *
 * Sealed text: `<key id>.<base64url of nonce (12 bytes), ciphertext, tag (16 bytes)>`.
 * Key: an operator's text is stretched with scrypt; without one, 32 random bytes in a file (0600, base64url, one line).
 * From either HKDF-SHA-256 makes one key to seal with and, under another label, the public fingerprint, whose first
 * 8 digits are the key id. A change of the format gets a new label, and so another id.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, scryptSync } from 'node:crypto'
import { link, mkdir, open, readFile, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'

const keyBytes = 32
const nonceBytes = 12
const tagBytes = 16
const keyIdDigits = 8
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
  readonly #sealingKey: Buffer

  constructor(master: Buffer) {
    this.#sealingKey = derive(master, 'entrepot seal 1', keyBytes)
    this.fingerprint = derive(master, 'entrepot fingerprint 1', 16).toString('hex')
  }

  /** Seal text so that only this key opens it, and only for the same `context` (its table, row and column). */
  seal(plaintext: string, context: string): string {
    const nonce = randomBytes(nonceBytes)
    const cipher = createCipheriv('aes-256-gcm', this.#sealingKey, nonce).setAAD(Buffer.from(context))
    const ciphertext = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
    return `${this.#keyId}.${Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]).toString('base64url')}`
  }

  /** The text that was sealed. Errors: SecretBoxError for another key, another context or damage. */
  open(sealed: string, context: string): string {
    const [keyId, encoded, ...rest] = sealed.split('.')
    if (keyId === undefined || encoded === undefined || rest.length > 0) throw new SecretBoxError('no sealed secret')
    if (keyId !== this.#keyId) {
      throw new SecretBoxError(
        `cannot open a secret: it was sealed with key ${keyId.slice(0, keyIdDigits)}, this is key ${this.#keyId}; ` +
          'give the DATABASE_SECRET_KEY or secret.key that it was sealed with',
      )
    }
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

  get #keyId(): string {
    return this.fingerprint.slice(0, keyIdDigits)
  }
}

/**
 * The box under `secretKey`, or else under the key in `keyFile`, which is made when it is absent; of several that start
 * at once one makes it and all use it. Errors: SecretBoxError when the file is damaged or open to everyone.
 */
export async function openSecretBox(options: { secretKey: string | undefined; keyFile: string }): Promise<SecretBox> {
  if (options.secretKey !== undefined) {
    return new SecretBox(scryptSync(options.secretKey.normalize('NFC'), stretchSalt, keyBytes, STRETCH))
  }
  return new SecretBox((await readKeyFile(options.keyFile)) ?? (await createKeyFile(options.keyFile)))
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
