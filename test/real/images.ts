/** Images of every kind that a registry meets, made on the spot, and all that was pushed of each. */
import { readFile } from 'node:fs/promises'
import {
  artifact,
  blobsOf,
  descriptor,
  type FakeBlob,
  type FakeManifest,
  index,
  MEDIA_TYPES,
  manifest,
  sha256,
} from '../fakes/content.ts'
import { pseudoRandomBytes } from '../fakes/pseudo-random.ts'
import { getProgram } from './debian-packages.ts'
import { debianLayers } from './debian-root.ts'
import { type Layer, layerMediaType, makeLayer } from './layer.ts'
import type { RegistryWriter } from './registry-writer.ts'
import { makeTar } from './tar.ts'

export const IMAGE_KINDS = [
  /** A Debian root file system in three layers, the last of them whiteouts. */
  'single',
  /** busybox for four platforms. */
  'index',
  /** The same as a Docker manifest list of schema 2 manifests. */
  'dockerList',
  /** An index whose first entry is an index. */
  'nestedIndex',
  'sixtyLayers',
  /** One layer of 64 MiB that no compression makes smaller. */
  'big',
  /** An image that two artifacts refer to. */
  'referrers',
  'zstd',
  /** No layers at all. */
  'empty',
] as const
export type ImageKind = (typeof IMAGE_KINDS)[number]

export type PushedImage = {
  kind: ImageKind
  repository: string
  tag: string
  /** What the tag names. */
  top: FakeManifest
  /** The image for this machine's platform: `top` itself unless that is an index. */
  own: FakeManifest
  /** Of the layers of `own`, unpacked. */
  diffIds: readonly string[]
  /** What has `top` as its subject. */
  referrers: readonly FakeManifest[]
  /** Every manifest, config and layer that was pushed. */
  digests: readonly string[]
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }
const PLATFORMS = ['amd64', 'arm64', 'arm', 's390x'] // In the order in which `index` names them.
const BIG_LAYER_BYTES = 64 * 1024 * 1024

type Made = { top: FakeManifest; own?: FakeManifest; layers: readonly Layer[]; referrers?: readonly FakeManifest[] }

/** Make one image; the same bytes in every run, except that Debian's packages go with the time. */
async function makeImage(kind: ImageKind): Promise<Made> {
  switch (kind) {
    case 'single':
      return single(await debianLayers())
    case 'index':
    case 'dockerList': {
      const isDocker = kind === 'dockerList'
      const layers = [await busyboxLayer()]
      const children = PLATFORMS.map((architecture) => image(layers, { architecture, isDocker }))
      return { top: index(children, { docker: isDocker }), own: ownOf(children), layers }
    }
    case 'nestedIndex': {
      const layers = [await busyboxLayer(), fileLayer('nested', 1000)]
      const children = PLATFORMS.map((architecture) => image(layers, { architecture }))
      return { top: index([index(children), image(layers, { architecture: 'riscv64' })]), own: ownOf(children), layers }
    }
    case 'sixtyLayers':
      return single(Array.from({ length: 60 }, (_, position) => fileLayer(`layer ${position}`, 2000)))
    case 'big':
      return single([fileLayer('big', BIG_LAYER_BYTES, 'none')])
    case 'referrers': {
      const made = single([fileLayer('signed', 1000)])
      const artifactTypes = ['application/vnd.example.signature', 'application/vnd.example.sbom']
      const referrers = artifactTypes.map((artifactType) =>
        artifact({ subject: made.top, artifactType, seed: artifactType }),
      )
      return { ...made, referrers }
    }
    case 'zstd':
      return single([makeLayer(makeTar([{ path: 'text', bytes: Buffer.from('zstd '.repeat(10_000)) }]), 'zstd')])
    case 'empty':
      return single([])
    default:
      throw new Error(`unhandled kind: ${kind satisfies never}`)
  }
}

function single(layers: readonly Layer[]): Made {
  return { top: image(layers, { architecture: ownArchitecture() }), layers }
}

function image(layers: readonly Layer[], options: { architecture: string; isDocker?: boolean }): FakeManifest {
  const { architecture, isDocker = false } = options
  const document = {
    architecture,
    os: 'linux',
    config: { Cmd: ['/bin/sh'] },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'made for a test' })),
  }
  const bytes = Buffer.from(JSON.stringify(document))
  const config: FakeBlob = { bytes, digest: sha256(bytes) }
  const mediaType = isDocker ? MEDIA_TYPES.dockerManifest : MEDIA_TYPES.ociManifest
  const fields = {
    schemaVersion: 2,
    mediaType,
    config: descriptor(isDocker ? MEDIA_TYPES.dockerConfig : MEDIA_TYPES.ociConfig, config),
    layers: layers.map((layer) => descriptor(layerMediaType(layer.compression, isDocker), layer)),
  }
  return manifest(mediaType, fields, { config, layers })
}

function ownArchitecture(): string {
  const architecture = ARCHITECTURES[process.arch]
  if (architecture === undefined) throw new Error(`no image for ${process.arch}`)
  return architecture
}

function ownOf(children: readonly FakeManifest[]): FakeManifest {
  const own = children[PLATFORMS.indexOf(ownArchitecture())]
  if (own === undefined) throw new Error('the index has no image for this machine')
  return own
}

async function busyboxLayer(): Promise<Layer> {
  const bytes = await readFile(getProgram('busybox'))
  return makeLayer(
    makeTar([
      { path: 'bin/' },
      { path: 'bin/busybox', bytes, mode: 0o755 },
      { path: 'bin/sh', linkTo: 'busybox' },
      { path: 'tmp/', mode: 0o1777 },
    ]),
  )
}

function fileLayer(name: string, bytes: number, compression: Layer['compression'] = 'gzip'): Layer {
  const path = `files/${name.replaceAll(' ', '-')}`
  return makeLayer(makeTar([{ path: 'files/' }, { path, bytes: pseudoRandomBytes(name, bytes) }]), compression)
}

/** Push images of these kinds to `test/<kind in lower case>:1`. */
export async function pushImages(
  writer: RegistryWriter,
  kinds: readonly ImageKind[] = IMAGE_KINDS,
): Promise<Map<ImageKind, PushedImage>> {
  const pushed = new Map<ImageKind, PushedImage>()
  for (const kind of kinds) {
    const { top, own = top, layers, referrers = [] } = await makeImage(kind)
    const repository = `test/${kind.toLowerCase()}`
    const digests = new Set(await push(writer, repository, top, ['1']))
    for (const referrer of referrers) for (const digest of await push(writer, repository, referrer)) digests.add(digest)
    if (referrers.length > 0) await writer.putManifest(repository, ...referrersTag(top, referrers))
    pushed.set(kind, {
      kind,
      repository,
      tag: '1',
      top,
      own,
      diffIds: layers.map((layer) => layer.diffId),
      referrers,
      digests: [...digests],
    })
  }
  return pushed
}

/**
 * Push an image of a small base that all such images share and one layer that no compression makes smaller, so that
 * it takes as much space as it says.
 */
export async function pushSizedImage(
  writer: RegistryWriter,
  target: { repository: string; tag: string; layerBytes: number },
): Promise<PushedImage> {
  const { repository, tag, layerBytes } = target
  const layers = [await busyboxLayer(), fileLayer(`${repository} ${tag}`.replaceAll('/', ' '), layerBytes, 'none')]
  const { top } = single(layers)
  const digests = await push(writer, repository, top, [tag])
  const diffIds = layers.map((layer) => layer.diffId)
  return { kind: 'big', repository, tag, top, own: top, diffIds, referrers: [], digests }
}

/** Children and blobs before what names them. Resolves to every digest. */
async function push(
  writer: RegistryWriter,
  repository: string,
  content: FakeManifest,
  tags: readonly string[] = [],
): Promise<string[]> {
  const digests = [content.digest]
  for (const child of content.children) digests.push(...(await push(writer, repository, child)))
  for (const blob of blobsOf(content)) digests.push(await writer.putBlob(repository, new Uint8Array(blob.bytes)))
  await writer.putManifest(repository, content, tags)
  return digests
}

/** Where a registry without the referrers API has them (distribution-spec, "Referrers Tag Schema"). */
function referrersTag(subject: FakeManifest, referrers: readonly FakeManifest[]): [FakeManifest, string[]] {
  const manifests = referrers.map((referrer) => ({
    ...descriptor(referrer.mediaType, referrer),
    artifactType: referrer.artifactType,
  }))
  const content = manifest(MEDIA_TYPES.ociIndex, { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests })
  return [content, [subject.digest.replace(':', '-')]]
}
