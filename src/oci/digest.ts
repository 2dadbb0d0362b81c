/** Digests: `algorithm:hex`, of the algorithms that the OCI image-spec registers. */
import { createHash, type Hash } from 'node:crypto'

declare const brand: unique symbol
/** Checked text such as `sha256:…`; it exists only if `parseDigest` accepted it, so nobody checks again. */
export type Digest = string & { readonly [brand]: 'Digest' }
export type DigestAlgorithm = 'sha256' | 'sha512'

const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/

/** Text to digest; undefined when it is not one. */
export function parseDigest(text: string): Digest | undefined {
  return DIGEST.test(text) ? (text as Digest) : undefined
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha256:') ? 'sha256' : 'sha512'
}

/** The part after the colon. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1)
}

/** A running hash for content that must turn out to be `digest`. */
export function createDigestHash(digest: Digest): Hash {
  return createHash(digestAlgorithm(digest))
}

/** The digest of `bytes`. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest
}
