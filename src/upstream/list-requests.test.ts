import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { artifact, image, index } from '../../test/fakes/content.ts'
import { type FakeUpstream, startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import {
  assertFails,
  configOf,
  digest,
  named,
  openUpstreamClient,
  type UpstreamClient,
} from '../../test/fakes/upstream-client.ts'
import type { Upstream } from '../oci/registry.ts'

const NAME = named('library/alpine')
const CONTENT = image({})
const SIGNATURE = artifact({ subject: CONTENT })

async function start(
  t: TestContext,
  limits: Record<string, number> = {},
): Promise<{ fake: FakeUpstream; client: UpstreamClient; upstream: Upstream }> {
  const fake = await startFakeUpstream(t, { 'library/alpine': {} })
  for (const tag of ['b', 'a', 'B', '10', '9']) fake.repository(NAME).tag(tag, CONTENT)
  fake.repository(NAME).add(SIGNATURE)
  const client = openUpstreamClient(t, { limits })
  return { fake, client, upstream: client.pool.open(configOf(fake)) }
}

test('the whole list of tags is read, page after page, and sorted by code unit', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*/tags/list', { tagPages: 2 })
  assert.deepEqual(await upstream.listTags(NAME), ['10', '9', 'B', 'a', 'b'])
  const lines = fake.transcript.lines()
  assert.equal(lines.length, 3)
  assert.equal(lines[0], 'GET /v2/library/alpine/tags/list?n=1000 200')
})

test('a list that goes on for ever is cut off after so many pages', async (t) => {
  const { fake, upstream } = await start(t, { pagesMax: 3 })
  fake.quirk('/v2/*/tags/list', { headers: { link: '</v2/library/alpine/tags/list?n=1000>; rel="next"' } })
  assert.equal((await upstream.listTags(NAME)).length, 5)
  assert.equal(fake.transcript.lines().length, 3)
})

test('a list does not continue on another host, which would get the token', async (t) => {
  const { fake, upstream } = await start(t)
  const elsewhere = await startFakeUpstream(t)
  fake.quirk('/v2/*/tags/list', { headers: { link: `<${elsewhere.url}/v2/x/tags/list>; rel="next"` } })
  await assertFails(upstream.listTags(NAME), 'protocol')
  assert.deepEqual(elsewhere.transcript.lines(), [])
})

test('a list that is a web page, or belongs to nobody, is an error', async (t) => {
  const { fake, upstream } = await start(t)
  await assertFails(upstream.listTags(named('no/such')), 'not_found')
  fake.quirk('/v2/*', { htmlInsteadOfJson: true })
  await assertFails(upstream.listTags(NAME), 'protocol')
})

test('referrers come from the API', async (t) => {
  const { fake, upstream } = await start(t)
  const [referrer, ...others] = await upstream.listReferrers(NAME, digest(CONTENT.digest))
  assert.equal(referrer?.digest, SIGNATURE.digest)
  assert.equal(referrer?.size, SIGNATURE.bytes.byteLength)
  assert.equal(referrer?.artifactType, SIGNATURE.artifactType)
  assert.deepEqual(others, [])
  assert.deepEqual(fake.transcript.lines(), [`GET /v2/library/alpine/referrers/${CONTENT.digest} 200`])
})

test('without the API they come from the referrers tag, and without that there are none', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*', { noReferrersApi: true })
  assert.deepEqual(await upstream.listReferrers(NAME, digest(CONTENT.digest)), [])
  const tag = CONTENT.digest.replace(':', '-')
  assert.deepEqual(fake.transcript.take(), [
    `GET /v2/library/alpine/referrers/${CONTENT.digest} 404`,
    `GET /v2/library/alpine/manifests/${tag} 404`,
  ])
  fake.repository(NAME).tag(tag, index([SIGNATURE]))
  const referrers = await upstream.listReferrers(NAME, digest(CONTENT.digest))
  assert.deepEqual(
    referrers.map((referrer) => referrer.digest),
    [SIGNATURE.digest],
  )
})

test('that there is no API is remembered for ten minutes, per repository and credentials: one request a question', async (t) => {
  const { fake, client, upstream } = await start(t)
  const off = fake.quirk('/v2/*', { noReferrersApi: true })
  const api = `GET /v2/library/alpine/referrers/${CONTENT.digest}`
  const tag = `GET /v2/library/alpine/manifests/${CONTENT.digest.replace(':', '-')} 404`
  const ask = () => upstream.listReferrers(NAME, digest(CONTENT.digest))
  await ask()
  assert.deepEqual(fake.transcript.take(), [`${api} 404`, tag])
  await ask()
  client.now.ms += 599_999
  await ask()
  assert.deepEqual(fake.transcript.take(), [tag, tag])

  await upstream.listReferrers(named('library/other'), digest(CONTENT.digest))
  const login = { kind: 'password', username: 'ann', password: 'secret' } as const
  await client.pool.open(configOf(fake, { credentials: login })).listReferrers(NAME, digest(CONTENT.digest))
  assert.equal(fake.transcript.take().filter((line) => line.includes('/referrers/')).length, 2)

  off()
  client.now.ms += 1
  assert.equal((await ask()).length, 1, 'an upstream that has learnt it meanwhile is asked again')
  assert.deepEqual(fake.transcript.take(), [`${api} 200`])
})

test('a registry that has the API, but not the repository or the subject yet, is asked again', async (t) => {
  const { fake, upstream } = await start(t)
  for (const code of ['NAME_UNKNOWN', 'MANIFEST_UNKNOWN']) {
    const off = fake.quirk('/v2/*/referrers/*', { status: 404, code })
    assert.deepEqual(await upstream.listReferrers(NAME, digest(CONTENT.digest)), [])
    off()
    assert.equal((await upstream.listReferrers(NAME, digest(CONTENT.digest))).length, 1)
  }
})

test('a 400 is about one digest, an outage about nothing: neither is remembered', async (t) => {
  const { fake, upstream } = await start(t)
  for (const status of [400, 406, 503]) {
    const off = fake.quirk('/v2/*/referrers/*', { status })
    await upstream.listReferrers(NAME, digest(CONTENT.digest)).catch(() => {})
    off()
    assert.equal((await upstream.listReferrers(NAME, digest(CONTENT.digest))).length, 1)
  }
})

test('an upstream that cannot answer does not make signatures vanish', async (t) => {
  const { fake, upstream } = await start(t)
  const off = fake.quirk('/v2/*', { status: 503 })
  await assertFails(upstream.listReferrers(NAME, digest(CONTENT.digest)), 'server_error', true)
  off()
  fake.quirk('/v2/*/referrers/*', { status: 403 })
  await assertFails(upstream.listReferrers(NAME, digest(CONTENT.digest)), 'denied')
})

test('a web page instead of referrers means that there is no API', async (t) => {
  const { fake, upstream } = await start(t)
  fake.quirk('/v2/*/referrers/*', { htmlInsteadOfJson: true })
  assert.deepEqual(await upstream.listReferrers(NAME, digest(CONTENT.digest)), [])
})

test('more referrers than we read are an error, not a shorter list', async (t) => {
  const { upstream } = await start(t, { referrersMax: 0 })
  await assertFails(upstream.listReferrers(NAME, digest(CONTENT.digest)), 'protocol')
})

test('a list of referrers that is endless in bytes, not in entries, is an error too', async (t) => {
  const { fake, upstream } = await start(t, { referrersBytesMax: 5000 })
  fake.quirk('/v2/*/referrers/*', { headers: { link: `</v2/${NAME}/referrers/${CONTENT.digest}>; rel="next"` } })
  const error = await assertFails(upstream.listReferrers(NAME, digest(CONTENT.digest)), 'protocol')
  assert.match(error.message, /more than 5000 bytes/)
})
