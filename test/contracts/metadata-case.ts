/** What the cases of the metadata contract begin with. */
import { randomBytes } from 'node:crypto'
import { storeManifest } from '../../src/metadata/manifests.ts'
import type { Db, Metadata } from '../../src/metadata/open.ts'
import { createOrganization, type Organization } from '../../src/metadata/organizations.ts'
import { ensureRepository, type Repository } from '../../src/metadata/repositories.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { isNotAManifest, type ParsedManifest, parseManifest } from '../../src/oci/manifest.ts'
import { OCI_INDEX, OCI_MANIFEST } from '../../src/oci/media-type.ts'
import type { Manifest } from '../../src/oci/registry.ts'

export type MetadataCase = { title: string; check(metadata: Metadata): Promise<void> }

/** When everything happens, unless a case says otherwise. */
export const NOW_MS = 1_800_000_000_000
export const DAY_S = 86_400

export function freshName(): string {
  return `name-${randomBytes(6).toString('hex')}`
}

/** The digest of a content that nobody else has. */
export function freshDigest(): Digest {
  return digestOf(randomBytes(16))
}

export function newOrganization(db: Db): Promise<Organization> {
  return createOrganization(db, { name: freshName(), nowMs: NOW_MS, tagExpirationSeconds: DAY_S })
}

export async function newRepository(metadata: Metadata, organization?: Organization): Promise<Repository> {
  const { id, generation } = organization ?? (await newOrganization(metadata.db))
  return metadata.transaction((tx) =>
    ensureRepository(tx, { organizationId: id, generation, name: `library/${freshName()}`, nowMs: NOW_MS }),
  )
}

export type TestManifest = { manifest: Manifest; parsed: ParsedManifest; digest: Digest }

/** Several, at once. */
export function tenTimes<Result>(work: (turn: number) => Promise<Result>): Promise<Result[]> {
  return Promise.all(Array.from({ length: 10 }, (_, turn) => work(turn)))
}

export function makeManifest(document: object, mediaType: string = OCI_MANIFEST): TestManifest {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...document }))
  const parsed = parseManifest(bytes, mediaType)
  if (isNotAManifest(parsed)) throw new Error(parsed.message)
  const digest = digestOf(bytes)
  return { manifest: { descriptor: { mediaType, digest, size: bytes.byteLength }, bytes }, parsed, digest }
}

/** An image of a config and these layers; the config is its own. */
export function makeImage(layers: readonly object[], more: object = {}): TestManifest & { config: Digest } {
  const config = freshDigest()
  const image = makeManifest({
    config: { mediaType: 'application/x-config', digest: config, size: 7 },
    layers,
    ...more,
  })
  return { ...image, config }
}

export function makeLayer(digest: Digest, size = 1000): object {
  return { mediaType: 'application/x-layer', digest, size }
}

export function makeIndex(children: readonly Digest[]): TestManifest {
  const manifests = children.map((digest) => ({
    mediaType: OCI_MANIFEST,
    digest,
    size: 5,
    platform: { os: 'linux', architecture: 'arm', variant: 'v7' },
  }))
  return makeManifest({ manifests, annotations: { unique: freshName() } }, OCI_INDEX)
}

export function store(
  metadata: Metadata,
  repository: Repository,
  made: TestManifest,
  options: { nowMs?: number; isByDigest?: boolean; expiresAtMs?: number } = {},
): Promise<{ id: number; depth: number }> {
  return metadata.transaction((tx) =>
    storeManifest(tx, {
      repositoryId: repository.id,
      manifest: made.manifest,
      parsed: made.parsed,
      nowMs: options.nowMs ?? NOW_MS,
      isByDigest: options.isByDigest ?? false,
      expiresAtMs: options.expiresAtMs,
    }),
  )
}
