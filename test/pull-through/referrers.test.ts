/** DESIGN part 4, *The rest of /v2*: referrers, whose loss would make signatures vanish. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { artifact, image, index, MEDIA_TYPES } from '../fakes/content.ts'
import { assertRefused } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import type { ClientAnswer } from './registry-client.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const subject = image({ seed: 'signed' })
const signature = artifact({ subject, artifactType: 'application/vnd.example.signature', seed: 'signature' })
const sbom = artifact({ subject, artifactType: 'application/vnd.example.sbom', seed: 'sbom' })
const path = `app/referrers/${subject.digest}`
const GET = (status: number) => `GET /v2/${path} ${status}`
const fallback = `app/manifests/${subject.digest.replace(':', '-')}`

async function signed(t: Parameters<Entrepot['cache']>[0]): Promise<Cache> {
  const cache = await entrepot.cache(t, { app: { v1: subject } })
  for (const content of [signature, sbom]) cache.upstream.repository('app').add(content)
  return cache
}

function digestsOf(answer: ClientAnswer): string[] {
  assert.equal(answer.status, 200, answer.body.toString())
  assert.match(String(answer.headers['content-type']), new RegExp(`^${RegExp.escape(MEDIA_TYPES.ociIndex)}`))
  const document = JSON.parse(answer.body.toString())
  assert.deepEqual([document.schemaVersion, document.mediaType], [2, MEDIA_TYPES.ociIndex])
  return document.manifests.map((entry: { digest: string }) => entry.digest).toSorted()
}

const all = [signature.digest, sbom.digest].toSorted()

test('the upstream’s list is ours', async (t) => {
  const cache = await signed(t)
  assert.deepEqual(digestsOf(await cache.get(path)), all)
  assert.deepEqual(cache.upstream.transcript.take(), [GET(200)])
})

test('filtered by artifactType, with OCI-Filters-Applied', async (t) => {
  const cache = await signed(t)
  const answer = await cache.get(`${path}?artifactType=application%2Fvnd.example.sbom`)
  assert.deepEqual(digestsOf(answer), [sbom.digest])
  assert.equal(answer.headers['oci-filters-applied'], 'artifactType')
  const plain = await cache.get(path)
  assert.equal(plain.headers['oci-filters-applied'], undefined)
})

test('where the upstream has no such API, its tag <alg>-<hex> is read', async (t) => {
  const cache = await signed(t)
  cache.upstream.quirk('*', { noReferrersApi: true })
  const document = index([signature, sbom])
  cache.upstream.repository('app').tag(subject.digest.replace(':', '-'), document)
  assert.deepEqual(digestsOf(await cache.get(path)), all)
  assert.deepEqual(cache.upstream.transcript.take(), [GET(404), `GET /v2/${fallback} 200`])
})

test('that there is no such API is remembered for ten minutes: later questions cost one request', async (t) => {
  const cache = await signed(t)
  cache.upstream.quirk('*', { noReferrersApi: true })
  const document = index([signature, sbom])
  cache.upstream.repository('app').tag(subject.digest.replace(':', '-'), document)
  const ask = async () => {
    assert.deepEqual(digestsOf(await cache.get(path)), all)
    return cache.upstream.transcript.take()
  }
  assert.deepEqual(await ask(), [GET(404), `GET /v2/${fallback} 200`])
  assert.deepEqual(await ask(), [`GET /v2/${fallback} 200`])
  await entrepot.clock.advance(601_000)
  assert.deepEqual(await ask(), [GET(404), `GET /v2/${fallback} 200`])
})

test('where there is neither, the list is empty', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1: subject } })
  cache.upstream.quirk('*', { noReferrersApi: true })
  assert.deepEqual(digestsOf(await cache.get(path)), [])
  assert.deepEqual(cache.upstream.transcript.take(), [GET(404), `GET /v2/${fallback} 404`])
})

test('merged with what we hold', async (t) => {
  const cache = await signed(t)
  await cache.get(`app/manifests/${signature.digest}`)
  cache.upstream.repository('app').delete(signature.digest)
  assert.deepEqual(digestsOf(await cache.get(path)), all)
})

test('asked before and down: the last list', async (t) => {
  const cache = await signed(t)
  await cache.get('app/manifests/v1')
  assert.deepEqual(digestsOf(await cache.get(path)), all)
  await entrepot.clock.advance(3_600_000)
  await cache.upstream.refuse()
  assert.deepEqual(digestsOf(await cache.get(path)), all)
})

test('never asked before and 503: 502, not an empty list', async (t) => {
  const cache = await signed(t)
  await cache.get('app/manifests/v1')
  cache.upstream.quirk('*', { status: 503 })
  assertRefused(await cache.get(path), 502, 'UNAVAILABLE')
})

test('asked before and down, also after a restart: the last list', async (t) => {
  const cache = await signed(t)
  await cache.get('app/manifests/v1')
  assert.deepEqual(digestsOf(await cache.get(path)), all)
  await entrepot.restart()
  await cache.upstream.refuse()
  assert.deepEqual(digestsOf(await cache.get(path)), all)
})

test('of a repository of which nothing is held: the last list while we run, and never an empty one', async (t) => {
  const cache = await signed(t)
  assert.deepEqual(digestsOf(await cache.get(path)), all)
  const end = cache.upstream.quirk('*', { status: 503 })
  assert.deepEqual(digestsOf(await cache.get(path)), all)
  await entrepot.restart()
  for (let question = 1; question <= 4; question++) {
    assertRefused(await cache.get(path), 502, 'UNAVAILABLE')
    await entrepot.clock.advance(1_600) // Down from the third on.
  }
  end()
  assert.deepEqual(digestsOf(await cache.get(path)), all)
  assert.deepEqual(await cache.repositories(), [])
})

test('a frozen organization that holds nothing of a repository does not say that it has no signatures', async (t) => {
  const cache = await signed(t)
  await cache.setPolicy({ frozen: true })
  assertRefused(await cache.get(path), 404, 'NAME_UNKNOWN')
  await cache.setPolicy({ frozen: false })
  assert.deepEqual(digestsOf(await cache.get(path)), all)
})

test('HTML instead of a list is an outage, not an empty list', async (t) => {
  const cache = await signed(t)
  cache.upstream.quirk('*', { htmlInsteadOfJson: true })
  assertRefused(await cache.get(path), 502, 'UNAVAILABLE')
})

test('an artifact is pulled like any image', async (t) => {
  const cache = await signed(t)
  const answer = await cache.get(`app/manifests/${signature.digest}`)
  assert.ok(answer.body.equals(signature.bytes))
})
