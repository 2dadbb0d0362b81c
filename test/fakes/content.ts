/** Images, indexes and artifacts made on the spot from a few numbers; the same description gives the same digests. */
import { createHash } from 'node:crypto'
import { pseudoRandomBytes } from './pseudo-random.ts'

export const MEDIA_TYPES = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociEmpty: 'application/vnd.oci.empty.v1+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  schema1: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
} as const

export type FakeBlob = { digest: string; bytes: Buffer }

/** A manifest with everything that it names. `layers` are in order; `config` is absent from indexes. */
export type FakeManifest = {
  mediaType: string
  bytes: Buffer
  digest: string
  config: FakeBlob | undefined
  layers: readonly FakeBlob[]
  children: readonly FakeManifest[]
  subject: string | undefined
  artifactType: string | undefined
}

type FakeDescriptor = { mediaType: string; digest: string; size: number; [field: string]: unknown }

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export function sha512(bytes: Uint8Array): string {
  return `sha512:${createHash('sha512').update(bytes).digest('hex')}`
}

export function blob(seed: string, length: number): FakeBlob {
  const bytes = pseudoRandomBytes(seed, length)
  return { digest: sha256(bytes), bytes }
}

export type ImageDescription = {
  /** Number of layers, or their contents. Default 1. */
  layers?: number | readonly FakeBlob[]
  /** Default 1000. */
  layerBytes?: number
  /** Images with different seeds share nothing. Default `image`. */
  seed?: string
  docker?: boolean
  platform?: { os: string; architecture: string }
  /** Added to each layer's descriptor, such as `urls`. */
  layerFields?: (position: number) => Record<string, unknown>
  /** Added to the manifest. */
  fields?: Record<string, unknown>
}

export function image(description: ImageDescription = {}): FakeManifest {
  const { layers = 1, layerBytes = 1000, seed = 'image', docker = false } = description
  const platform = description.platform ?? { os: 'linux', architecture: 'amd64' }
  const contents =
    typeof layers === 'number'
      ? Array.from({ length: layers }, (_, position) => blob(`${seed} layer ${position}`, layerBytes))
      : layers
  const config = fromBytes(
    Buffer.from(
      JSON.stringify({ ...platform, seed, rootfs: { type: 'layers', diff_ids: contents.map((l) => l.digest) } }),
    ),
  )
  const types = docker
    ? { manifest: MEDIA_TYPES.dockerManifest, config: MEDIA_TYPES.dockerConfig, layer: MEDIA_TYPES.dockerLayer }
    : { manifest: MEDIA_TYPES.ociManifest, config: MEDIA_TYPES.ociConfig, layer: MEDIA_TYPES.ociLayer }
  const document = {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: descriptor(types.config, config),
    layers: contents.map((layer, position) => ({
      ...descriptor(types.layer, layer),
      ...description.layerFields?.(position),
    })),
    ...description.fields,
  }
  return manifest(types.manifest, document, { config, layers: contents })
}

export function index(
  children: readonly FakeManifest[],
  options: { docker?: boolean; fields?: Record<string, unknown> } = {},
): FakeManifest {
  const mediaType = options.docker ? MEDIA_TYPES.dockerList : MEDIA_TYPES.ociIndex
  const architectures = ['amd64', 'arm64', 'arm', 's390x', 'ppc64le']
  const document = {
    schemaVersion: 2,
    mediaType,
    manifests: children.map((child, position) => ({
      ...descriptor(child.mediaType, child),
      platform: { os: 'linux', architecture: architectures[position] ?? `cpu${position}` },
    })),
    ...options.fields,
  }
  return manifest(mediaType, document, { children })
}

/** An OCI artifact: an image manifest with an `artifactType`, an empty config, and perhaps a subject. */
export function artifact(
  options: { subject?: FakeManifest; artifactType?: string; seed?: string; annotations?: Record<string, string> } = {},
): FakeManifest {
  const { subject, artifactType = 'application/vnd.example.signature', seed = 'artifact', annotations } = options
  const config = fromBytes(Buffer.from('{}'))
  const layer = blob(`${seed} content`, 100)
  const document = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    artifactType,
    config: descriptor(MEDIA_TYPES.ociEmpty, config),
    layers: [descriptor('application/octet-stream', layer)],
    ...(subject && { subject: descriptor(subject.mediaType, subject) }),
    ...(annotations && { annotations }),
  }
  const made = manifest(MEDIA_TYPES.ociManifest, document, { config, layers: [layer] })
  return { ...made, subject: subject?.digest, artifactType }
}

/** Any bytes under any media type: what an upstream may send instead of a manifest. */
export function rawManifest(mediaType: string, bytes: Buffer, names: Partial<FakeManifest> = {}): FakeManifest {
  return {
    mediaType,
    bytes,
    digest: sha256(bytes),
    config: undefined,
    layers: [],
    children: [],
    subject: undefined,
    artifactType: undefined,
    ...names,
  }
}

export function manifest(mediaType: string, document: unknown, names: Partial<FakeManifest> = {}): FakeManifest {
  return rawManifest(mediaType, Buffer.from(JSON.stringify(document, null, 2)), names)
}

/** The config and the layers, in the order in which a client asks for them. */
export function blobsOf(content: FakeManifest): FakeBlob[] {
  return content.config === undefined ? [...content.layers] : [content.config, ...content.layers]
}

export function descriptor(mediaType: string, content: { digest: string; bytes: Buffer }): FakeDescriptor {
  return { mediaType, digest: content.digest, size: content.bytes.byteLength }
}

function fromBytes(bytes: Buffer): FakeBlob {
  return { digest: sha256(bytes), bytes }
}
