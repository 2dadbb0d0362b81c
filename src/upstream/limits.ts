/** Every bound that an upstream meets here. Tests override them. */
import { KiB, MINUTE_MS, MiB, SECOND_MS } from '../base/units.ts'
import { MANIFEST_LIMITS } from '../oci/manifest.ts'

export type UpstreamLimits = { readonly [Name in keyof typeof UPSTREAM_LIMITS]: number }

export const UPSTREAM_LIMITS = {
  /** Of one connection: TCP, and as long again for TLS. */
  connectMs: 5 * SECOND_MS,
  /** From the request to the answer's headers, for everything but blobs. */
  headersMs: 10 * SECOND_MS,
  /** The same for blobs: registries fetch them from a store of their own first. */
  blobHeadersMs: 30 * SECOND_MS,
  /** Between two pieces of a body. A blob has no total time (DESIGN part 4). */
  bodyIdleMs: 30 * SECOND_MS,
  /** For the whole body of a manifest, a list or a token. */
  documentMs: 30 * SECOND_MS,
  manifestBytesMax: MANIFEST_LIMITS.bytesMax,
  /** One page of tags, for registries that ignore `n`: 100,000 tags of about 100 bytes. */
  tagsPageBytesMax: 16 * MiB,
  tokenBytesMax: 256 * KiB,
  /** No server takes a longer header, and a thousand of them are kept. */
  tokenCharactersMax: 32 * KiB,
  /** Of an answer that nobody wants; more than this and its connection is not used again. */
  unwantedBytesMax: 64 * KiB,
  redirectsMax: 5,
  /** Polite to one upstream, which limits by address. */
  manifestRequestsMax: 16,
  blobRequestsMax: 16,
  /** Of each of the two, what background work may take. */
  backgroundRequestsMax: 4,
  /** Requests that wait for their turn at one upstream. */
  waitingRequestsMax: 10_000,
  tagsPerPage: 1000,
  pagesMax: 100,
  referrersMax: 10_000,
  /** Of a list of referrers, all its pages together: their annotations are free text. */
  referrersBytesMax: 16 * MiB,
  /** That a repository has no referrers API is believed this long, and of so many repositories. */
  noReferrersApiMs: 10 * MINUTE_MS,
  noReferrersApiMax: 1000,
  /** A manifest that came instead of a HEAD's answer waits this long for its GET. */
  keptManifestMs: 10 * SECOND_MS,
  keptManifestsMax: 4,
  /** DESIGN part 4, Down: three in a row over at least 3 s; asked every 10 s. */
  outagesToDown: 3,
  outagesOverMs: 3 * SECOND_MS,
  probeMs: 10 * SECOND_MS,
  /** When a 429 does not say how long, and the longest that is believed. */
  retryAfterDefaultMs: 30 * SECOND_MS,
  retryAfterMaxMs: 60 * MINUTE_MS,
  /** Docker token specification: 60 s when `expires_in` is absent. */
  tokenLifetimeDefaultMs: 60 * SECOND_MS,
  tokenLifetimeMaxMs: 24 * 60 * MINUTE_MS,
  /** Tokens are renewed this long before their end, or after four fifths of a short life. */
  tokenMarginMs: 30 * SECOND_MS,
  /** DESIGN part 4: after a 401, a new token at most once in this time. */
  tokenRenewalMs: MINUTE_MS,
  /** A refusal of the token service is believed this long, and that a file or a command gives no password. */
  tokenDeniedMs: 10 * SECOND_MS,
  tokensMax: 1000,
  /** Upstreams, and credentials of one upstream, whose state is kept. */
  endpointsMax: 4096,
  accountsMax: 4096,
  /** Connection pools, one per origin; the longest unused is closed. */
  connectionPoolsMax: 256,
  connectionPoolIdleMs: 5 * MINUTE_MS,
  passwordCommandMs: 10 * SECOND_MS,
  passwordBytesMax: 64 * KiB,
} as const

/** RFC 1035, 2.3.4, as text. A longer one can only fill messages and logs. */
export const hostCharactersMax = 253

/** A tags list of this length was cut short. */
export const tagsMax = 100_000
