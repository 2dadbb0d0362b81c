/** Ranges of a blob. Source: RFC 9110, 14.1.2 and 14.2. */
import type { RequestedRange } from '../oci/registry.ts'

/** Both ends are included. */
export type SatisfiedRange = { start: number; end: number }

/** What of a blob of `sizeBytes` was asked for; undefined when none of it is there. */
export function satisfyRange(range: RequestedRange, sizeBytes: number): SatisfiedRange | undefined {
  const last = sizeBytes - 1
  if ('suffixLength' in range) {
    if (range.suffixLength === 0 || sizeBytes === 0) return undefined
    return { start: Math.max(0, sizeBytes - range.suffixLength), end: last }
  }
  if (range.start > last) return undefined
  return { start: range.start, end: Math.min(range.end ?? last, last) }
}
