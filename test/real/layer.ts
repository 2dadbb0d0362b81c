/** Layers of real images: a tar archive as it is stored, and the digest of what it unpacks to. */
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { type FakeBlob, MEDIA_TYPES, sha256 } from '../fakes/content.ts'

export type Compression = 'none' | 'gzip' | 'zstd'

/** `diffId`: the digest of the tar archive itself, which the config names. */
export type Layer = FakeBlob & { diffId: string; compression: Compression }

export function makeLayer(tar: Buffer, compression: Compression = 'gzip'): Layer {
  const bytes = compress(tar, compression)
  return { bytes, digest: sha256(bytes), diffId: sha256(tar), compression }
}

export function layerMediaType(compression: Compression, isDocker: boolean): string {
  if (isDocker) return MEDIA_TYPES.dockerLayer
  const suffix = compression === 'none' ? '' : `+${compression}`
  return `application/vnd.oci.image.layer.v1.tar${suffix}`
}

function compress(tar: Buffer, compression: Compression): Buffer {
  switch (compression) {
    case 'none':
      return tar
    case 'gzip':
      return gzipSync(tar, { level: 1 })
    case 'zstd':
      return zstdCompressSync(tar)
    default:
      throw new Error(`unhandled compression: ${compression satisfies never}`)
  }
}
