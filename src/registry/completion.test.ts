import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { BlobRig, settle, until } from '../../test/fakes/blob-rig.ts'
import { DAY_MS } from '../base/units.ts'
import { listDueIngests, wantBlobs } from '../metadata/ingests.ts'
import type { Digest } from '../oci/digest.ts'
import type { CompletionEnd } from './completion.ts'
import { COMPLETION_LIMITS, Completion } from './completion.ts'
import type { IngestEnd } from './ingest.ts'
import type { BlobRepository } from './organization-blobs.ts'

type Complete = (repository: BlobRepository & { id: number }, digest: Digest) => Promise<CompletionEnd>

/** An organization with an image of `layers` layers; its completion polls when told to. */
async function image(t: TestContext, options: { layers?: number; concurrency?: number; complete?: Complete } = {}) {
  const rig = await BlobRig.open(t)
  const contents = Array.from({ length: options.layers ?? 4 }, (_, at) => Buffer.from(`layer ${at}`.padEnd(1000 + at)))
  const digests = contents.map((bytes) => rig.upstream.put('app', bytes))
  let poll = Promise.withResolvers<void>()
  const make = () =>
    new Completion({
      metadata: rig.metadata,
      clock: () => rig.nowMs,
      concurrency: options.concurrency ?? 2,
      onEvent: (event, fields) => rig.events.push({ event, fields }),
      delayMs: (ms, { signal } = {}) =>
        new Promise((resolve, reject) => {
          if (ms === COMPLETION_LIMITS.headStartMs) resolve()
          poll.promise.then(resolve)
          signal?.addEventListener('abort', () => reject(signal.reason))
        }),
      findOrganization: async (id) => {
        if (id !== acme.id) return undefined
        const blobs = options.complete === undefined ? acme.blobs : { complete: options.complete }
        return { blobs, repositoryName: async (repositoryId) => (repositoryId === app.id ? app.name : undefined) }
      },
    })
  let completion = make()
  const acme = await rig.organization('acme', { completion: { askedFor: (layer) => completion.askedFor(layer) } })
  const app = await acme.repository(
    'app',
    digests.map((digest, at) => ({ digest, size: contents[at]?.byteLength ?? 0 })),
  )
  t.after(async () => {
    await rig.ingests.stop()
    await completion.stop()
  })
  completion.start()
  return {
    rig,
    acme,
    app,
    digests: digests as [Digest, Digest, ...Digest[]],
    due: async () => (await listDueIngests(rig.metadata.db, rig.nowMs, 100)).map((row) => row.digest),
    async poll() {
      poll.resolve()
      poll = Promise.withResolvers()
      await idle()
    },
    stop: () => completion.stop(),
    async restart() {
      await completion.stop()
      completion = make()
      completion.start()
      await idle()
    },
  }

  async function idle(): Promise<void> {
    for (let round = 0; round < 5; round += 1) {
      await settle()
      await rig.ingests.drain()
    }
  }
}

test('after the first layer the rest of the image comes, each blob once, in the background', async (t) => {
  const { rig, acme, app, digests, poll, due } = await image(t)
  await acme.get(app, digests[0])
  await poll()
  await poll()
  for (const digest of digests) assert.equal(await acme.isStored(app, digest), true)
  assert.equal(rig.upstream.transcript.length, digests.length)
  assert.deepEqual(rig.upstream.priorities, ['client', 'background', 'background', 'background'])
  assert.deepEqual(await due(), [])
})

test('what no layer is, completes nothing', async (t) => {
  const { rig, acme, poll } = await image(t)
  const config = rig.upstream.put('other', Buffer.from('config'))
  const other = await acme.repository('other')
  await acme.get(other, config)
  await poll()
  assert.equal(rig.upstream.transcript.length, 1)
})

test('descriptors with urls are never completed', async (t) => {
  const { rig, acme, poll } = await image(t)
  const [first, foreign] = [Buffer.from('first'), Buffer.from('foreign')].map((b) => rig.upstream.put('win', b))
  assert.ok(first !== undefined && foreign !== undefined)
  const win = await acme.repository('win', [
    { digest: first, size: 5 },
    { digest: foreign, size: 7, urls: ['https://example.com/layer'] },
  ])
  await acme.get(win, first)
  await poll()
  assert.equal(rig.upstream.transcript.length, 1)
})

test('no more than so many come at a time', async (t) => {
  const running = new Set<Digest>()
  let most = 0
  const gate = Promise.withResolvers<void>()
  const complete: Complete = async (_repository, digest) => {
    running.add(digest)
    most = Math.max(most, running.size)
    await gate.promise
    running.delete(digest)
    return { kind: 'unwanted' }
  }
  const { acme, app, digests, poll, due } = await image(t, { layers: 9, concurrency: 3, complete })
  await acme.get(app, digests[0])
  await poll()
  await poll()
  assert.equal(running.size, 3)
  gate.resolve()
  for (let round = 0; round < 4; round += 1) await poll()
  assert.deepEqual([most, await due()], [3, []])
})

const failures: [string, () => Promise<CompletionEnd>][] = [
  ['an error', () => Promise.reject(new Error('no'))],
  ['a failed ingest', async (): Promise<IngestEnd> => ({ kind: 'failed', error: new Error('no') })],
  ['a full disk', async (): Promise<IngestEnd> => ({ kind: 'unstored' })],
]
for (const [title, complete] of failures) {
  test(`${title} is tried again later, with growing pauses, until a day has passed`, async (t) => {
    const { rig, acme, app, digests, poll, due } = await image(t, { layers: 2, complete })
    await acme.get(app, digests[0])
    await poll()
    assert.deepEqual(await due(), [])
    for (const pauseMs of [30_000, 60_000]) {
      rig.nowMs += pauseMs - 1
      assert.deepEqual(await due(), [])
      rig.nowMs += 1
      assert.deepEqual(await due(), [digests[1]])
      await poll()
    }
    rig.nowMs += DAY_MS
    await poll()
    assert.equal(rig.count('completion_given_up'), 1)
  })
}

test('what the upstream does not have is not asked for again', async (t) => {
  const { rig, acme, app, digests, poll } = await image(t, { layers: 2 })
  rig.upstream.blobs.delete(`app@${digests[1]}`)
  await acme.get(app, digests[0])
  await poll()
  rig.nowMs += DAY_MS / 2
  await poll()
  assert.equal(rig.upstream.transcript.length, 2)
})

test('what was wanted before a restart is completed after it', async (t) => {
  const { rig, acme, app, digests, restart } = await image(t)
  const rows = digests.map((digest, at) => ({
    ...{ organizationId: acme.id, repositoryId: app.id, digest, sizeBytes: 1000 + at },
    ...{ nowMs: rig.nowMs, giveUpAtMs: rig.nowMs + DAY_MS },
  }))
  await rig.metadata.transaction((tx) => wantBlobs(tx, rows))
  await restart()
  await restart()
  for (const digest of digests) assert.equal(await acme.isStored(app, digest), true)
})

test('wanted blobs of repositories and organizations that went are dropped', async (t) => {
  const { rig, acme, digests, poll, due } = await image(t)
  const gone = await acme.repository('gone', [{ digest: digests[0], size: 1000 }])
  const times = { nowMs: rig.nowMs, giveUpAtMs: rig.nowMs + DAY_MS }
  const row = { organizationId: acme.id, repositoryId: gone.id, digest: digests[0], sizeBytes: 1000, ...times }
  await rig.metadata.transaction((tx) => wantBlobs(tx, [row]))
  await poll()
  assert.deepEqual([await due(), rig.upstream.transcript], [[], []])
})

test('a client joins what is being completed', async (t) => {
  const { rig, acme, app, digests, poll } = await image(t, { layers: 2 })
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({}, { before: gate.promise })
  await acme.get(app, digests[0])
  const polling = poll()
  await until(() => rig.upstream.transcript.length === 2)
  const joined = acme.get(app, digests[1])
  await settle()
  gate.resolve()
  assert.equal((await joined).bytes.byteLength, 1001)
  await polling
  assert.equal(rig.upstream.transcript.length, 2)
})

test('stopping waits for no download, and what was being completed is due in the next process', async (t) => {
  const { rig, acme, app, digests, due, poll, stop } = await image(t, { layers: 2 })
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({}, { before: gate.promise })
  await acme.get(app, digests[0])
  const polling = poll()
  await until(() => rig.upstream.transcript.length === 2)
  await stop()
  assert.deepEqual(await due(), [digests[1]])
  gate.resolve()
  await polling
})
