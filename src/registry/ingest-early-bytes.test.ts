import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { BlobRig, settle, until } from '../../test/fakes/blob-rig.ts'
import type { BlobAnswer } from '../../test/fakes/blob-upstream.ts'
import { pseudoRandomBytes } from '../../test/fakes/pseudo-random.ts'
import { INGEST_LIMITS } from './ingest-limits.ts'

const BYTES = pseudoRandomBytes('layer', 1_000_003)
const { earlyBytesMax } = INGEST_LIMITS

/** A client that pulls a blob whose draft is made only when the test says so. */
async function pulling(t: TestContext, bytes: Buffer, answer: BlobAnswer) {
  const rig = await BlobRig.open(t)
  const digest = rig.upstream.put('app', bytes)
  const acme = await rig.organization('acme')
  const app = await acme.repository('app', [{ digest, size: bytes.byteLength }])
  const { promise, resolve: make } = Promise.withResolvers<void>()
  rig.store.slowCreate = promise
  rig.upstream.answers.push(answer)
  const client = acme.get(app, digest)
  client.catch(() => {}) // The test looks at it later.
  const GET = (from?: number) => `GET app ${digest.slice(0, 12)}${from === undefined ? '' : ` ${from}-`}`
  return { rig, client, make, GET, isStored: () => acme.isStored(app, digest) }
}

for (const [title, cutAt] of [
  ['one byte', 1],
  ['many bytes', 100_000],
  ['more than is kept', 900_000],
] as const) {
  test(`broken after ${title}, while the draft is being made: what came is not asked for again`, async (t) => {
    const { rig, client, make, GET, isStored } = await pulling(t, BYTES, { cutAt })
    await until(() => rig.upstream.sentBytes >= Math.min(cutAt, earlyBytesMax))
    await settle()
    const held = earlyBytesMax + 4 * 65_536 // Streams hold some chunks themselves.
    assert.ok(rig.upstream.sentBytes <= held, `${rig.upstream.sentBytes} bytes came while nobody could take them`)
    make()
    assert.ok((await client).bytes.equals(BYTES))
    assert.deepEqual(rig.upstream.transcript, [GET(), GET(cutAt)])
    await rig.ingests.drain()
    assert.equal(await isStored(), true)
  })
}

for (const [title, answer] of [
  ['ended', {}],
  ['broke at its end', { cutAt: 1000 }],
  ['ended without telling its length', { says: undefined }],
] as const satisfies [string, BlobAnswer][]) {
  test(`a small blob that ${title} before the draft was made is whole`, async (t) => {
    const bytes = pseudoRandomBytes('small', 1000)
    const { rig, client, make, GET, isStored } = await pulling(t, bytes, answer)
    await until(() => rig.upstream.sentBytes === 1000)
    await settle()
    make()
    assert.ok((await client).bytes.equals(bytes))
    await rig.ingests.drain()
    assert.deepEqual([rig.upstream.transcript, await isStored()], [[GET()], true])
  })
}

test('bytes beyond the size that came before the draft was made complete nobody', async (t) => {
  const sent = pseudoRandomBytes('small', 1001)
  const answer = { bytes: sent, says: undefined, chunkBytes: 10 }
  const { rig, client, make } = await pulling(t, sent.subarray(0, 1000), answer)
  await until(() => rig.upstream.sentBytes === 1001)
  make()
  await assert.rejects(client, /more than the blob's 1000 bytes/)
  await rig.ingests.drain()
  assert.deepEqual([await rig.drafts(), rig.store.openFiles], [[], 0])
})

test('stopped while the draft is being made, it ends and leaves none', async (t) => {
  const { rig, client, make } = await pulling(t, BYTES, {})
  await until(() => rig.upstream.sentBytes > 0)
  const stopped = rig.ingests.stop()
  make()
  await stopped
  await assert.rejects(client)
  assert.deepEqual([await rig.drafts(), rig.store.openFiles], [[], 0])
})
