/** The content of a fake upstream as answers of the distribution-spec's pull endpoints. */

import { descriptor, MEDIA_TYPES } from './content.ts'
import { errorAnswer, type FakeAnswer, json } from './fake-answer.ts'
import type { FakeRepository } from './fake-repository.ts'
import type { Quirks } from './quirks.ts'

export type ParsedTarget = { repository: string; kind: 'manifests' | 'blobs' | 'tags' | 'referrers'; reference: string }

/** `/v2/<name>/<kind>/<reference>`; undefined for any other path. */
export function parseTarget(path: string): ParsedTarget | undefined {
  const match = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/.exec(path)
  const [, repository, kind, reference] = match ?? []
  if (repository === undefined || kind === undefined || reference === undefined) return undefined
  return { repository, kind: kind as ParsedTarget['kind'], reference: decodeURIComponent(reference) }
}

export function answerContent(
  target: ParsedTarget,
  repository: FakeRepository | undefined,
  url: URL,
  range: string | undefined,
  quirks: Quirks,
): FakeAnswer {
  if (repository === undefined) return errorAnswer(404, 'NAME_UNKNOWN')
  switch (target.kind) {
    case 'manifests':
      return answerManifest(repository, target.reference)
    case 'blobs':
      return answerBlob(repository, target.reference, quirks.ignoreRange ? undefined : range)
    case 'tags':
      return answerTags(repository, target.repository, url, quirks.tagPages)
    case 'referrers':
      return quirks.noReferrersApi
        ? errorAnswer(404, 'UNSUPPORTED')
        : answerReferrers(repository, target.reference, url)
    default:
      throw new Error(`unhandled kind: ${target.kind satisfies never}`)
  }
}

function answerManifest(repository: FakeRepository, reference: string): FakeAnswer {
  const found = repository.find(reference)
  if (found === undefined) return errorAnswer(404, 'MANIFEST_UNKNOWN')
  return {
    status: 200,
    headers: { 'content-type': found.mediaType, 'docker-content-digest': found.digest },
    body: found.bytes,
  }
}

function answerBlob(repository: FakeRepository, digest: string, range: string | undefined): FakeAnswer {
  const body = repository.blobs.get(digest)
  if (body === undefined) return errorAnswer(404, 'BLOB_UNKNOWN')
  const headers = {
    'content-type': 'application/octet-stream',
    'docker-content-digest': digest,
    'accept-ranges': 'bytes',
  }
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? []
  if (first === undefined) return { status: 200, headers, body }
  const start = Number(first)
  if (start >= body.byteLength) {
    return errorAnswer(416, 'SIZE_INVALID', { 'content-range': `bytes */${body.byteLength}` })
  }
  const end = Math.min(body.byteLength - 1, last === '' || last === undefined ? Number.POSITIVE_INFINITY : Number(last))
  return {
    status: 206,
    headers: { ...headers, 'content-range': `bytes ${start}-${end}/${body.byteLength}` },
    body: body.subarray(start, end + 1),
    start,
  }
}

function answerTags(repository: FakeRepository, name: string, url: URL, pageTags: number | undefined): FakeAnswer {
  const all = [...repository.tags.keys()].sort()
  const last = url.searchParams.get('last')
  const rest = last === null ? all : all.filter((tag) => tag > last)
  const asked = Number(url.searchParams.get('n') ?? Number.POSITIVE_INFINITY)
  const page = rest.slice(0, Math.min(asked, pageTags ?? Number.POSITIVE_INFINITY))
  const hasMore = page.length < rest.length
  const link = `</v2/${name}/tags/list?last=${encodeURIComponent(page.at(-1) ?? '')}&n=${page.length}>; rel="next"`
  return json(200, { name, tags: page }, hasMore ? { link } : {})
}

function answerReferrers(repository: FakeRepository, subject: string, url: URL): FakeAnswer {
  const artifactType = url.searchParams.get('artifactType')
  const manifests = repository
    .referrersOf(subject)
    .filter((content) => artifactType === null || content.artifactType === artifactType)
    .map((content) => ({ ...descriptor(content.mediaType, content), artifactType: content.artifactType }))
  return json(
    200,
    { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests },
    { 'content-type': MEDIA_TYPES.ociIndex, ...(artifactType !== null && { 'oci-filters-applied': 'artifactType' }) },
  )
}
