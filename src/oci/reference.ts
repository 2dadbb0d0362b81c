/** References: what the last part of a manifest's URL may be. */
import { type Digest, parseDigest } from './digest.ts'

declare const brand: unique symbol
export type Tag = string & { readonly [brand]: 'Tag' }
export type Reference = { kind: 'digest'; digest: Digest } | { kind: 'tag'; tag: Tag }

/** distribution-spec, "Pulling manifests". */
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/

export function parseTag(text: string): Tag | undefined {
  return TAG.test(text) ? (text as Tag) : undefined
}

/** Text to tag or digest; undefined when it is neither. */
export function parseReference(text: string): Reference | undefined {
  const digest = parseDigest(text)
  if (digest !== undefined) return { kind: 'digest', digest }
  const tag = parseTag(text)
  return tag === undefined ? undefined : { kind: 'tag', tag }
}

export function formatReference(reference: Reference): string {
  return reference.kind === 'digest' ? reference.digest : reference.tag
}
