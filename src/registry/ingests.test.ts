import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { BlobRig, until } from '../../test/fakes/blob-rig.ts'
import { pseudoRandomBytes } from '../../test/fakes/pseudo-random.ts'

const BYTES = pseudoRandomBytes('layer', 300_000)

/** An organization whose repository names a blob that nobody has received yet. */
async function named(t: TestContext) {
  const rig = await BlobRig.open(t)
  const digest = rig.upstream.put('app', BYTES)
  const acme = await rig.organization('acme')
  const app = await acme.repository('app', [{ digest, size: BYTES.byteLength }])
  return { rig, digest, acme, app, GET: `GET app ${digest.slice(0, 12)}` }
}

/** While it waits with what it found (`look` found nothing), another client receives the blob, and it is published. */
async function publishedMeanwhile<Result>(
  { rig, digest, acme, app }: Awaited<ReturnType<typeof named>>,
  look: () => Promise<Result>,
): Promise<Result> {
  const found = Promise.withResolvers<void>()
  rig.afterLook = found.promise
  const late = look()
  await until(() => rig.looks === 1)
  rig.afterLook = undefined
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
  await rig.ingests.drain()
  assert.equal(rig.ingests.find({ organizationId: acme.id, generation: 1 }, digest), undefined)
  found.resolve()
  return late
}

test('a blob that is published while a client looks for it is not received again', async (t) => {
  const given = await named(t)
  const { rig, acme, app, digest, GET } = given
  const { bytes, outcome } = await publishedMeanwhile(given, () => acme.get(app, digest))
  assert.ok(bytes.equals(BYTES))
  assert.deepEqual([outcome, rig.upstream.transcript], ['hit', [GET]])
})

test('a blob that is published while its completion looks for it is not received again', async (t) => {
  const given = await named(t)
  const { rig, acme, app, digest, GET } = given
  const end = await publishedMeanwhile(given, () => acme.blobs.complete(app, digest))
  assert.deepEqual([end, rig.upstream.transcript], [{ kind: 'held' }, [GET]])
})

test('who looks while another still receives it joins that ingest', async (t) => {
  const { rig, acme, app, digest, GET } = await named(t)
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ hold: { at: 100_000, until: gate.promise } })
  const pulls = [acme.get(app, digest), acme.get(app, digest)]
  await until(() => rig.ingests.running === 1 && rig.looks === 2)
  gate.resolve()
  for (const { bytes } of await Promise.all(pulls)) assert.ok(bytes.equals(BYTES))
  assert.deepEqual(rig.upstream.transcript, [GET])
})

test('organizations and generations share no ingest', async (t) => {
  const { rig, acme, app, digest, GET } = await named(t)
  const gate = Promise.withResolvers<void>()
  rig.upstream.always = { hold: { at: 100_000, until: gate.promise } }
  const other = await rig.organization('other')
  const others = await other.repository('app', [{ digest, size: BYTES.byteLength }])
  const pulls = [acme.get(app, digest), other.get(others, digest)]
  await until(() => rig.ingests.running === 2)
  const [former, next] = [1, 2].map((generation) => rig.ingests.find({ organizationId: acme.id, generation }, digest))
  assert.deepEqual([former?.request.organizationId, next], [acme.id, undefined])
  gate.resolve()
  await Promise.all(pulls)
  assert.deepEqual(rig.upstream.transcript, [GET, GET])
})
