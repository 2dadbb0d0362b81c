/** The hot path of a blob hit: one reused buffer a stream, one read and one write at a time. */

import { KiB } from '../base/units.ts'
import type { BlobReader } from '../blobs/blob-store.ts'
import { createDigestHash, type Digest, digestHex } from '../oci/digest.ts'
import { INGEST_LIMITS } from './ingest-limits.ts'
import type { BlobSink } from './served.ts'

/** Measured: of 64 KiB to 1 MiB, 512 KiB cost the least CPU a byte. */
export const streamBufferBytes = 512 * KiB

/** Stored bytes that are not what was published. */
export class BlobDamagedError extends Error {
  override readonly name = 'BlobDamagedError'
}

/**
 * Send the bytes from `start`, `stop` excluded. Resolves to whether all were taken; false when the client has gone.
 * Errors: BlobDamagedError when the file cannot be read or is too short.
 */
export async function streamBlob(reader: BlobReader, start: number, stop: number, sink: BlobSink): Promise<boolean> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(streamBufferBytes, stop - start))
  for (let position = start; position < stop; ) {
    const wanted = Math.min(buffer.byteLength, stop - position)
    const block = await readSome(reader, wanted === buffer.byteLength ? buffer : buffer.subarray(0, wanted), position)
    if (!(await sink.write(block))) return false
    position += block.byteLength
  }
  return true
}

/**
 * The same for the whole blob, hashing on the way: the last min(size, 64 KiB) are sent only once the digest is
 * verified.
 * Errors: BlobDamagedError also when the bytes do not match `digest`.
 */
export async function streamBlobVerifying(reader: BlobReader, digest: Digest, sink: BlobSink): Promise<boolean> {
  const size = reader.sizeBytes
  const hash = createDigestHash(digest)
  const buffer = Buffer.allocUnsafeSlow(Math.min(streamBufferBytes, size))
  for (let position = 0; position < size; ) {
    const wanted = nextVerifiedRead(size - position, buffer.byteLength)
    const block = await readFully(reader, buffer.subarray(0, wanted), position)
    hash.update(block)
    position += wanted
    if (position === size && hash.digest('hex') !== digestHex(digest)) throw mismatch(digest)
    if (!(await sink.write(block))) return false
  }
  if (size === 0 && hash.digest('hex') !== digestHex(digest)) throw mismatch(digest)
  return true
}

/** How much to read next so that the last block holds all that must be held back, and fits the buffer. */
export function nextVerifiedRead(leftBytes: number, bufferBytes: number): number {
  if (leftBytes <= bufferBytes) return leftBytes
  const after = leftBytes - bufferBytes
  return after < INGEST_LIMITS.heldBackBytes ? bufferBytes - INGEST_LIMITS.heldBackBytes : bufferBytes
}

async function readSome(reader: BlobReader, buffer: Buffer, position: number): Promise<Buffer> {
  let bytes: number
  try {
    bytes = await reader.read(buffer, position)
  } catch (error) {
    throw new BlobDamagedError('cannot read a stored blob', { cause: error })
  }
  if (bytes === 0) throw new BlobDamagedError('a stored blob is shorter than it was')
  return bytes === buffer.byteLength ? buffer : buffer.subarray(0, bytes)
}

async function readFully(reader: BlobReader, buffer: Buffer, position: number): Promise<Buffer> {
  for (let filled = 0; filled < buffer.byteLength; ) {
    filled += (await readSome(reader, buffer.subarray(filled), position + filled)).byteLength
  }
  return buffer
}

function mismatch(digest: Digest): BlobDamagedError {
  return new BlobDamagedError(`the stored bytes of ${digest} do not match it`)
}
