import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blob, image } from '../../test/fakes/content.ts'
import { startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import { Gate } from '../../test/fakes/gate.ts'
import { assertFails, configOf, digest, named, openUpstreamClient, ref } from '../../test/fakes/upstream-client.ts'

const NAME = named('library/alpine')
const TAG = ref('latest')
const LAYER = blob('layer', 200_000)
const CONTENT = { [NAME]: { latest: image({ layers: [LAYER] }) } }

test('whoever waited while the gate closed is not sent', async (t) => {
  const fake = await startFakeUpstream(t, CONTENT)
  const upstream = openUpstreamClient(t, { limits: { manifestRequestsMax: 1 } }).pool.open(configOf(fake))
  const gate = new Gate()
  fake.quirk('/v2/*', { status: 429, hangBeforeHeaders: gate })
  const first = upstream.getManifest(NAME, TAG)
  const second = upstream.getManifest(NAME, TAG)
  await fake.transcript.until((transcript) => transcript.entries.length === 1)
  gate.open()
  await assertFails(first, 'rate_limited')
  await assertFails(second, 'rate_limited')
  assert.equal(fake.transcript.lines().length, 1)
})

test('the line at one upstream is bounded, and says so', async (t) => {
  const fake = await startFakeUpstream(t, CONTENT)
  const limits = { blobRequestsMax: 1, waitingRequestsMax: 0 }
  const upstream = openUpstreamClient(t, { limits }).pool.open(configOf(fake))
  const { body } = await upstream.openBlob(NAME, digest(LAYER.digest))
  const error = await assertFails(upstream.openBlob(NAME, digest(LAYER.digest)), 'timeout')
  assert.match(error.message, /too many requests are waiting/)
  body.destroy()
})

test('one who gives up while the token is fetched does not take it from the others', async (t) => {
  const fake = await startFakeUpstream(t, CONTENT, { authentication: { kind: 'token', expiresInSeconds: 300 } })
  const upstream = openUpstreamClient(t).pool.open(configOf(fake))
  const gate = new Gate()
  fake.quirk('/token', { hangBeforeHeaders: gate })
  const stop = new AbortController()
  const impatient = upstream.getManifest(NAME, TAG, { signal: stop.signal })
  const patient = upstream.getManifest(NAME, TAG)
  await fake.transcript.until(({ entries }) => entries.some(({ target }) => target.startsWith('/token')))
  stop.abort(new Error('gone'))
  await assert.rejects(impatient, /gone/)
  gate.open()
  await patient
  assert.equal(fake.transcript.lines().filter((line) => line.startsWith('GET /token')).length, 1)
})
