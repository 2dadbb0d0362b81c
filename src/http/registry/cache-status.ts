/** How an answer came about, as headers: `Cache-Status` (RFC 9211) and `Age` (RFC 9111, 5.1). */
import type { Outcome, Provenance } from '../../registry/served.ts'

/** A hit is the cache's own answer; `fwd` says why the upstream was asked; `detail` is our word for the outcome. */
const STATUS: Readonly<Record<Outcome, string>> = {
  hit: 'entrepot; hit',
  revalidated: 'entrepot; fwd=stale; detail=revalidated',
  stale: 'entrepot; fwd=stale; detail=stale',
  miss: 'entrepot; fwd=miss; detail=miss',
}

export function formatCacheStatus(provenance: Provenance): string {
  const { outcome, staleReason } = provenance
  if (outcome !== 'stale' || staleReason === undefined) return STATUS[outcome]
  // An upstream that is known to be down was not asked: nothing was forwarded.
  return `entrepot; ${staleReason === 'down' ? 'hit' : 'fwd=stale'}; detail="stale: ${staleReason}"`
}

/** Whole seconds since the upstream last said so. */
export function formatAge(provenance: Provenance, nowMs: number): string {
  return String(Math.max(0, Math.floor((nowMs - provenance.confirmedAtMs) / 1000)))
}

/** DESIGN part 4: what needed credentials is private; what a digest names never changes; a tag is asked for again. */
export function chooseCacheControl(isAnonymous: boolean, isByDigest: boolean): string {
  if (!isAnonymous) return 'private'
  return isByDigest ? 'public, max-age=31536000, immutable' : 'no-cache'
}
