import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import { assertFails, configOf, named, openUpstreamClient, ref } from '../../test/fakes/upstream-client.ts'

const NAME = named('library/alpine')
const TAG = ref('latest')

test('the state shows the latest error, of the upstream or of these credentials; others see only the upstream’s', async (t) => {
  const fake = await startFakeUpstream(t)
  const { pool, now } = openUpstreamClient(t)
  const ours = pool.open(configOf(fake))
  const theirs = pool.open(configOf(fake, { credentials: { kind: 'password', username: 'a', password: 'b' } }))
  const ask = async (status: number) => {
    now.ms += 1000
    const off = fake.quirk('/v2/*', { status })
    await ours.getManifest(NAME, TAG).catch(() => {})
    off()
  }
  assert.equal(ours.state().lastError, undefined)
  await ask(503)
  await ask(403)
  assert.match(ours.state().lastError?.message ?? '', /answered 403/)
  assert.match(theirs.state().lastError?.message ?? '', /answered 503/)
  await ask(504)
  assert.deepEqual(ours.state().lastError, theirs.state().lastError)
  assert.match(ours.state().lastError?.message ?? '', /answered 504/)
})

test('a 404 is an answer, not an error of the upstream', async (t) => {
  const fake = await startFakeUpstream(t)
  const upstream = openUpstreamClient(t).pool.open(configOf(fake))
  await assertFails(upstream.getManifest(NAME, TAG), 'not_found')
  assert.equal(upstream.state().lastError, undefined)
})
