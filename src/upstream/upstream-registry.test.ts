import assert from 'node:assert/strict'
import { test } from 'node:test'
import { image } from '../../test/fakes/content.ts'
import { startFakeUpstream } from '../../test/fakes/fake-upstream.ts'
import { configOf, digest, named, openUpstreamClient, ref } from '../../test/fakes/upstream-client.ts'

const NAME = named('library/alpine')
const CONTENT = image({ layers: 2 })

test('only what came over TLS is verified; insecure never is', async (t) => {
  const plain = await startFakeUpstream(t)
  const secure = await startFakeUpstream(t, {}, { tls: true })
  const { pool } = openUpstreamClient(t)
  assert.deepEqual([pool.open(configOf(plain)).isVerified, pool.open(configOf(secure)).isVerified], [false, true])
  assert.equal(pool.open(configOf(plain)).host, plain.host)
})

test('a whole pull costs one request for each thing', async (t) => {
  const fake = await startFakeUpstream(t, { [NAME]: { latest: CONTENT } })
  const upstream = openUpstreamClient(t).pool.open(configOf(fake))
  const { bytes } = await upstream.getManifest(NAME, ref('latest'))
  assert.deepEqual(bytes, CONTENT.bytes)
  for (const layer of CONTENT.layers) {
    const { body } = await upstream.openBlob(NAME, digest(layer.digest))
    for await (const _ of body);
  }
  assert.deepEqual(fake.transcript.lines(['user-agent']), [
    'GET /v2/library/alpine/manifests/latest 200 user-agent=entrepot/test',
    ...CONTENT.layers.map((layer) => `GET /v2/library/alpine/blobs/${layer.digest} 200 user-agent=entrepot/test`),
  ])
})
