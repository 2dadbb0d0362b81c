/** Tags and images as the API tells of them. Fields: Quay's, then ours (from `last_pulled` on). */
import type { ImageFacts, TagSpan, UntaggedImage } from '../metadata/tag-history.ts'

export type TagView = {
  name: string
  reversion: boolean
  start_ts: number
  /** Also when it is still to come (Quay). */
  end_ts?: number
  manifest_digest: string
  is_manifest_list: boolean
  /** Null for an index, and when the manifest is not held any more. */
  size: number | null
  last_modified: string
  expiration?: string
  is_sparse?: boolean
  child_manifest_count?: number
  present_child_count?: number
  child_manifests_presence?: Record<string, boolean>
  last_pulled: string
  is_incomplete: boolean
  is_pinned: boolean
  /** Its image was evicted: a record, which cannot be restored. */
  evicted: boolean
  /** Until when it can be restored; absent while it is alive, and when it cannot. */
  kept_until?: string
}

export type ImageView = Omit<TagView, 'name' | 'reversion' | 'evicted'>

export function viewTag(span: TagSpan, windowMs: number): TagView {
  const { image, endsAtMs } = span
  const canBeRestored = !span.isAlive && !span.isEvicted && image !== undefined && endsAtMs !== undefined
  return {
    name: span.name,
    reversion: span.isRestored,
    ...viewTimes(span.startedAtMs, endsAtMs),
    manifest_digest: span.digest,
    ...viewImageFacts(image),
    last_pulled: formatDate(span.lastUsedAtMs),
    is_incomplete: image?.isIncomplete ?? true,
    is_pinned: span.isPinned,
    evicted: span.isEvicted,
    ...(canBeRestored && { kept_until: formatDate(endsAtMs + windowMs) }),
  }
}

export function viewUntaggedImage(untagged: UntaggedImage, windowMs: number, nowMs: number): ImageView {
  const { image, expiresAtMs } = untagged
  const isKept = expiresAtMs !== undefined && expiresAtMs <= nowMs
  return {
    ...viewTimes(untagged.createdAtMs, expiresAtMs),
    manifest_digest: untagged.digest,
    ...viewImageFacts(image),
    last_pulled: formatDate(image.lastUsedAtMs),
    is_incomplete: image.isIncomplete,
    is_pinned: untagged.isPinned,
    ...(isKept && { kept_until: formatDate(expiresAtMs + windowMs) }),
  }
}

/** RFC 2822 with the zone as Quay writes it: `Tue, 24 Nov 2026 19:00:31 -0000`. */
export function formatDate(atMs: number): string {
  return new Date(atMs).toUTCString().replace(/GMT$/, '-0000')
}

function viewTimes(startedAtMs: number, endsAtMs: number | undefined) {
  return {
    start_ts: Math.floor(startedAtMs / 1000),
    ...(endsAtMs !== undefined && { end_ts: Math.floor(endsAtMs / 1000) }),
    last_modified: formatDate(startedAtMs),
    ...(endsAtMs !== undefined && { expiration: formatDate(endsAtMs) }),
  }
}

function viewImageFacts(image: ImageFacts | undefined) {
  const { isIndex = false, sizeBytes, childCount = 0, presentChildCount = 0, children = [] } = image ?? {}
  return {
    is_manifest_list: isIndex,
    size: sizeBytes ?? null,
    ...(isIndex && {
      is_sparse: presentChildCount < childCount,
      child_manifest_count: childCount,
      present_child_count: presentChildCount,
      child_manifests_presence: Object.fromEntries(children.map(({ digest, isPresent }) => [digest, isPresent])),
    }),
  }
}
