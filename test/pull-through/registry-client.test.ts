import assert from 'node:assert/strict'
import { test } from 'node:test'
import { image } from '../fakes/content.ts'
import { startFakeUpstream } from '../fakes/fake-upstream.ts'
import { Valve } from '../fakes/gate.ts'
import { RegistryClient } from './registry-client.ts'

const content = image({ layerBytes: 300_000 })
const path = `/v2/app/blobs/${content.layers[0]?.digest}`

test('a body is read as far as asked, and then to its end', async (t) => {
  const upstream = await startFakeUpstream(t, { app: { v1: content } })
  const valve = new Valve()
  upstream.quirk('*', { valve })
  valve.allow(1000)
  const answer = await new RegistryClient(() => upstream.url, undefined).open(path)
  assert.equal(await answer.read(1000), 1000)
  valve.open()
  const whole = await answer.rest()
  assert.deepEqual([whole.isWhole, whole.body.equals(content.layers[0]?.bytes ?? whole.body)], [true, true])
})

test('a body that breaks off is not whole', async (t) => {
  const upstream = await startFakeUpstream(t, { app: { v1: content } })
  upstream.quirk('*', { truncateBlobAt: 5000 })
  const answer = await new RegistryClient(() => upstream.url, undefined).get(path)
  assert.deepEqual([answer.isWhole, answer.body.byteLength], [false, 5000])
})

test('a client that vanishes ends the upstream’s answer', async (t) => {
  const upstream = await startFakeUpstream(t, { app: { v1: content } })
  upstream.quirk('*', { hangMidBodyAt: 100 })
  const answer = await new RegistryClient(() => upstream.url, undefined).open(path)
  await answer.read(1)
  answer.destroy()
  await upstream.transcript.until(({ entries }) => entries[0]?.isOver === true)
})

test('credentials are sent unless none are wanted', async (t) => {
  const upstream = await startFakeUpstream(t, { app: { v1: content } })
  const client = new RegistryClient(() => upstream.url, { username: 'ann', password: 'secret' })
  await client.head('/v2/')
  await client.send('/v2/', { authorization: 'none' })
  assert.deepEqual(upstream.transcript.take(['Authorization']), [
    `HEAD /v2/ 200 Authorization=Basic ${Buffer.from('ann:secret').toString('base64')}`,
    'GET /v2/ 200',
  ])
})
