/** What there is to pull in one run: a few small images that share layers, and indexes of some of them. */
import { createHash } from 'node:crypto'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { OCI_INDEX, OCI_MANIFEST } from '../../../src/oci/media-type.ts'
import type { Manifest } from '../../../src/oci/registry.ts'

export type ModelImage = {
  /** Short, for failures. */
  name: string
  manifest: Manifest
  digest: Digest
  /** The config first. */
  blobs: readonly { digest: Digest; size: number }[]
  children: readonly ModelImage[]
}

export type Content = {
  images: readonly ModelImage[]
  byDigest: ReadonlyMap<Digest, ModelImage>
  blobs: ReadonlyMap<Digest, Buffer>
}

/** Layers of 1 to 4 KiB; which image has which. */
const LAYER_BYTES = [1024, 2048, 3072, 4096, 1536, 2560, 3584]
const IMAGE_LAYERS = [[0], [0, 1], [1, 2], [2, 3], [4], [4, 5, 0], [6], [3, 6]]
/** Of the images above; the last index holds an index. */
const INDEX_CHILDREN = [
  [0, 1],
  [2, 3, 4],
  [4, 8],
]

/** Contents of different labels share nothing. */
export function makeContent(label: string): Content {
  const blobs = new Map<Digest, Buffer>()
  const layers = LAYER_BYTES.map((size, index) => addBlob(blobs, `${label} layer ${index}`, size))
  const images: ModelImage[] = IMAGE_LAYERS.map((own, index) => {
    const config = addBlob(blobs, `${label} config ${index}`, 200 + index)
    const named = [config, ...own.flatMap((layer) => layers[layer] ?? [])]
    const document = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
      layers: named.slice(1).map((layer) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer })),
    }
    return makeImage(`image${index}`, OCI_MANIFEST, document, named, [])
  })
  for (const own of INDEX_CHILDREN) {
    const children = own.flatMap((child) => images[child] ?? [])
    const manifests = children.map((child, index) => ({
      ...child.manifest.descriptor,
      platform: { os: 'linux', architecture: `cpu${index}` },
    }))
    const document = { schemaVersion: 2, mediaType: OCI_INDEX, manifests, annotations: { label } }
    images.push(makeImage(`index${images.length}`, OCI_INDEX, document, [], children))
  }
  return { images, blobs, byDigest: new Map(images.map((image) => [image.digest, image])) }
}

function addBlob(blobs: Map<Digest, Buffer>, seed: string, size: number): { digest: Digest; size: number } {
  const block = createHash('sha256').update(seed).digest()
  const bytes = Buffer.alloc(size, block)
  const digest = digestOf(bytes)
  blobs.set(digest, bytes)
  return { digest, size }
}

function makeImage(
  name: string,
  mediaType: string,
  document: unknown,
  blobs: ModelImage['blobs'],
  children: readonly ModelImage[],
): ModelImage {
  const bytes = Buffer.from(JSON.stringify(document))
  const digest = digestOf(bytes)
  const manifest = { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes }
  return { name, manifest, digest, blobs, children }
}

/** It and all that it holds. */
export function reachable(image: ModelImage): ModelImage[] {
  return [...new Set([image, ...image.children.flatMap(reachable)])]
}
