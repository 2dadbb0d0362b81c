/** What the headers of a read ask for besides the thing itself. Source: RFC 9110, 13 (conditions) and 14 (ranges). */
import type { Digest } from '../../oci/digest.ts'
import type { RequestedRange } from '../../oci/registry.ts'

/** The strong validator of content that its digest names. */
export function formatEtag(digest: Digest): string {
  return `"${digest}"`
}

/** Whether `If-None-Match` names what would be sent; weak comparison, as RFC 9110, 13.1.2 wants. */
export function matchesEtag(ifNoneMatch: string | undefined, digest: Digest): boolean {
  if (ifNoneMatch === undefined) return false
  return ifNoneMatch.split(',').some((entry) => {
    const tag = entry.trim()
    return tag === '*' || tag.replace(/^W\//, '') === formatEtag(digest)
  })
}

const RANGE = /^bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))$/i

/**
 * `Range` to the one range it asks for. Undefined, so that all is sent: several ranges, another unit, anything
 * malformed,
 * or an `If-Range` that is not this digest (RFC 9110, 13.1.5: a date cannot be compared, since there is none).
 */
export function parseRange(
  range: string | undefined,
  ifRange: string | undefined,
  digest: Digest,
): RequestedRange | undefined {
  if (range === undefined || (ifRange !== undefined && ifRange.trim() !== formatEtag(digest))) return undefined
  const match = RANGE.exec(range.trim())
  if (match === null) return undefined
  const [, first, last, suffix] = match
  if (suffix !== undefined) return { suffixLength: toPosition(suffix) }
  const start = toPosition(first ?? '0')
  if (last === undefined || last === '') return { start }
  const end = toPosition(last)
  return end < start ? undefined : { start, end }
}

/** No blob is as large as this, so what is cut off changes nothing. */
function toPosition(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER)
}

/**
 * Whether a client that asked by tag takes this media type: it lists none, lists it, everything, or its `type/*`.
 * Parameters are not compared, and `q=0` is not known to any registry client.
 */
export function acceptsMediaType(accept: string | undefined, mediaType: string): boolean {
  if (accept === undefined || accept === '' || accept.includes('*/*')) return true
  const wanted = mediaType.toLowerCase()
  const family = `${wanted.split('/', 1)[0]}/*`
  const entries = accept
    .split(',')
    .map((entry) => (entry.split(';', 1)[0] ?? '').trim().toLowerCase())
    .filter((entry) => entry !== '')
  return entries.length === 0 || entries.includes(wanted) || entries.includes(family)
}
