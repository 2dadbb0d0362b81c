/** Pulls as a client makes them one after the other, each compared with what the design says of it. */
import assert from 'node:assert/strict'
import type { Digest } from '../../../src/oci/digest.ts'
import { type Answer, getBlob, getManifest, headManifest } from './client.ts'
import type { ModelImage } from './content.ts'
import { checkEviction } from './eviction-check.ts'
import { findLedgerRow, findManifestRow, isHeldBlob } from './expectations.ts'
import type { Snapshot } from './place.ts'
import type { TagModel } from './tag-model.ts'
import { type At, byDigest, pick, type World } from './world.ts'

/** How long a HEAD by tag waits for the GET of its digest. */
const checkMs = 10 * 60 * 1000

export class Pulls {
  readonly #world: World
  readonly #tags: TagModel
  readonly #isReceiving: () => boolean
  /** What HEADs by tag have learnt: organization, repository and digest to tags, and until when. */
  /** Uses by digest that may not be written yet: the order of eviction is not known from the rows. */
  #hasPendingDigests = false
  /** Rows of tags that were used since, and when. */
  readonly #uses = new Map<number, number>()
  readonly #checks = new Map<string, { at: At; untilMs: number }[]>()

  constructor(world: World, tags: TagModel, isReceiving: () => boolean) {
    this.#world = world
    this.#tags = tags
    this.#isReceiving = isReceiving
  }

  /** What was only in memory is gone: of one namespace, or all. */
  forget(namespace = ''): void {
    for (const key of this.#checks.keys()) if (key.startsWith(namespace)) this.#checks.delete(key)
  }

  written(): void {
    this.#hasPendingDigests = false
    this.#uses.clear()
  }

  /** An image as clients pull it: manifest, one child, blobs. */
  async pull(at: At, wanted: { by: 'tag' | 'digest'; child: number; blobs: number }): Promise<void> {
    const image = wanted.by === 'tag' ? await this.getByTag(at) : await this.getByDigest(at, at.image)
    let top = image
    while (top !== undefined && top.children.length > 0) {
      top = await this.getByDigest(this.#world.again(at), pick(top.children, wanted.child))
    }
    for (const [index, blob] of (top?.blobs ?? []).entries()) {
      if ((wanted.blobs & (1 << index)) !== 0) await this.getBlob(this.#world.again(at), blob.digest)
    }
  }

  async getByTag(at: At): Promise<ModelImage | undefined> {
    const world = this.#world
    const before = this.#world.rows
    const held = this.#tags.find(at)
    const state = this.#tags.state(before, at)
    const answer = await getManifest(world, at, { kind: 'tag', tag: at.tag })
    const after = await this.#look()
    const now = world.again(at)
    const named = at.organization.upstream.tags.get(`${at.upstreamName}:${at.tag}`)
    assert.ok(named !== undefined)
    if (this.#expectCopy(before, answer, at, named)) return answer.image
    if (world.isTooLarge(before, at, named, 'tag')) return this.#expectRefused(before, after, answer)
    expectAnswer(answer, named, 'miss')
    const row = world.tagRow(after, now)
    const isKept = row?.digest === named.digest && world.isKept(after, now, named) && row.confirmed_at === world.nowMs
    if (isKept) this.#checkEviction(before, after, at, named)
    if (!isKept) {
      this.#expectPassedThrough(before, after, at, named)
    } else if (held?.digest === named.digest && state === 'none' && row.id === world.tagRow(before, at)?.id) {
      this.#tags.renew(before, at)
    } else {
      const isPinned = before.pin.some((pin) => pin.repository_id === at.repositoryId && pin.reference === at.tag)
      this.#tags.set(now, named.digest, isPinned ? null : world.expiryFromNow(at.organization), false)
    }
    return named
  }

  /** HEAD, and, as docker and containerd do, the GET of the digest that it gave. */
  async headByTag(at: At, thenGet: boolean): Promise<void> {
    const world = this.#world
    const before = this.#world.rows
    const answer = await headManifest(world, at, { kind: 'tag', tag: at.tag })
    const after = await this.#look()
    const named = at.organization.upstream.tags.get(`${at.upstreamName}:${at.tag}`)
    assert.ok(named !== undefined)
    this.#expectNothingStored(before, after)
    if (!this.#expectCopy(before, answer, at, named)) {
      expectAnswer(answer, named, 'miss')
      const key = `${at.upstreamName}@${named.digest}`
      const others = (this.#checks.get(key) ?? []).filter((check) => check.at.tag !== at.tag)
      this.#checks.set(key, [...others, { at, untilMs: world.nowMs + checkMs }])
    }
    if (thenGet && answer.image !== undefined) await this.getByDigest(world.again(at), answer.image)
  }

  async getByDigest(at: At, image: ModelImage): Promise<ModelImage | undefined> {
    const world = this.#world
    const before = this.#world.rows
    const held = findManifestRow(before, at.repositoryId, image.digest)
    const answer = await getManifest(world, at, byDigest(image.digest))
    const after = await this.#look()
    const now = world.again(at)
    if (held !== undefined) {
      expectAnswer(answer, image, 'hit')
      this.#tags.renewAbove(before, at, image.digest)
      this.#hasPendingDigests = true
      this.#expectChecked(after, now, image)
      return image
    }
    if (at.organization.upstream.mode !== 'up') {
      assert.equal(answer.error, 'UNAVAILABLE')
      return undefined
    }
    if (world.isTooLarge(before, at, image, 'digest')) return this.#expectRefused(before, after, answer)
    expectAnswer(answer, image, 'miss')
    if (world.isKept(after, now, image)) {
      this.#checkEviction(before, after, at, image)
      this.#expectChecked(after, now, image)
    } else this.#expectPassedThrough(before, after, at, image)
    return image
  }

  async headByDigest(at: At): Promise<void> {
    const before = this.#world.rows
    const held = findManifestRow(before, at.repositoryId, at.image.digest)
    const answer = await headManifest(this.#world, at, byDigest(at.image.digest))
    this.#expectNothingStored(before, await this.#look())
    if (held !== undefined) {
      expectAnswer(answer, at.image, 'hit')
      this.#tags.renewAbove(before, at, at.image.digest)
      this.#hasPendingDigests = true
    } else if (at.organization.upstream.mode === 'up') expectAnswer(answer, at.image, 'miss')
    else assert.equal(answer.error, 'UNAVAILABLE')
  }

  /** Once the manifest was given, no blob is refused, whatever has happened to the image since. */
  async getBlob(at: At, digest: Digest): Promise<void> {
    const before = this.#world.rows
    const { organization, repositoryId } = at
    const answer = await getBlob(this.#world, at, digest)
    const after = await this.#look()
    if (organization.upstream.mode === 'up' || isHeldBlob(before, organization, repositoryId, digest)) {
      assert.equal(answer, 'done', `blob ${digest} was not served`)
    } else assert.notEqual(answer, 'done')
    const isNamed = before.manifest_blob.some((row) => row.repository_id === repositoryId && row.digest === digest)
    const isReserved = findLedgerRow(before, organization.organizationId, digest)?.stored_at === null
    if (answer === 'done' && isNamed && isReserved && this.#world.storageLimitBytes === undefined) {
      const row = findLedgerRow(after, organization.organizationId, digest)
      assert.ok(row?.stored_at != null, `blob ${digest} was reserved and received, yet is not stored`)
    }
  }

  /** The rows of the table that a copy answers, or a failing upstream. False: the manifest is got from the upstream. */
  #expectCopy(before: Snapshot, answer: Answer, at: At, named: ModelImage): boolean {
    const state = this.#tags.state(before, at)
    const digest = this.#tags.find(at)?.digest
    const copy = state === 'none' || digest === undefined ? undefined : this.#world.imageOf(digest)
    if (at.organization.upstream.mode !== 'up') {
      if (copy === undefined) assert.equal(answer.error, 'UNAVAILABLE')
      else {
        expectAnswer(answer, copy, 'stale')
        this.#use(before, at)
      }
      return true
    }
    if (copy?.digest !== named.digest) return false
    expectAnswer(answer, copy, 'revalidated')
    this.#tags.renew(before, at)
    this.#use(before, at)
    return true
  }

  #use(before: Snapshot, at: At): void {
    const row = this.#world.tagRow(before, at)
    if (row !== undefined) this.#uses.set(row.id, this.#world.nowMs)
  }

  /** The tags of earlier HEADs of this digest are there now. */
  #expectChecked(after: Snapshot, now: At, image: ModelImage): void {
    const key = `${now.upstreamName}@${image.digest}`
    for (const { at, untilMs } of this.#checks.get(key) ?? []) {
      if (untilMs <= this.#world.nowMs) continue
      const there = { ...now, tag: at.tag }
      const row = this.#world.tagRow(after, there)
      assert.equal(row?.digest, image.digest, `the tag ${at.tag} of an earlier HEAD is not there after the GET`)
      this.#tags.set(there, image.digest, row.expires_at, false)
    }
    this.#checks.delete(key)
  }

  #expectRefused(before: Snapshot, after: Snapshot, answer: Answer): undefined {
    assert.equal(answer.error, 'QUOTA_EXCEEDED')
    // In a full store it is foreseen only as far as no pin is about to move.
    if (this.#world.storageLimitBytes === undefined || before.pin.length === 0) {
      this.#expectNothingEvicted(before, after)
    }
  }

  #expectPassedThrough(before: Snapshot, after: Snapshot, at: At, image: ModelImage): void {
    if (this.#world.storageLimitBytes !== undefined) return
    const isReceiving = this.#isReceiving()
    assert.ok(this.#world.mayBeBlocked(before, at, image, isReceiving), `${image.name} fits, and was not kept`)
    this.#expectNothingEvicted(before, after)
  }

  #checkEviction(before: Snapshot, after: Snapshot, at: At, image: ModelImage): void {
    const { storageLimitBytes, nowMs } = this.#world
    if (storageLimitBytes !== undefined || this.#hasPendingDigests || this.#isReceiving()) return
    // A pin that moves frees what it held.
    if (before.pin.some((pin) => pin.repository_id === at.repositoryId && pin.reference === at.tag)) return
    checkEviction(before, after, {
      policy: at.organization,
      repositoryId: at.repositoryId,
      image,
      nowMs,
      uses: this.#uses,
    })
  }

  #expectNothingEvicted(before: Snapshot, after: Snapshot): void {
    const there = new Set(after.manifest.map((row) => row.id))
    for (const row of before.manifest) assert.ok(there.has(row.id), `${row.digest} was evicted for nothing`)
  }

  #expectNothingStored(before: Snapshot, after: Snapshot): void {
    assert.deepEqual(after.ledger, before.ledger, 'a HEAD has changed what is charged')
    assert.equal(after.manifest.length, before.manifest.length, 'a HEAD has stored a manifest')
  }

  #look(): Promise<Snapshot> {
    return this.#world.look(this.#isReceiving())
  }
}

function expectAnswer(answer: Answer, image: ModelImage, outcome: string): void {
  const expected = `${image.name} ${outcome}`
  assert.equal(answer.image === undefined ? answer.error : `${answer.image.name} ${answer.outcome}`, expected)
}
