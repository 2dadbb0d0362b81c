/** Bytes that look random and are the same in every run: `seed` names them. */
import { createCipheriv, createHash } from 'node:crypto'

export function pseudoRandomBytes(seed: string, length: number): Buffer {
  const key = createHash('sha256').update(seed).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}
