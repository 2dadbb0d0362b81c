import assert from 'node:assert/strict'
import { readdir, readFile, readlink, truncate, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { BlobRig, Collector, settle, until } from '../../test/fakes/blob-rig.ts'
import { BlobUpstream } from '../../test/fakes/blob-upstream.ts'
import { pseudoRandomBytes } from '../../test/fakes/pseudo-random.ts'
import { MiB } from '../base/units.ts'
import { blobPath } from '../blobs/layout.ts'
import { RegistryError } from '../errors.ts'
import { type Digest, digestOf } from '../oci/digest.ts'
import type { RepositoryName } from '../oci/repository-name.ts'

const BYTES = pseudoRandomBytes('layer', 300_000)

function isCase(expected: string) {
  return (error: unknown) => error instanceof RegistryError && error.case === expected
}

/** An organization with one repository whose manifest names `bytes`, which the upstream has. */
async function named(t: Parameters<typeof BlobRig.open>[0], bytes: Buffer = BYTES) {
  const rig = await BlobRig.open(t)
  const digest = rig.upstream.put('app', bytes)
  const acme = await rig.organization('acme')
  const app = await acme.repository('app', [{ digest, size: bytes.byteLength }])
  return { rig, digest, acme, app, path: blobPath(join(rig.folder, 'blobs'), digest) }
}

/** Files of the store that this process has open. */
async function openFiles(rig: BlobRig): Promise<string[]> {
  const handles = await readdir('/proc/self/fd')
  const targets = await Promise.all(handles.map((handle) => readlink(`/proc/self/fd/${handle}`).catch(() => '')))
  return targets.filter((target) => target.startsWith(join(rig.folder, 'blobs')))
}

test('a missing blob is fetched once, kept, and then served without asking anybody', async (t) => {
  const { rig, digest, acme, app, path } = await named(t)
  const first = await acme.get(app, digest)
  assert.deepEqual([first.outcome, first.served.size, first.bytes.equals(BYTES)], ['miss', 300_000, true])
  await rig.ingests.drain()
  assert.ok((await readFile(path)).equals(BYTES))
  const second = await acme.get(app, digest)
  assert.deepEqual([second.outcome, second.served.provenance.upstreamMs, second.bytes.equals(BYTES)], ['hit', 0, true])
  assert.deepEqual(rig.upstream.transcript, [`GET app ${digest.slice(0, 12)}`])
  assert.deepEqual(await rig.drafts(), [])
})

test('fifty who ask at once, and more while it is published, cost one request', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const first = await Promise.all(Array.from({ length: 50 }, () => acme.get(app, digest)))
  const later = await Promise.all(Array.from({ length: 20 }, () => acme.get(app, digest)))
  for (const { bytes } of [...first, ...later]) assert.ok(bytes.equals(BYTES))
  assert.equal(rig.upstream.transcript.length, 1)
})

test('no file stays open after many pulls of every kind', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const reading = await acme.open(app, digest)
  assert.equal((await openFiles(rig)).length, 1)
  await reading.pipe(new Collector())
  await Promise.all(Array.from({ length: 10 }, () => acme.get(app, digest)))
  await rig.ingests.drain()
  for (let pull = 0; pull < 10; pull += 1) await acme.get(app, digest, { start: pull })
  const unread = await acme.open(app, digest)
  unread.close()
  unread.close()
  await rig.shelf.drain()
  await until(() => rig.store.openFiles === 0)
  assert.deepEqual(await openFiles(rig), [])
})

test('the upstream’s refusal of the first question is the answer of all who wait', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  for (const [failure, expected] of [
    ['not_found', 'BLOB_UNKNOWN'],
    ['denied', 'DENIED'],
    ['rate_limited', 'TOO_MANY_REQUESTS'],
    ['server_error', 'UNAVAILABLE'],
    ['timeout', 'UPSTREAM_TIMEOUT'],
  ] as const) {
    rig.upstream.answers.push({ error: rig.upstream.failure(failure) })
    const asked = rig.upstream.transcript.length
    const pulls = Array.from({ length: 3 }, () => acme.open(app, digest))
    for (const pull of pulls) await assert.rejects(pull, isCase(expected))
    assert.equal(rig.upstream.transcript.length, asked + 1)
  }
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
})

test('HEAD downloads nothing, is answered by a running ingest, and then by what is stored', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const head = `HEAD app ${digest.slice(0, 12)}`
  assert.equal((await acme.blobs.resolveBlob(app, digest)).size, 300_000)
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ hold: { at: 10, until: gate.promise } })
  const pull = acme.get(app, digest)
  await until(() => rig.ingests.running === 1)
  assert.equal((await acme.blobs.resolveBlob(app, digest)).provenance.outcome, 'miss')
  gate.resolve()
  await pull
  await rig.ingests.drain()
  assert.equal((await acme.blobs.resolveBlob(app, digest)).provenance.outcome, 'hit')
  assert.deepEqual(rig.upstream.transcript, [head, `GET app ${digest.slice(0, 12)}`])
})

test('HEAD does not believe a size other than the manifest’s', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  rig.upstream.headSize = 5
  await assert.rejects(acme.blobs.resolveBlob(app, digest), isCase('UNAVAILABLE'))
})

test('a frozen organization serves what it holds and knows nothing else', async (t) => {
  const rig = await BlobRig.open(t)
  const digest = rig.upstream.put('app', BYTES)
  const frozen = await rig.organization('frozen', { isFrozen: true })
  const app = await frozen.repository('app', [{ digest, size: BYTES.byteLength }])
  await assert.rejects(frozen.open(app, digest), isCase('BLOB_UNKNOWN'))
  await assert.rejects(frozen.blobs.resolveBlob(app, digest), isCase('BLOB_UNKNOWN'))
  assert.deepEqual(rig.upstream.transcript, [])
})

test('a blob that no manifest names is streamed, verified, and not kept', async (t) => {
  const rig = await BlobRig.open(t)
  const digest = rig.upstream.put('app', BYTES)
  const acme = await rig.organization('acme')
  const unknown = { id: undefined, name: 'app' as RepositoryName }
  const held = await acme.repository('app')
  for (const repository of [unknown, held]) {
    const { bytes, outcome } = await acme.get(repository, digest)
    assert.deepEqual([outcome, bytes.equals(BYTES)], ['miss', true])
    await rig.ingests.drain()
    await until(() => rig.store.openFiles === 0)
    assert.equal(await rig.store.find(digest), undefined)
    assert.deepEqual(await rig.drafts(), [])
  }
  rig.upstream.always = { bytes: Buffer.concat([BYTES.subarray(1), Buffer.of(0)]) }
  await assert.rejects(acme.get(held, digest))
})

test('what nobody is charged for when it begins to arrive is not kept, and is the next time', async (t) => {
  const rig = await BlobRig.open(t)
  const digest = rig.upstream.put('app', BYTES)
  const acme = await rig.organization('acme')
  const app = await acme.repository('app')
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ hold: { at: 1000, until: gate.promise } })
  const pull = acme.get(app, digest)
  await until(() => rig.ingests.running === 1)
  await acme.name(app.id, [{ digest, size: BYTES.byteLength }])
  gate.resolve()
  await pull
  await rig.ingests.drain()
  assert.equal(await acme.isStored(app, digest), false)
  await acme.get(app, digest)
  await rig.ingests.drain()
  assert.equal(await acme.isStored(app, digest), true)
})

test('what another repository holds is confirmed by the upstream in this one, and its 404 is ours', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  await acme.get(app, digest)
  await rig.ingests.drain()
  const other = await acme.repository('other')
  await assert.rejects(acme.open(other, digest), isCase('BLOB_UNKNOWN'))
  rig.upstream.put('other', BYTES)
  const { outcome, bytes } = await acme.get(other, digest)
  assert.deepEqual([outcome, bytes.equals(BYTES)], ['revalidated', true])
  const short = digest.slice(0, 12)
  assert.deepEqual(rig.upstream.transcript, [`GET app ${short}`, `HEAD other ${short}`, `HEAD other ${short}`])
})

test('what another repository is receiving is joined only with the upstream’s word for this one', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const other = await acme.repository('other')
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ hold: { at: 1000, until: gate.promise } })
  const pull = acme.get(app, digest)
  await until(() => rig.ingests.running === 1)
  await assert.rejects(acme.open(other, digest), isCase('BLOB_UNKNOWN'))
  await assert.rejects(acme.blobs.resolveBlob(other, digest), isCase('BLOB_UNKNOWN'))
  rig.upstream.put('other', BYTES)
  const joined = acme.get(other, digest)
  await settle()
  gate.resolve()
  assert.ok((await joined).bytes.equals(BYTES))
  await pull
  assert.equal(rig.upstream.transcript.filter((line) => line.startsWith('GET')).length, 1)
})

test('a hostile upstream that names another organization’s digest gets nothing', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  await acme.get(app, digest)
  await rig.ingests.drain()
  for (const [name, upstream, mayReuse, expected] of [
    ['says-404', new BlobUpstream('hostile.example'), true, 'BLOB_UNKNOWN'],
    ['says-yes', Object.assign(new BlobUpstream('hostile.example'), { headSize: 300_000 }), false, 'BLOB_UNKNOWN'],
    ['lies-about-size', Object.assign(new BlobUpstream('hostile.example'), { headSize: 1 }), true, 'BLOB_UNKNOWN'],
  ] as const) {
    const evil = await rig.organization(name, { upstream, mayReuse })
    const repository = await evil.repository('app', [{ digest, size: 300_000 }])
    await assert.rejects(evil.open(repository, digest), isCase(expected), name)
    await assert.rejects(evil.openPart(repository, digest, { start: 0, end: 9 }), isCase(expected), name)
    assert.equal(await evil.isStored(repository, digest), false, name)
  }
  const liar = new BlobUpstream('hostile.example')
  liar.always = { bytes: Buffer.alloc(300_000) }
  const evil = await rig.organization('sends-zeros', { upstream: liar })
  const repository = await evil.repository('app', [{ digest, size: 300_000 }])
  await assert.rejects(evil.get(repository, digest))
  assert.equal(await evil.isStored(repository, digest), false)
})

test('the same upstream that has just confirmed the blob replaces the download, and only that', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  await acme.get(app, digest)
  await rig.ingests.drain()
  const second = await rig.organization('second', { mayReuse: true })
  const theirs = await second.repository('app', [{ digest, size: 300_000 }])
  rig.upstream.headError = rig.upstream.failure('denied')
  await assert.rejects(second.open(theirs, digest), isCase('DENIED'))
  rig.upstream.headError = undefined
  rig.upstream.transcript.length = 0
  const pulls = await Promise.all(Array.from({ length: 5 }, () => second.get(theirs, digest)))
  for (const { outcome, bytes } of pulls) assert.ok(bytes.equals(BYTES) && outcome !== 'stale')
  assert.deepEqual(rig.upstream.transcript, [`HEAD app ${digest.slice(0, 12)}`])
  assert.equal((await second.get(theirs, digest)).outcome, 'hit')
})

test('an organization that may not reuse downloads, and one copy is kept', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const second = await rig.organization('second')
  const theirs = await second.repository('app', [{ digest, size: 300_000 }])
  await Promise.all([acme.get(app, digest), second.get(theirs, digest)])
  await rig.ingests.drain()
  assert.equal(rig.upstream.transcript.length, 2)
  assert.deepEqual([await acme.isStored(app, digest), await second.isStored(theirs, digest)], [true, true])
  assert.deepEqual([(await rig.store.find(digest))?.sizeBytes, await rig.drafts()], [300_000, []])
})

for (const [damage, harm] of [
  ['missing', (path: string) => unlink(path)],
  ['truncated', (path: string) => truncate(path, 1000)],
  ['too long', (path: string) => writeFile(path, Buffer.concat([BYTES, BYTES]))],
] as const) {
  test(`a stored blob that is ${damage} is fetched again in the request that met it, once for all`, async (t) => {
    const { rig, digest, acme, app, path } = await named(t)
    await acme.get(app, digest)
    await rig.ingests.drain()
    await acme.get(app, digest)
    await harm(path)
    const pulls = await Promise.all(Array.from({ length: 8 }, () => acme.get(app, digest)))
    for (const { bytes } of pulls) assert.ok(bytes.equals(BYTES))
    await rig.ingests.drain()
    assert.ok((await readFile(path)).equals(BYTES))
    assert.equal((await acme.get(app, digest)).outcome, 'hit')
    assert.equal(rig.upstream.transcript.length, 2)
    await until(() => rig.store.openFiles === 0)
  })
}

test('stored bytes that were changed never complete, and the next request fetches them again', async (t) => {
  const { rig, digest, acme, app, path } = await named(t)
  await acme.get(app, digest)
  await rig.ingests.drain()
  const damaged = Buffer.from(BYTES)
  damaged[0] = (damaged[0] ?? 0) ^ 1
  await writeFile(path, damaged)
  const sink = new Collector()
  await assert.rejects((await acme.open(app, digest)).pipe(sink), /do not match/)
  assert.ok(sink.length <= 300_000 - 65_536)
  assert.equal(await acme.isStored(app, digest), false)
  const again = await acme.get(app, digest)
  assert.deepEqual([again.outcome, again.bytes.equals(BYTES)], ['miss', true])
  await rig.ingests.drain()
  assert.ok((await readFile(path)).equals(BYTES))
})

test('a range of changed bytes starts a verification that finds them out', async (t) => {
  const { rig, digest, acme, app, path } = await named(t)
  await acme.get(app, digest)
  await rig.ingests.drain()
  await writeFile(path, Buffer.alloc(300_000))
  await acme.get(app, digest, { start: 5, end: 9 })
  await rig.shelf.drain()
  assert.equal(await acme.isStored(app, digest), false)
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
})

test('a disk that cannot read a blob has damaged it', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  await acme.get(app, digest)
  await rig.ingests.drain()
  rig.store.failRead = true
  await assert.rejects(acme.get(app, digest), /cannot read a stored blob/)
  rig.store.failRead = false
  const again = await acme.get(app, digest)
  assert.deepEqual([again.outcome, again.bytes.equals(BYTES)], ['miss', true])
})

test('a file is verified on its first whole read only', async (t) => {
  const { rig, digest, acme, app } = await named(t, pseudoRandomBytes('large', 3 * MiB))
  await acme.get(app, digest)
  await rig.ingests.drain()
  for (const last of [65_536, 524_288]) {
    const sink = new Collector()
    const sizes: number[] = []
    const served = await acme.open(app, digest)
    const write = (block: Uint8Array) => {
      sizes.push(block.byteLength)
      return sink.write(block)
    }
    await served.pipe({ write })
    assert.equal(sink.length, 3 * MiB)
    assert.ok((sizes.at(-1) ?? 0) >= last)
  }
  assert.equal(digestOf((await acme.get(app, digest)).bytes), digest)
})

test('of a stored blob every single range is exact', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  await acme.get(app, digest)
  await rig.ingests.drain()
  for (const [range, start, end] of [
    [{ start: 0, end: 0 }, 0, 0],
    [{ start: 100, end: 199 }, 100, 199],
    [{ start: 299_990 }, 299_990, 299_999],
    [{ suffixLength: 5 }, 299_995, 299_999],
    [{ suffixLength: 999_999 }, 0, 299_999],
    [{ start: 5, end: 999_999 }, 5, 299_999],
  ] as const) {
    const { bytes, served } = await acme.get(app, digest, range)
    assert.deepEqual(served.range, { start, end })
    assert.ok(bytes.equals(BYTES.subarray(start, end + 1)))
  }
  assert.deepEqual(await acme.openPart(app, digest, { start: 300_000 }), { kind: 'unsatisfiable', size: 300_000 })
  assert.deepEqual(await acme.openPart(app, digest, { suffixLength: 0 }), { kind: 'unsatisfiable', size: 300_000 })
})

test('of a missing blob a range waits for the ingest when it is near, and starts it when there is none', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  const parts = await Promise.all([
    acme.get(app, digest, { start: 0, end: 99 }),
    acme.get(app, digest, { start: 250_000 }),
    acme.get(app, digest, { suffixLength: 7 }),
  ])
  assert.ok(parts[0].bytes.equals(BYTES.subarray(0, 100)))
  assert.ok(parts[1].bytes.equals(BYTES.subarray(250_000)))
  assert.ok(parts[2].bytes.equals(BYTES.subarray(-7)))
  await rig.ingests.drain()
  assert.deepEqual(rig.upstream.transcript, [`GET app ${digest.slice(0, 12)}`])
  assert.equal(await acme.isStored(app, digest), true)
})

test('ranges far ahead are asked of the upstream, two at a time, and the third waits for the ingest', async (t) => {
  const bytes = pseudoRandomBytes('big', 20 * MiB)
  const { rig, digest, acme, app } = await named(t, bytes)
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ hold: { at: 1000, until: gate.promise } })
  const whole = acme.get(app, digest)
  await until(() => rig.ingests.running === 1)
  const start = 19 * MiB
  const range = { start, end: start + 9 }
  const held = [await acme.open(app, digest, range), await acme.open(app, digest, range)]
  const third = await acme.open(app, digest, range)
  const sink = new Collector()
  const waiting = third.pipe(sink)
  await settle()
  assert.deepEqual([rig.upstream.transcript.length, sink.length], [3, 0])
  for (const served of held) {
    const part = new Collector()
    await served.pipe(part)
    assert.ok(part.bytes().equals(bytes.subarray(start, start + 10)))
  }
  gate.resolve()
  await waiting
  assert.ok(sink.bytes().equals(bytes.subarray(start, start + 10)))
  assert.ok((await whole).bytes.equals(bytes))
})

test('a range far ahead that the upstream refuses or ignores waits for the ingest', async (t) => {
  const bytes = pseudoRandomBytes('big', 20 * MiB)
  const { rig, digest, acme, app } = await named(t, bytes)
  const gate = Promise.withResolvers<void>()
  rig.upstream.answers.push({ hold: { at: 1000, until: gate.promise } })
  rig.upstream.answers.push({ error: rig.upstream.failure('server_error') }, { ignoreRange: true })
  const whole = acme.get(app, digest)
  await until(() => rig.ingests.running === 1)
  const parts = [acme.get(app, digest, { start: 19 * MiB }), acme.get(app, digest, { suffixLength: 3 })]
  await settle()
  gate.resolve()
  assert.ok((await parts[0])?.bytes.equals(bytes.subarray(19 * MiB)))
  assert.ok((await parts[1])?.bytes.equals(bytes.subarray(-3)))
  await whole
})

test('a publication that fails costs the pull nothing, and the blob is fetched again', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  rig.store.failPublish = true
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
  await rig.ingests.drain()
  assert.deepEqual([await acme.isStored(app, digest), await rig.drafts()], [false, []])
  rig.store.failPublish = false
  assert.ok((await acme.get(app, digest)).bytes.equals(BYTES))
  await rig.ingests.drain()
  assert.equal(await acme.isStored(app, digest), true)
  assert.equal(rig.count('publish_failed'), 1)
})

test('bytes that were published when the process died before their row are adopted', async (t) => {
  const { rig, digest, acme, app, path } = await named(t)
  const draft = await rig.store.create()
  await draft.write(BYTES, 0)
  await draft.publish(digest)
  await draft.close()
  assert.equal((await acme.get(app, digest)).outcome, 'miss')
  await rig.ingests.drain()
  assert.equal((await acme.get(app, digest)).outcome, 'hit')
  assert.ok((await readFile(path)).equals(BYTES))
})

test('sha512 and empty blobs are verified and kept like all others', async (t) => {
  const rig = await BlobRig.open(t)
  const acme = await rig.organization('acme')
  for (const bytes of [Buffer.alloc(0), Buffer.from('x'), BYTES]) {
    for (const algorithm of ['sha256', 'sha512'] as const) {
      const digest: Digest = rig.upstream.put(`app${bytes.byteLength}`, bytes, algorithm)
      const app = await acme.repository(`app${bytes.byteLength}`)
      await acme.name(app.id, [{ digest, size: bytes.byteLength }])
      assert.ok((await acme.get(app, digest)).bytes.equals(bytes))
      await rig.ingests.drain()
      const hit = await acme.get(app, digest)
      assert.deepEqual([hit.outcome, hit.bytes.equals(bytes), hit.served.size], ['hit', true, bytes.byteLength])
    }
  }
  const wrong = digestOf(Buffer.from('not empty'))
  rig.upstream.always = { bytes: Buffer.alloc(0) }
  const app = await acme.repository('wrong', [{ digest: wrong, size: 0 }])
  await assert.rejects(acme.get(app, wrong))
})

test('forgetting a link asks the database again', async (t) => {
  const { rig, digest, acme, app } = await named(t)
  await acme.get(app, digest)
  await rig.ingests.drain()
  await acme.get(app, digest)
  await rig.metadata.db.deleteFrom('manifest_blob').execute()
  assert.equal((await acme.get(app, digest)).outcome, 'hit')
  acme.blobs.forget(digest)
  assert.equal((await acme.get(app, digest)).outcome, 'revalidated')
})
