/**
 * Where the file store keeps what, below its own folder (`<data>/blobs`). Version 1:
 *
 * ```text
 * blobs/
 * ├── VERSION                      the number of this layout and a line break; another number refuses to open
 * ├── CACHEDIR.TAG                 tells backup programs that all of this can be fetched again (bford.info/cachedir)
 * ├── ingest/
 * │   └── <leaseId>-<32 hex>       a blob being received; swept once the lease of its owner has ended
 * ├── sha256/
 * │   └── ab/
 * │       └── abcd…                64 hex digits: the bytes of sha256:abcd…, complete, verified and fsynced
 * └── sha512/
 *     └── ab/
 *         └── abcd…                128 hex digits: the same for sha512
 * ```
 *
 * Files are 0600, folders 0700. A published file never changes; it is only replaced whole, or removed.
 */
import { join } from 'node:path'
import { type Digest, type DigestAlgorithm, digestAlgorithm, digestHex, parseDigest } from '../oci/digest.ts'

export const LAYOUT_VERSION = 1
export const VERSION_FILE = 'VERSION'
export const CACHE_TAG_FILE = 'CACHEDIR.TAG'
export const INGEST_FOLDER = 'ingest'
export const ALGORITHM_FOLDERS: readonly DigestAlgorithm[] = ['sha256', 'sha512']

export const CACHE_TAG = `Signature: 8a477f597d28d172789f06886806bc55
# What a registry cache has stored. It can all be fetched again from the upstream registries.
# For information about cache directory tags see https://bford.info/cachedir/
`

/** A lease's id as it may stand in a file name. */
const LEASE_ID = /^[A-Za-z0-9_-]{1,64}$/
const DRAFT = /^([A-Za-z0-9_-]{1,64})-[0-9a-f]{32}$/
const SHARD = /^[0-9a-f]{2}$/

export function isLeaseId(text: string): boolean {
  return LEASE_ID.test(text)
}

/** The folder of a blob's file: its algorithm and the first two digits. */
export function blobFolder(folder: string, digest: Digest): string {
  return join(folder, digestAlgorithm(digest), digestHex(digest).slice(0, 2))
}

export function blobPath(folder: string, digest: Digest): string {
  return join(blobFolder(folder, digest), digestHex(digest))
}

/** The digest that a file's place says; undefined when it is not a place of this layout. */
export function parseBlobPath(algorithm: DigestAlgorithm, shard: string, name: string): Digest | undefined {
  if (!SHARD.test(shard) || !name.startsWith(shard)) return undefined
  return parseDigest(`${algorithm}:${name}`)
}

export function draftPath(folder: string, leaseId: string, randomHex: string): string {
  return join(folder, INGEST_FOLDER, `${leaseId}-${randomHex}`)
}

/** The lease in a draft's name; undefined when it is not the name of a draft. */
export function parseDraftName(name: string): string | undefined {
  return DRAFT.exec(name)?.[1]
}
