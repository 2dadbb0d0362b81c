/** Manifest bytes to what they name. Bytes are never rewritten: this only reads them. */

import { MiB } from '../base/units.ts'
import type { Descriptor, Platform } from './descriptor.ts'
import { type Digest, parseDigest } from './digest.ts'
import { bareMediaType, isSchema1, OCI_INDEX, OCI_MANIFEST } from './media-type.ts'

export const MANIFEST_LIMITS = {
  /** distribution-spec, "Pushing Manifests": expect to support at least 4 megabytes. */
  bytesMax: 4 * MiB,
  /** DESIGN part 4: what one manifest may name. */
  descriptorsMax: 10_000,
  /** DESIGN part 4: indexes inside indexes. */
  depthMax: 8,
} as const

export type ManifestChild = Descriptor & { platform: Platform | undefined }
export type ManifestBlob = Descriptor & { kind: 'config' | 'layer'; hasUrls: boolean }

export type ParsedManifest = {
  /** As the bytes say it, else as the content type did. */
  mediaType: string
  children: ManifestChild[]
  blobs: ManifestBlob[]
  subject: Digest | undefined
  artifactType: string | undefined
  annotations: Record<string, string> | undefined
}

/** Why bytes are not a manifest that we keep. `schema1` is told to the client; the rest is an upstream's mistake. */
export type NotAManifest = { problem: 'schema1' | 'invalid'; message: string }

/**
 * Parse the bytes of a manifest or index of any media type.
 *
 * Shape:  an index has children, an image or artifact has blobs; a document may have neither.
 * Errors: returned, not thrown, as `NotAManifest`.
 * Source: OCI image-spec manifest.md and image-index.md; Docker image manifest v2 schema 2.
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): ParsedManifest | NotAManifest {
  if (bytes.byteLength > MANIFEST_LIMITS.bytesMax) return invalid(`more than ${MANIFEST_LIMITS.bytesMax} bytes`)
  const document = parseJsonObject(bytes)
  if (document === undefined) return invalid('not a JSON object')
  const mediaType = chooseMediaType(document, contentType)
  if (isSchema1(mediaType) || document['schemaVersion'] === 1) {
    return {
      problem: 'schema1',
      message: 'Docker schema 1 manifests are not cached; push the image again with a current client',
    }
  }
  const looksLikeOne = ['manifests', 'layers', 'config', 'blobs'].some((field) => field in document)
  if (document['schemaVersion'] !== 2 && !looksLikeOne) return invalid('no schemaVersion, config, layers or manifests')

  const children = parseDescriptors(document['manifests'], parseChild)
  const layers = parseDescriptors(document['layers'] ?? document['blobs'], (entry) => parseBlob(entry, 'layer'))
  const configs =
    document['config'] === undefined
      ? []
      : parseDescriptors([document['config']], (entry) => parseBlob(entry, 'config'))
  if (children === undefined || layers === undefined || configs === undefined) return invalid('a malformed descriptor')
  if (children.length + layers.length + configs.length > MANIFEST_LIMITS.descriptorsMax) {
    return invalid(`more than ${MANIFEST_LIMITS.descriptorsMax} descriptors`)
  }
  return {
    mediaType,
    children,
    blobs: [...configs, ...layers],
    subject: parseSubject(document['subject']),
    artifactType: parseArtifactType(document),
    annotations: parseAnnotations(document['annotations']),
  }
}

export function isNotAManifest(parsed: ParsedManifest | NotAManifest): parsed is NotAManifest {
  return 'problem' in parsed
}

type JsonObject = Record<string, unknown>

function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(message: string): NotAManifest {
  return { problem: 'invalid', message }
}

function parseJsonObject(bytes: Uint8Array): JsonObject | undefined {
  try {
    const document: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    return isJsonObject(document) ? document : undefined
  } catch {
    return undefined // Not UTF-8 or not JSON: the caller says so.
  }
}

/** The document's own word first: some upstreams answer `text/plain` or add a charset. */
function chooseMediaType(document: JsonObject, contentType: string | undefined): string {
  const own = document['mediaType']
  if (typeof own === 'string' && own !== '' && own.length <= 255 && /^[\x21-\x7e]+$/.test(own)) return own
  const sent = bareMediaType(contentType ?? '')
  const isGeneric =
    sent === '' || sent === 'application/json' || sent === 'text/plain' || sent === 'application/octet-stream'
  if (!isGeneric) return sent
  return 'manifests' in document ? OCI_INDEX : OCI_MANIFEST
}

function parseDescriptors<Entry>(list: unknown, parse: (entry: JsonObject) => Entry | undefined): Entry[] | undefined {
  if (list === undefined || list === null) return []
  if (!Array.isArray(list) || list.length > MANIFEST_LIMITS.descriptorsMax) return undefined
  const entries: Entry[] = []
  for (const item of list) {
    const entry = isJsonObject(item) ? parse(item) : undefined
    if (entry === undefined) return undefined
    entries.push(entry)
  }
  return entries
}

function parseDescriptor(entry: JsonObject): Descriptor | undefined {
  const { mediaType, digest, size } = entry
  if (typeof digest !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    return undefined
  const parsed = parseDigest(digest)
  if (parsed === undefined) return undefined
  return { mediaType: typeof mediaType === 'string' ? mediaType.slice(0, 255) : '', digest: parsed, size }
}

function parseChild(entry: JsonObject): ManifestChild | undefined {
  const descriptor = parseDescriptor(entry)
  return descriptor && { ...descriptor, platform: parsePlatform(entry['platform']) }
}

function parseBlob(entry: JsonObject, kind: ManifestBlob['kind']): ManifestBlob | undefined {
  const descriptor = parseDescriptor(entry)
  const urls = entry['urls']
  return descriptor && { ...descriptor, kind, hasUrls: Array.isArray(urls) && urls.length > 0 }
}

function parsePlatform(value: unknown): Platform | undefined {
  if (!isJsonObject(value)) return undefined
  const { os, architecture, variant } = value
  if (typeof os !== 'string' || typeof architecture !== 'string') return undefined
  return typeof variant === 'string' ? { os, architecture, variant } : { os, architecture }
}

function parseSubject(value: unknown): Digest | undefined {
  const digest = isJsonObject(value) ? value['digest'] : undefined
  return typeof digest === 'string' ? parseDigest(digest) : undefined
}

/** image-spec: an artifact's type is its `artifactType`, else the media type of its config. */
function parseArtifactType(document: JsonObject): string | undefined {
  const own = document['artifactType']
  if (typeof own === 'string' && own !== '') return own.slice(0, 255)
  const config = document['config']
  const configType = isJsonObject(config) ? config['mediaType'] : undefined
  return typeof configType === 'string' ? configType.slice(0, 255) : undefined
}

function parseAnnotations(value: unknown): Record<string, string> | undefined {
  if (!isJsonObject(value)) return undefined
  const entries = Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
  return Object.fromEntries(entries)
}
