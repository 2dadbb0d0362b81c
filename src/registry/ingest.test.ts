import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { BlobRig, Collector, settle, until } from '../../test/fakes/blob-rig.ts'
import type { BlobAnswer } from '../../test/fakes/blob-upstream.ts'
import { pseudoRandomBytes } from '../../test/fakes/pseudo-random.ts'
import { KiB, MiB } from '../base/units.ts'
import { RegistryError } from '../errors.ts'
import { INGEST_LIMITS } from './ingest-limits.ts'

const BYTES = pseudoRandomBytes('layer', 1_000_003)
const BIG = pseudoRandomBytes('big', 12 * MiB + 5)
const HELD_BACK = INGEST_LIMITS.heldBackBytes

async function named(t: TestContext, bytes: Buffer = BYTES) {
  const rig = await BlobRig.open(t)
  const digest = rig.upstream.put('app', bytes)
  const acme = await rig.organization('acme')
  const app = await acme.repository('app', [{ digest, size: bytes.byteLength }])
  const GET = (from?: number) => `GET app ${digest.slice(0, 12)}${from === undefined ? '' : ` ${from}-`}`
  return { rig, digest, acme, app, GET }
}

/** A client that has begun to read: its sink, and the end of its pipe. */
async function begin(acme: Awaited<ReturnType<typeof named>>['acme'], ...asked: Parameters<typeof acme.open>) {
  const served = await acme.open(...asked)
  const sink = new Collector()
  const piped = served.pipe(sink)
  piped.catch(() => {}) // The test looks at it later.
  return { sink, piped, served }
}

test('the first byte is handed on as it comes, and the last 64 KiB only once all is verified', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const [first, last] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  rig.upstream.answers.push({ hold: { at: 1, until: first.promise }, cutAt: BYTES.byteLength - 1 })
  rig.upstream.answers.push({ before: last.promise })
  const { sink, piped } = await begin(acme, app, digest)
  await sink.until(1)
  assert.equal(sink.length, 1)
  first.resolve()
  await sink.until(BYTES.byteLength - HELD_BACK)
  await settle()
  assert.equal(sink.length, BYTES.byteLength - HELD_BACK, 'all but one byte has arrived')
  last.resolve()
  await piped
  assert.ok(sink.bytes().equals(BYTES))
})

test('of a blob whose size nobody says, the last 64 KiB that have arrived are held back', async (t) => {
  const rig = await BlobRig.open(t)
  const digest = rig.upstream.put('app', BYTES)
  const acme = await rig.organization('acme')
  const app = await acme.repository('app')
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ says: undefined, hold: { at: 200_000, until: gate.promise } })
  const { sink, piped, served } = await begin(acme, app, digest)
  await sink.until(200_000 - HELD_BACK)
  await settle()
  assert.deepEqual([sink.length, served.size], [200_000 - HELD_BACK, undefined])
  gate.resolve()
  await piped
  assert.ok(sink.bytes().equals(BYTES))
})

for (const size of [1, HELD_BACK - 1, HELD_BACK, HELD_BACK + 1, 256 * KiB - 1, 256 * KiB, 256 * KiB + 1, 4 * MiB]) {
  test(`wrong bytes of a blob of ${size} bytes complete nobody, and nothing is kept`, async (t) => {
    const bytes = pseudoRandomBytes('right', size)
    const { rig, digest, acme, app } = await named(t, bytes)
    const wrong = Buffer.from(bytes)
    wrong[size - 1] = (wrong[size - 1] ?? 0) ^ 1
    rig.upstream.answers.push({ bytes: wrong })
    const [whole, all, part] = await Promise.all([
      begin(acme, app, digest),
      begin(acme, app, digest, { start: 0, end: size - 1 }),
      begin(acme, app, digest, { suffixLength: 1 }),
    ])
    for (const { sink, piped } of [whole, all, part]) {
      await assert.rejects(piped, /do not match/)
      assert.ok(sink.length <= Math.max(0, size - HELD_BACK))
    }
    await rig.ingests.drain()
    assert.deepEqual([rig.count('digest_mismatch'), await rig.drafts(), rig.store.openFiles], [1, [], 0])
    assert.ok((await acme.get(app, digest)).bytes.equals(bytes))
  })
}

for (const [title, answer] of [
  ['a shorter length', { says: BYTES.byteLength - 1 }],
  ['a longer length', { says: BYTES.byteLength + 1 }],
  ['another beginning', { start: 7 }],
] as const satisfies [string, BlobAnswer][]) {
  test(`${title} than the descriptor’s fails before the first byte`, async (t) => {
    const { rig, digest, acme, app } = await named(t)
    rig.upstream.answers.push(answer)
    await assert.rejects(acme.open(app, digest), (e) => e instanceof RegistryError && e.case === 'UNAVAILABLE')
    await rig.ingests.drain()
    assert.deepEqual([rig.upstream.transcript.length, await rig.drafts()], [1, []])
  })
}

test('an ingest stops at the byte after the size', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  rig.upstream.answers.push({ bytes: Buffer.concat([BYTES, Buffer.alloc(20 * MiB)]), says: undefined })
  const { sink, piped } = await begin(acme, app, digest)
  await assert.rejects(piped, /more than the blob's 1000003 bytes/)
  assert.ok(sink.length <= BYTES.byteLength - HELD_BACK)
  assert.ok(rig.upstream.sentBytes < BYTES.byteLength + MiB)
})

test('broken anywhere, it goes on where it was; each try that brings a byte begins the count anew', async (t) => {
  const { rig, digest, acme, app, GET } = await named(t)
  const cuts = Array.from({ length: 12 }, (_, position) => (position + 1) * 70_000)
  rig.upstream.answers.push({ cutAt: 0 }, ...cuts.map((cutAt) => ({ cutAt })))
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
  assert.deepEqual(rig.upstream.transcript, [GET(), GET(), ...cuts.map(GET)])
  await rig.ingests.drain()
  assert.equal(await acme.isStored(app, digest), true)
})

test('an upstream that ignores ranges is read from its beginning, skipping what has arrived', async (t) => {
  const { rig, digest, acme, app, GET } = await named(t)
  rig.upstream.answers.push({ cutAt: 500_001 }, { ignoreRange: true, chunkBytes: 65_537 })
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
  assert.deepEqual(rig.upstream.transcript, [GET(), GET(500_001)])
})

test('a body that ends early as if it were whole is continued', async (t) => {
  const { rig, digest, acme, app, GET } = await named(t)
  rig.upstream.answers.push({ endAt: 300_000, says: undefined })
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
  assert.deepEqual(rig.upstream.transcript, [GET(), GET(300_000)])
})

test('five tries in a row that bring no byte end it, with growing pauses', async (t) => {
  const { rig, digest, acme, app, GET } = await named(t)
  rig.upstream.always = { cutAt: 300_000 }
  const { sink, piped } = await begin(acme, app, digest)
  await assert.rejects(piped)
  assert.ok(sink.bytes().equals(BYTES.subarray(0, sink.length)))
  assert.deepEqual(rig.upstream.transcript, [GET(), ...Array.from({ length: 5 }, () => GET(300_000))])
  assert.deepEqual(rig.delays, [100, 200, 400, 800, 1600])
  await rig.ingests.drain()
  assert.deepEqual([rig.ingests.running, await rig.drafts(), rig.store.openFiles], [0, [], 0])
})

test('skipped bytes are no progress: an upstream that breaks while skipping is given up', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  rig.upstream.answers.push({ cutAt: 300_000 })
  rig.upstream.always = { ignoreRange: true, cutAt: 299_999 }
  await assert.rejects(acme.get(app, digest))
  assert.equal(rig.upstream.transcript.length, 6)
})

test('a continuation that begins elsewhere or has another size brings nothing', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  rig.upstream.answers.push({ cutAt: 300_000 }, { start: 299_999 }, { start: 300_001 }, { says: 5 }, {})
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
  assert.equal(rig.upstream.transcript.length, 5)
})

for (const failure of ['not_found', 'denied'] as const) {
  test(`${failure} to a continuation ends it at once`, async (t) => {
    const { rig, digest, acme, app } = await named(t)
    rig.upstream.answers.push({ cutAt: 300_000 }, { error: rig.upstream.failure(failure) })
    await assert.rejects(acme.get(app, digest))
    assert.equal(rig.upstream.transcript.length, 2)
  })
}

test('a continuation waits for Retry-After, but no longer than a minute', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const limited = (ms: number) => ({ error: rig.upstream.failure('rate_limited', ms) })
  rig.upstream.answers.push({ cutAt: 300_000 }, limited(7000), limited(9_999_999), {})
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
  assert.deepEqual(rig.delays, [100, 7000, 60_000])
})

test('a slow client stalls nobody, a vanished one cancels nothing, and one that lags reads the file', async (t) => {
  const { rig, digest, acme, app } = await named(t, BIG)
  const slow = await begin(acme, app, digest)
  const stall = Promise.withResolvers<void>()
  slow.sink.stalled = stall.promise
  const gone = await begin(acme, app, digest)
  gone.sink.isGone = true
  const fast = await acme.get(app, digest)
  assert.ok(fast.bytes.equals(BIG))
  await gone.piped
  await rig.ingests.drain()
  assert.ok(slow.sink.length <= MiB, 'it took what had come before it was stuck')
  stall.resolve()
  await slow.piped
  assert.ok(slow.sink.bytes().equals(BIG))
  await until(() => rig.store.openFiles === 0)
  assert.equal(rig.upstream.transcript.length, 1)
})

test('when its only client vanishes the blob is received all the same', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const gone = await begin(acme, app, digest)
  gone.served.close()
  await gone.piped
  await rig.ingests.drain()
  assert.equal(await acme.isStored(app, digest), true)
})

test('who joins late reads from byte 0, wherever the ingest is', async (t) => {
  const { rig, digest, acme, app } = await named(t, BIG)
  for (const at of [300_000, 6 * MiB, BIG.byteLength - 1]) {
    const organization = await rig.organization(`at-${at}`)
    const repository = await organization.repository('app', [{ digest, size: BIG.byteLength }])
    const gate = Promise.withResolvers<void>()
    rig.upstream.answers.push({ hold: { at, until: gate.promise } })
    const first = await begin(organization, repository, digest)
    await first.sink.until(Math.min(at, BIG.byteLength - HELD_BACK))
    const late = await begin(organization, repository, digest)
    await late.sink.until(Math.min(at, BIG.byteLength - HELD_BACK))
    gate.resolve()
    await Promise.all([first.piped, late.piped])
    assert.ok(first.sink.bytes().equals(BIG) && late.sink.bytes().equals(BIG))
  }
  assert.equal(rig.upstream.transcript.length, 3)
  assert.ok((await acme.get(app, digest)).bytes.equals(BIG))
})

test('the disk sets the pace: while it is slow the upstream is paused', async (t) => {
  const { rig, digest, acme, app } = await named(t, BIG)
  const gate = Promise.withResolvers<void>()
  rig.store.slow = gate.promise
  const { sink, piped } = await begin(acme, app, digest)
  await until(() => rig.store.writes.length >= INGEST_LIMITS.writesMax)
  await settle()
  assert.equal(rig.store.writes.length, INGEST_LIMITS.writesMax)
  assert.ok(sink.length <= 3 * MiB, `${sink.length}`)
  gate.resolve()
  rig.store.slow = undefined
  await piped
  assert.ok(sink.bytes().equals(BIG))
})

test('a full disk: after the first failed write none follows, all readers complete, nothing is kept', async (t) => {
  const { rig, digest, acme, app } = await named(t, BIG)
  rig.store.fullFrom = 5 * MiB
  const slow = await begin(acme, app, digest)
  const stall = Promise.withResolvers<void>()
  slow.sink.stalled = stall.promise
  const fast = await begin(acme, app, digest)
  await until(() => rig.count('ingest_straight_through') === 1)
  await settle()
  assert.ok(fast.sink.length < BIG.byteLength, 'the slowest sets the pace')
  const failedAt = rig.store.writes.indexOf(5 * MiB)
  assert.ok(failedAt >= 0 && rig.store.writes.length - failedAt <= INGEST_LIMITS.writesMax)
  const writes = rig.store.writes.length
  rig.store.fullFrom = Number.POSITIVE_INFINITY // Space has come back: too late for this one.
  stall.resolve()
  await Promise.all([slow.piped, fast.piped])
  assert.ok(slow.sink.bytes().equals(BIG) && fast.sink.bytes().equals(BIG))
  await rig.ingests.drain()
  await until(() => rig.store.openFiles === 0)
  assert.deepEqual([rig.store.writes.length, rig.upstream.transcript.length], [writes, 1])
  assert.deepEqual([await rig.drafts(), rig.store.openFiles, await acme.isStored(app, digest)], [[], 0, false])
  assert.ok((await acme.get(app, digest)).bytes.equals(BIG))
  await rig.ingests.drain()
  assert.equal(await acme.isStored(app, digest), true)
})

for (const [title, prepare] of [
  ['there is no room', (rig: BlobRig) => (rig.hasRoom = false)],
  ['the store makes no draft', (rig: BlobRig) => (rig.store.failCreate = true)],
  ['the first write fails', (rig: BlobRig) => (rig.store.fullFrom = 0)],
] as const) {
  test(`when ${title}, blobs stream straight through, verified, one request for who come together`, async (t) => {
    const { rig, digest, acme, app } = await named(t, BIG)
    prepare(rig)
    const pulls = await Promise.all(Array.from({ length: 5 }, () => acme.get(app, digest)))
    for (const { bytes } of pulls) assert.ok(bytes.equals(BIG))
    await rig.ingests.drain()
    assert.equal(rig.upstream.transcript.length, 1)
    assert.deepEqual([await rig.drafts(), rig.store.openFiles, await acme.isStored(app, digest)], [[], 0, false])
    const wrong = Buffer.from(BIG)
    wrong[3] = (wrong[3] ?? 0) ^ 1
    rig.upstream.answers.push({ bytes: wrong })
    const { sink, piped } = await begin(acme, app, digest)
    await assert.rejects(piped, /do not match/)
    assert.ok(sink.length <= BIG.byteLength - HELD_BACK)
  })
}

test('who comes when byte 0 is gone gets a stream of its own, verified too', async (t) => {
  const { rig, digest, acme, app } = await named(t, BIG)
  rig.hasRoom = false
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ hold: { at: 8 * MiB, until: gate.promise } })
  const first = await begin(acme, app, digest)
  await first.sink.until(8 * MiB)
  const late = await begin(acme, app, digest)
  await late.piped
  assert.ok(late.sink.bytes().equals(BIG))
  assert.equal(rig.upstream.transcript.length, 2)
  const wrong = Buffer.from(BIG)
  wrong[0] = (wrong[0] ?? 0) ^ 1
  rig.upstream.answers.push({ bytes: wrong })
  const lied = await begin(acme, app, digest)
  await assert.rejects(lied.piped, /do not match/)
  assert.ok(lied.sink.length <= BIG.byteLength - HELD_BACK)
  gate.resolve()
  await first.piped
  assert.ok(first.sink.bytes().equals(BIG))
})

test('straight through, a reader that takes nothing for 30 s is cut, and the others complete', async (t) => {
  const { rig, digest, acme, app } = await named(t, BIG)
  rig.hasRoom = false
  const stuck = await begin(acme, app, digest)
  stuck.sink.stalled = new Promise(() => {})
  const idle = await acme.open(app, digest) // Never piped.
  const fast = await begin(acme, app, digest)
  await until(() => rig.delays.includes(INGEST_LIMITS.stallMsMax))
  await settle()
  assert.ok(fast.sink.length < BIG.byteLength)
  rig.endStalls() // The stuck one has taken its first bytes in this time, and may be slow.
  await settle()
  assert.ok(fast.sink.length < BIG.byteLength)
  rig.endStalls()
  await fast.piped
  assert.ok(fast.sink.bytes().equals(BIG))
  await assert.rejects(stuck.piped, /took nothing for too long/)
  await assert.rejects(idle.pipe(new Collector()), /took nothing for too long/)
  assert.equal(rig.count('reader_cut'), 2)
})

test('straight through with nobody left to read, the upstream is left alone', async (t) => {
  const { rig, digest, acme, app } = await named(t, BIG)
  rig.hasRoom = false
  const only = await begin(acme, app, digest)
  only.sink.isGone = true
  await only.piped
  await rig.ingests.drain()
  assert.ok(rig.upstream.sentBytes < BIG.byteLength)
  assert.equal(rig.ingests.running, 0)
})

test('a failed ingest cuts every reader, also one that is stuck, and the next request begins anew', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ cutAt: 700_000, hold: { at: 600_000, until: gate.promise } })
  rig.upstream.answers.push({ error: rig.upstream.failure('not_found') })
  const stuck = await begin(acme, app, digest)
  stuck.sink.stalled = new Promise(() => {})
  const fast = await begin(acme, app, digest)
  await fast.sink.until(600_000)
  gate.resolve()
  await assert.rejects(fast.piped)
  await assert.rejects(stuck.piped)
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
})

test('one huge chunk is taken like many small ones', async (t) => {
  const { rig, digest, acme, app } = await named(t, BIG)
  rig.upstream.answers.push({ chunkBytes: BIG.byteLength })
  const [fast, slow] = [await begin(acme, app, digest), await begin(acme, app, digest)]
  await Promise.all([fast.piped, slow.piped])
  assert.ok(fast.sink.bytes().equals(BIG) && slow.sink.bytes().equals(BIG))
  await rig.ingests.drain()
  assert.equal(await acme.isStored(app, digest), true)
})

test('background work is a client’s as soon as one joins it, also where it goes on after a break', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const turn = Promise.withResolvers<void>()
  rig.upstream.answers.push({ before: turn.promise, cutAt: 300_000 })
  const completion = acme.blobs.complete(app, digest)
  await until(() => rig.upstream.transcript.length === 1)
  assert.equal(rig.upstream.promotions, 0)
  const client = acme.get(app, digest)
  await until(() => rig.upstream.promotions === 1)
  const check = acme.blobs.resolveBlob(app, digest)
  turn.resolve()
  assert.ok((await client).bytes.equals(BYTES))
  assert.equal((await check).size, BYTES.byteLength)
  assert.deepEqual([(await completion).kind, rig.upstream.priorities], ['published', ['background', 'client']])
})

test('a client’s HEAD does not wait in the line of background work either', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const turn = Promise.withResolvers<void>()
  rig.upstream.answers.push({ before: turn.promise })
  const completion = acme.blobs.complete(app, digest)
  await until(() => rig.upstream.transcript.length === 1)
  const check = acme.blobs.resolveBlob(app, digest)
  await until(() => rig.upstream.promotions === 1)
  turn.resolve()
  assert.equal((await check).size, BYTES.byteLength)
  await completion
})

test('stopping ends what is running, cuts its readers and leaves no draft', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  rig.upstream.answers.push({ hold: { at: 300_000, until: new Promise(() => {}) } })
  const reading = await begin(acme, app, digest)
  await reading.sink.until(300_000)
  await rig.ingests.stop()
  await assert.rejects(reading.piped, /stopping/)
  assert.deepEqual([await rig.drafts(), rig.store.openFiles], [[], 0])
  await assert.rejects(acme.open(app, digest))
})
