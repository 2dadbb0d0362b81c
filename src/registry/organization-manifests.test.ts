import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openSpace } from '../../test/fakes/open-space.ts'
import { emptyImage, indexOf, makeManifest, ScriptedUpstream } from '../../test/fakes/scripted-upstream.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../base/units.ts'
import { openFileBlobStore } from '../blobs/file-blob-store.ts'
import { RegistryError } from '../errors.ts'
import { findManifest } from '../metadata/manifests.ts'
import { openMetadata } from '../metadata/open.ts'
import { createOrganization } from '../metadata/organizations.ts'
import { findRepository } from '../metadata/repositories.ts'
import { findTag } from '../metadata/tags.ts'
import type { Digest } from '../oci/digest.ts'
import { parseReference, type Reference } from '../oci/reference.ts'
import { OrganizationLists } from './organization-lists.ts'
import { OrganizationManifests } from './organization-manifests.ts'
import type { OrganizationView } from './organization-view.ts'
import type { TagPolicy } from './tag-decision.ts'

const startMs = 1_800_000_000_000

async function open(t: TestContext, changes: { policy?: Partial<TagPolicy>; view?: Partial<OrganizationView> } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-manifests-'))
  const metadata = await openMetadata({ uri: undefined, dataFolder: folder })
  t.after(async () => {
    await metadata.close()
    await rm(folder, { recursive: true, force: true })
  })
  const row = await createOrganization(metadata.db, {
    name: 'org',
    email: undefined,
    nowMs: startMs,
    tagExpirationSeconds: 14 * 86_400,
  })
  const time = { nowMs: startMs }
  const clock = () => time.nowMs
  const events: string[] = []
  const report = (event: string) => void events.push(event)
  const upstream = new ScriptedUpstream()
  const policy: TagPolicy = {
    expirationMs: DAY_MS,
    revalidateAfterMs: 0,
    maxStaleMs: undefined,
    refuseWhenDenied: false,
    windowMs: 14 * DAY_MS,
    renews: true,
    ...changes.policy,
  }
  const view: OrganizationView = {
    id: row.id,
    name: row.name,
    generation: row.generation,
    policy,
    rules: { allowed: [], denied: [] },
    frozen: false,
    passesTooLarge: false,
    mirrorHost: undefined,
    upstream: { client: upstream, namespace: undefined, isDockerHub: false },
    ...changes.view,
  }
  const patience = { isOver: false }
  const state = { hasRoom: true }
  const store = await openFileBlobStore({ folder: join(folder, 'blobs'), leaseId: 'test' })
  const opened = openSpace({ metadata, store, clock, hasRoom: () => state.hasRoom, onEvent: report })
  const { memory, uses, space } = opened
  const deps = {
    metadata,
    memory,
    uses,
    clock,
    space,
    report,
    delayMs: () => (patience.isOver ? Promise.resolve() : new Promise<void>(() => {})),
  }
  const manifests = new OrganizationManifests(view, deps)
  const lists = new OrganizationLists(view, deps, manifests)
  const get = (text: string) => manifests.getManifest('app', reference(text))
  const head = (text: string) => manifests.resolveManifest('app', reference(text))
  return { metadata, memory, upstream, time, events, uses, manifests, lists, get, head, view, patience, state, deps }
}

function reference(text: string): Reference {
  const parsed = parseReference(text)
  if (parsed === undefined) throw new Error(`not a reference: ${text}`)
  return parsed
}

function refusal(code: string, status: number) {
  return (error: unknown) => error instanceof RegistryError && error.code === code && error.status === status
}

test("a first pull costs one GET, the next one HEAD, and both give the upstream's bytes", async (t) => {
  const { upstream, get } = await open(t)
  const image = emptyImage('one')
  upstream.put('app', 'latest', image)
  const first = await get('latest')
  const second = await get('latest')
  assert.deepEqual([first.provenance.outcome, second.provenance.outcome], ['miss', 'revalidated'])
  assert.deepEqual([first.bytes, second.bytes], [image.bytes, image.bytes])
  assert.deepEqual(upstream.transcript, ['GET app latest', 'HEAD app latest'])
})

test('all who ask at once share one question', async (t) => {
  const { upstream, get } = await open(t)
  upstream.put('app', 'latest', emptyImage('one'))
  await Promise.all(Array.from({ length: 10 }, () => get('latest')))
  assert.deepEqual(upstream.transcript, ['GET app latest'])
  upstream.transcript.length = 0
  await Promise.all(Array.from({ length: 10 }, () => get('latest')))
  assert.deepEqual(upstream.transcript, ['HEAD app latest'])
})

test('when the digest is another the tag moves, and the old digest stays', async (t) => {
  const { upstream, get, metadata, view } = await open(t)
  const [old, young] = [emptyImage('old'), emptyImage('young')]
  upstream.put('app', 'latest', old)
  await get('latest')
  upstream.put('app', 'latest', young)
  const answer = await get('latest')
  assert.deepEqual([answer.provenance.outcome, answer.descriptor.digest], ['miss', young.descriptor.digest])
  const repository = await findRepository(metadata.db, view.id, view.generation, 'app')
  assert.ok(repository)
  assert.ok(await findManifest(metadata.db, repository.id, old.descriptor.digest))
  assert.equal((await findTag(metadata.db, repository.id, 'latest'))?.digest, young.descriptor.digest)
})

test('a question that takes too long is answered from the copy and goes on by itself', async (t) => {
  const { upstream, get, patience } = await open(t)
  const [old, young] = [emptyImage('old'), emptyImage('young')]
  upstream.put('app', 'latest', old)
  await get('latest')
  upstream.put('app', 'latest', young)
  const gate = Promise.withResolvers<void>()
  upstream.gate = gate.promise
  patience.isOver = true
  const answer = await get('latest')
  assert.deepEqual([answer.provenance.outcome, answer.provenance.staleReason], ['stale', 'timeout'])
  assert.deepEqual(answer.bytes, old.bytes)
  const waiting = get('latest')
  patience.isOver = false
  gate.resolve()
  await waiting
  upstream.failures.set('all', 'unreachable')
  assert.deepEqual((await get('latest')).bytes, young.bytes)
})

test('a stale pull counts as use but does not renew the expiry', async (t) => {
  const { upstream, get, time, uses, metadata, view } = await open(t)
  upstream.put('app', 'latest', emptyImage('one'))
  await get('latest')
  upstream.failures.set('all', 'unreachable')
  time.nowMs += HOUR_MS
  await get('latest')
  await uses.flush()
  const repository = await findRepository(metadata.db, view.id, view.generation, 'app')
  const tag = await findTag(metadata.db, repository?.id ?? 0, 'latest')
  assert.deepEqual([tag?.lastUsedAtMs, tag?.expiresAtMs], [startMs + HOUR_MS, startMs + DAY_MS])
})

test('a kept tag lives again when the upstream confirms it, and nothing is downloaded', async (t) => {
  const { upstream, get, time } = await open(t)
  upstream.put('app', 'latest', emptyImage('one'))
  await get('latest')
  time.nowMs += 2 * DAY_MS
  upstream.transcript.length = 0
  assert.equal((await get('latest')).provenance.outcome, 'revalidated')
  assert.deepEqual(upstream.transcript, ['HEAD app latest'])
  time.nowMs += DAY_MS - 1
  upstream.failures.set('all', 'not_found')
  assert.equal((await get('latest')).provenance.staleReason, 'gone')
})

test('a digest by HEAD stores nothing, and its GET stores manifest and tag', async (t) => {
  const { upstream, get, head, metadata, view } = await open(t)
  const image = emptyImage('one')
  upstream.put('app', 'latest', image)
  assert.equal((await head('latest')).descriptor.digest, image.descriptor.digest)
  assert.equal(await findRepository(metadata.db, view.id, view.generation, 'app'), undefined)
  await get(image.descriptor.digest)
  assert.deepEqual(upstream.transcript, ['HEAD app latest', `GET app ${image.descriptor.digest}`])
  const repository = await findRepository(metadata.db, view.id, view.generation, 'app')
  assert.ok(await findTag(metadata.db, repository?.id ?? 0, 'latest'))
})

test('a tag whose digest is held already is there after the HEAD and GET of docker and containerd', async (t) => {
  const { upstream, get, head, metadata, manifests, view } = await open(t)
  const [first, second] = [emptyImage('one'), emptyImage('two')]
  upstream.put('app', '1.0', first)
  upstream.put('app', 'latest', second)
  await get('1.0')
  await get('latest')
  for (const tag of ['latest', 'stable']) {
    upstream.put('app', tag, first)
    await head(tag)
  }
  const reference = { kind: 'digest', digest: first.descriptor.digest } as const
  assert.equal(manifests.recall('app', reference), undefined, 'the hot path does not pass over the tags')
  upstream.transcript.length = 0
  await get(first.descriptor.digest)
  assert.deepEqual(upstream.transcript, [])
  const repository = await findRepository(metadata.db, view.id, view.generation, 'app')
  for (const tag of ['1.0', 'latest', 'stable']) {
    assert.equal((await findTag(metadata.db, repository?.id ?? 0, tag))?.digest, first.descriptor.digest, tag)
  }
  assert.ok(manifests.recall('app', reference))
})

test('a digest that is held costs no request, and one asked for alone is a by-digest image', async (t) => {
  const { upstream, get, metadata, view } = await open(t)
  const child = emptyImage('child')
  const index = indexOf(child)
  upstream.put('app', 'multi', index)
  upstream.put('app', 'other', child)
  await get('multi')
  await get(child.descriptor.digest)
  const alone = emptyImage('alone')
  upstream.put('app', 'alone', alone)
  await get(alone.descriptor.digest)
  upstream.transcript.length = 0
  for (const digest of [index, child, alone].map((manifest) => manifest.descriptor.digest)) {
    assert.equal((await get(digest)).provenance.outcome, 'hit')
  }
  assert.deepEqual(upstream.transcript, [])
  const repositoryId = (await findRepository(metadata.db, view.id, view.generation, 'app'))?.id ?? 0
  const isByDigest = async (digest: Digest) => (await findManifest(metadata.db, repositoryId, digest))?.isByDigest
  assert.equal(await isByDigest(child.descriptor.digest), false)
  assert.equal(await isByDigest(alone.descriptor.digest), true)
})

test('a pull by digest renews the live tags and indexes that hold it, and brings no expired tag back', async (t) => {
  const { upstream, get, time, uses, metadata, view } = await open(t)
  const child = emptyImage('child')
  upstream.put('app', 'child', child)
  upstream.put('app', 'early', indexOf(child, emptyImage('other')))
  upstream.put('app', 'late', indexOf(child))
  await get('early')
  time.nowMs += 2 * HOUR_MS
  await get('late')
  time.nowMs = startMs + DAY_MS + HOUR_MS
  await get(child.descriptor.digest)
  await get(child.descriptor.digest)
  await uses.flush()
  const repositoryId = (await findRepository(metadata.db, view.id, view.generation, 'app'))?.id ?? 0
  assert.equal((await findTag(metadata.db, repositoryId, 'late'))?.expiresAtMs, time.nowMs + DAY_MS)
  assert.equal((await findTag(metadata.db, repositoryId, 'early'))?.expiresAtMs, startMs + DAY_MS)
})

test('a 404 is remembered for ten seconds and writes nothing', async (t) => {
  const { upstream, get, time } = await open(t)
  await assert.rejects(get('nothing'), refusal('MANIFEST_UNKNOWN', 404))
  await assert.rejects(get('nothing'), refusal('MANIFEST_UNKNOWN', 404))
  assert.deepEqual(upstream.transcript, ['GET app nothing'])
  time.nowMs += 10 * SECOND_MS
  upstream.put('app', 'nothing', emptyImage('something'))
  assert.equal((await get('nothing')).provenance.outcome, 'miss')
})

test('what is no manifest is a failure of the upstream; schema 1 is told to the client', async (t) => {
  const { upstream, get } = await open(t)
  upstream.put('app', 'html', makeManifest('<html>', 'text/html'))
  upstream.put('app', 'error', makeManifest('{"errors":[]}', 'application/json'))
  upstream.put(
    'app',
    'old',
    makeManifest('{"schemaVersion":1}', 'application/vnd.docker.distribution.manifest.v1+json'),
  )
  await assert.rejects(get('html'), refusal('UNAVAILABLE', 502))
  await assert.rejects(get('error'), refusal('UNAVAILABLE', 502))
  await assert.rejects(get('old'), (error) => {
    assert.match(String(error), /schema 1/)
    return refusal('MANIFEST_UNKNOWN', 404)(error)
  })
})

test('refuse_when_denied refuses by tag and by digest, as long as it lasts', async (t) => {
  const { upstream, get, events } = await open(t, { policy: { refuseWhenDenied: true } })
  const image = emptyImage('one')
  upstream.put('app', 'latest', image)
  await get('latest')
  upstream.failures.set('all', 'denied')
  await assert.rejects(get('latest'), refusal('DENIED', 403))
  await assert.rejects(get('latest'), refusal('DENIED', 403))
  await assert.rejects(get(image.descriptor.digest), refusal('DENIED', 403))
  assert.deepEqual(events, ['repository_denied'])
  upstream.failures.clear()
  assert.equal((await get('latest')).provenance.outcome, 'revalidated')
  assert.equal((await get(image.descriptor.digest)).provenance.outcome, 'hit')
})

test('without room nothing is kept and the pull is answered all the same', async (t) => {
  const { upstream, get, metadata, view, state } = await open(t)
  state.hasRoom = false
  upstream.put('app', 'latest', emptyImage('one'))
  assert.equal((await get('latest')).provenance.outcome, 'miss')
  assert.equal(await findRepository(metadata.db, view.id, view.generation, 'app'), undefined)
})

test('a database that cannot be written makes a pull no error', async (t) => {
  const { upstream, get, metadata, deps, view } = await open(t)
  upstream.put('app', 'latest', emptyImage('one'))
  const broken = { ...metadata, transaction: () => Promise.reject(new Error('disk I/O error')) }
  const space = { keepImage: () => broken.transaction() }
  const manifests = new OrganizationManifests(view, { ...deps, metadata: broken, space })
  assert.equal((await manifests.getManifest('app', reference('latest'))).provenance.outcome, 'miss')
  assert.equal((await get('latest')).provenance.outcome, 'miss')
})

test('a frozen organization serves what is alive and asks nobody', async (t) => {
  const { upstream, get, view, deps } = await open(t)
  upstream.put('app', 'latest', emptyImage('one'))
  await get('latest')
  upstream.transcript.length = 0
  const frozen = new OrganizationManifests({ ...view, frozen: true }, deps)
  assert.equal((await frozen.getManifest('app', reference('latest'))).provenance.outcome, 'hit')
  await assert.rejects(frozen.getManifest('app', reference('other')), /frozen/)
  assert.deepEqual(upstream.transcript, [])
})

test('a hit in memory is recalled without waiting, and only while it needs no question', async (t) => {
  const { upstream, get, manifests, time } = await open(t, { policy: { revalidateAfterMs: MINUTE_MS } })
  const image = emptyImage('one')
  upstream.put('app', 'latest', image)
  assert.equal(manifests.recall('app', reference('latest')), undefined)
  await get('latest')
  assert.equal(manifests.recall('app', reference('latest'))?.manifest.descriptor.digest, image.descriptor.digest)
  time.nowMs += MINUTE_MS
  assert.equal(manifests.recall('app', reference('latest')), undefined)
  assert.ok(manifests.recall('app', reference(image.descriptor.digest)))
})

test('an image whose tags have expired lives by itself when it is pulled by digest', async (t) => {
  const { upstream, get, metadata, time, uses, view } = await open(t)
  const image = emptyImage('one')
  upstream.put('app', 'latest', image)
  await get('latest')
  time.nowMs += 2 * DAY_MS
  await get(image.descriptor.digest)
  await uses.flush()
  const repository = await findRepository(metadata.db, view.id, view.generation, 'app')
  const manifest = await findManifest(metadata.db, repository?.id ?? 0, image.descriptor.digest)
  assert.deepEqual([manifest?.isByDigest, manifest?.expiresAtMs], [true, time.nowMs + DAY_MS])
  assert.equal((await findTag(metadata.db, repository?.id ?? 0, 'latest'))?.expiresAtMs, startMs + DAY_MS)
})

test('without an upstream pulls leave the expiry as it is', async (t) => {
  const { upstream, get, metadata, time, uses, view, deps } = await open(t)
  upstream.put('app', 'latest', emptyImage('one'))
  await get('latest')
  time.nowMs += HOUR_MS
  const policy = { ...view.policy, expirationMs: undefined, renews: false }
  const left = new OrganizationManifests({ ...view, policy, upstream: undefined }, deps)
  assert.equal((await left.getManifest('app', reference('latest'))).provenance.outcome, 'hit')
  await uses.flush()
  const repository = await findRepository(metadata.db, view.id, view.generation, 'app')
  const tag = await findTag(metadata.db, repository?.id ?? 0, 'latest')
  assert.deepEqual([tag?.expiresAtMs, tag?.lastUsedAtMs], [startMs + DAY_MS, time.nowMs])
})

test('a repository that a new rule denies is not recalled', async (t) => {
  const { upstream, get, view, deps } = await open(t, { policy: { revalidateAfterMs: MINUTE_MS } })
  upstream.put('app', 'latest', emptyImage('one'))
  await get('latest')
  const strict = new OrganizationManifests({ ...view, rules: { allowed: [], denied: ['app'] } }, deps)
  assert.equal(strict.recall('app', reference('latest')), undefined)
  await assert.rejects(strict.getManifest('app', reference('latest')), refusal('DENIED', 403))
})

test("the list of tags is the upstream's merged with ours, kept for a minute, and ours alone when it is down", async (t) => {
  const { upstream, get, lists, time } = await open(t)
  upstream.put('app', 'b', emptyImage('b'))
  upstream.put('app', 'a', emptyImage('a'))
  await get('b')
  assert.deepEqual((await lists.listTags('app')).tags, ['a', 'b'])
  upstream.manifests.delete('app:b')
  assert.deepEqual((await lists.listTags('app')).tags, ['a', 'b'])
  assert.equal(upstream.transcript.filter((line) => line.endsWith('tags/list')).length, 1)
  time.nowMs += MINUTE_MS
  upstream.failures.set('all', 'unreachable')
  assert.deepEqual((await lists.listTags('app')).tags, ['b'])
  await assert.rejects(lists.listTags('other'), refusal('UNAVAILABLE', 502))
})

test('referrers that were never asked for are an error while the upstream is down, and remembered after that', async (t) => {
  const { upstream, get, lists } = await open(t)
  const subject = emptyImage('subject')
  upstream.put('app', 'latest', subject)
  await get('latest')
  const { digest } = subject.descriptor
  upstream.failures.set('all', 'unreachable')
  await assert.rejects(lists.listReferrers('app', digest), refusal('UNAVAILABLE', 502))
  upstream.failures.clear()
  const signature = { ...emptyImage('signature').descriptor, artifactType: 'application/example' }
  upstream.referrers.set(digest, [signature])
  assert.deepEqual(await lists.listReferrers('app', digest), [signature])
  upstream.failures.set('all', 'unreachable')
  assert.deepEqual(await lists.listReferrers('app', digest), [signature])
})
