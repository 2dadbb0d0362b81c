/** The ways in which an upstream gives nothing usable to a question for a manifest, and what must be said then. */
import { image, MEDIA_TYPES, rawManifest } from '../fakes/content.ts'
import type { FakeUpstream } from '../fakes/fake-upstream.ts'
import type { Quirks } from '../fakes/quirks.ts'

export type Misbehaviour = {
  /** Completes "the upstream …". */
  title: string
  head?: Quirks
  get?: Quirks
  /** What quirks cannot say. */
  begin?: (upstream: FakeUpstream) => Promise<void>
  /** What it was asked while a copy was held. */
  held: readonly string[]
  /** What it was asked when none was. */
  missing: readonly string[]
  /** The answer when none is held. */
  status: number
  code: string
}

const other = image({ seed: 'another image' }).digest
const moved: Quirks = { digestHeader: other }
const unavailable = { status: 502, code: 'UNAVAILABLE' }
const both = (quirks: Quirks) => ({ head: quirks, get: quirks })

function answers(status: number, quirks: Quirks = {}): Pick<Misbehaviour, 'head' | 'get' | 'held' | 'missing'> {
  return { ...both({ status, ...quirks }), held: [`HEAD ${status}`], missing: [`GET ${status}`] }
}

/** HEAD says that the tag moved; what GET then brings is no manifest. */
function noManifest(title: string, quirks: Quirks): Misbehaviour {
  return { title, head: moved, get: quirks, held: ['HEAD 200', 'GET 200'], missing: ['GET 200'], ...unavailable }
}

export const UNUSABLE: readonly Misbehaviour[] = [
  { title: 'refuses connections', begin: (upstream) => upstream.refuse(), held: [], missing: [], ...unavailable },
  // On a kept connection a question that got no answer is asked once more (RFC 9112, 9.3.1), on a new one not.
  {
    title: 'resets the connection',
    ...both({ reset: true }),
    begin: async (upstream) => {
      await upstream.refuse()
      await upstream.accept()
    },
    held: ['HEAD -'],
    missing: ['GET -'],
    ...unavailable,
  },
  { title: 'answers 429', ...answers(429), status: 429, code: 'TOOMANYREQUESTS' },
  { title: 'answers 429 with Retry-After', ...answers(429, { retryAfter: '7' }), status: 429, code: 'TOOMANYREQUESTS' },
  { title: 'answers 500', ...answers(500), ...unavailable },
  { title: 'answers 502', ...answers(502), ...unavailable },
  { title: 'answers 503', ...answers(503), ...unavailable },
  { title: 'answers 504', ...answers(504), ...unavailable },
  {
    title: 'answers HTML instead of JSON',
    ...both({ htmlInsteadOfJson: true }),
    held: ['HEAD 200', 'GET 200'],
    missing: ['GET 200'],
    ...unavailable,
  },
  noManifest('sends other bytes than its digest header names', moved),
  noManifest('breaks off inside the manifest', { truncateBlobAt: 20 }),
  noManifest('sends a manifest of 100 MB', { hugeManifestBytes: 100_000_000, omitDigestHeader: true }),
  noManifest('sends a manifest of 100 MB without saying its length', {
    hugeManifestBytes: 100_000_000,
    omitContentLength: true,
    omitDigestHeader: true,
  }),
]

/** JSON that is no manifest. */
export const notAManifest = rawManifest(MEDIA_TYPES.ociManifest, Buffer.from('{"hello":"world"}'))

/** Make `upstream` misbehave for all manifests of a repository; the returned function ends it. */
export async function misbehave(upstream: FakeUpstream, how: Misbehaviour, repository: string): Promise<() => void> {
  const path = `/v2/${repository}/manifests/*`
  const ends = [
    how.head === undefined ? undefined : upstream.quirk(`HEAD ${path}`, how.head),
    how.get === undefined ? undefined : upstream.quirk(`GET ${path}`, how.get),
  ]
  await how.begin?.(upstream)
  return () => {
    for (const end of ends) end?.()
  }
}
