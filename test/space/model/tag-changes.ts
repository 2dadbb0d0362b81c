/** What people do to tags, each compared with what the design and Quay say of it. */
import assert from 'node:assert/strict'
import { attempt } from './client.ts'
import { findManifestRow } from './expectations.ts'
import type { Rows, Snapshot } from './place.ts'
import type { Step } from './step.ts'
import { callOn } from './system.ts'
import type { TagModel } from './tag-model.ts'
import { type At, byDigest, type World } from './world.ts'

export type ChangeStep = Step & { kind: 'delete' | 'restore' | 'pin' | 'unpin' | 'setExpiry' | 'destroy' }

/** Errors: AdminError, and the database's. */
export async function performChange(world: World, at: At, step: ChangeStep): Promise<void> {
  const { tags, pins } = world.system
  const call = callOn(at.organization.name, at.repository)
  switch (step.kind) {
    case 'delete':
      return tags.delete(call, at.tag)
    case 'restore':
      return tags.restore(call, at.tag, at.image.digest)
    case 'setExpiry': {
      const expiration = step.seconds === null ? null : world.nowMs / 1000 + step.seconds
      return tags.change(call, at.tag, { expiration })
    }
    case 'destroy':
      return tags.deletePermanently(call, at.tag, { digest: at.image.digest, isAlive: step.isAlive })
    case 'pin':
      return pins.pin(call, step.byDigest ? byDigest(at.image.digest) : { kind: 'tag', tag: at.tag })
    case 'unpin':
      return pins.unpin(call, step.byDigest ? byDigest(at.image.digest) : { kind: 'tag', tag: at.tag })
  }
}

export class TagChanges {
  readonly #world: World
  readonly #tags: TagModel

  constructor(world: World, tags: TagModel) {
    this.#world = world
    this.#tags = tags
  }

  async perform(step: Step): Promise<void> {
    if (!isChange(step)) throw new Error(`nobody knows how to do ${step.kind}`)
    const world = this.#world
    const at = this.#aim(step)
    const before = world.rows
    const result = await attempt(() => performChange(world, at, step))
    const after = await world.look(true)
    const state = this.#tags.state(before, at)
    const isLiving = this.#tags.find(at) !== undefined && state === 'alive'
    switch (step.kind) {
      case 'delete':
        if (expectResult(result, isLiving ? (isTagPinned(before, at) ? 'CONFLICT' : 'done') : 'NOT_FOUND')) {
          this.#tags.set(at, this.#digest(at), world.nowMs, true)
        }
        return
      case 'setExpiry':
        return this.#checkExpiry(before, at, step, { result, isLiving })
      case 'restore':
        return this.#checkRestored(before, after, at, result)
      case 'destroy':
        return this.#checkDestroyed(before, after, at, { result, isAlive: step.isAlive })
      case 'pin':
      case 'unpin':
        return this.#checkPin(before, after, at, { step, result, isLiving })
    }
  }

  /** Mostly at something that is there: a digest of the tag's own history. */
  #aim(step: ChangeStep): At {
    const at = this.#world.at(step)
    const { rows } = this.#world
    const digests = rows.tag.filter((row) => row.repository_id === at.repositoryId && row.name === at.tag)
    const row = digests[step.image % Math.max(1, digests.length)]
    return row === undefined || step.image > 8 ? at : { ...at, image: this.#world.imageOf(row.digest) }
  }

  #checkExpiry(
    before: Snapshot,
    at: At,
    step: { seconds: number | null },
    { result, isLiving }: { result: string; isLiving: boolean },
  ): void {
    const world = this.#world
    const isPinned = isTagPinned(before, at)
    const expected = !isLiving ? 'NOT_FOUND' : isPinned && step.seconds !== null ? 'CONFLICT' : 'done'
    if (!expectResult(result, expected) || isPinned) return
    const expiresAt = step.seconds === null ? world.expiryFromNow(at.organization) : world.nowMs + step.seconds * 1000
    this.#tags.set(at, this.#digest(at), expiresAt, step.seconds !== null)
  }

  /** What is held and ended within the window comes back, and nothing else. */
  #checkRestored(before: Snapshot, after: Snapshot, at: At, result: string): void {
    const world = this.#world
    const records = recordsOf(before, at)
    const windowMs = at.organization.windowSeconds * 1000
    const isWithin = (row: Rows<'tag'>[number]) => {
      const ends = this.#endOf(at, row)
      return row.evicted_at === null && (ends === null || ends + windowMs > world.nowMs)
    }
    const held = findManifestRow(before, at.repositoryId, at.image.digest)
    const canBe = held !== undefined && records.some(isWithin)
    if (!expectResult(result, records.length === 0 ? 'NOT_FOUND' : canBe ? 'done' : 'INVALID_REQUEST')) return
    const expiresAt = isTagPinned(before, at) ? null : world.expiryFromNow(at.organization)
    this.#tags.set(at, at.image.digest, expiresAt, false)
    assert.deepEqual(after.ledger, before.ledger, 'what is kept is charged already: restoring needs no space')
  }

  #checkDestroyed(
    before: Snapshot,
    after: Snapshot,
    at: At,
    { result, isAlive }: { result: string; isAlive: boolean },
  ): void {
    const records = recordsOf(before, at)
    const current = records.find((row) => row.ended_at === null)
    const ends = current === undefined ? 0 : this.#endOf(at, current)
    const isLiving = current !== undefined && (ends === null || ends > this.#world.nowMs)
    const going = isAlive || !isLiving ? records : records.filter((row) => row !== current)
    const isPinned =
      (isAlive && isTagPinned(before, at)) ||
      before.pin.some((pin) => pin.repository_id === at.repositoryId && pin.reference === at.image.digest)
    const isThere = isAlive ? isLiving : going.length > 0
    if (!expectResult(result, !isThere ? 'NOT_FOUND' : isPinned ? 'CONFLICT' : 'done')) return
    const left = recordsOf(after, at)
    assert.equal(left.length, records.length - going.length, 'records are left of what was deleted for good')
    if (going.some((row) => row.ended_at === null)) this.#tags.delete(at)
    const others = after.tag.some(
      (row) => row.repository_id === at.repositoryId && row.digest === at.image.digest && row.evicted_at === null,
    )
    const isHeld = after.manifest_child.some((child) => child.digest === at.image.digest)
    const wasRoot = going.some((row) => row.evicted_at === null)
    if (others || isHeld || !wasRoot) return
    const manifest = findManifestRow(after, at.repositoryId, at.image.digest)
    assert.equal(manifest, undefined, 'the image of the last tag that was deleted for good is still there')
  }

  #checkPin(
    before: Snapshot,
    after: Snapshot,
    at: At,
    { step, result, isLiving }: { step: ChangeStep & { byDigest: boolean }; result: string; isLiving: boolean },
  ): void {
    const reference = step.byDigest ? at.image.digest : at.tag
    const has = (rows: Snapshot) =>
      rows.pin.some((pin) => pin.repository_id === at.repositoryId && pin.reference === reference)
    if (step.kind === 'unpin') {
      if (!expectResult(result, has(before) ? 'done' : 'NOT_FOUND')) return
      assert.ok(!has(after))
      if (step.byDigest || this.#tags.find(at) === undefined) return
      this.#tags.set(at, this.#digest(at), this.#world.expiryFromNow(at.organization), false)
      return
    }
    const held = findManifestRow(before, at.repositoryId, at.image.digest)
    if (!step.byDigest && !isLiving) return void expectResult(result, 'NOT_FOUND')
    if (step.byDigest && held === undefined) return void expectResult(result, 'NOT_FOUND')
    if (result !== 'done') {
      // It would not fit, or only what the Time Machine no longer keeps is there.
      assert.ok(result === 'CONFLICT' || (step.byDigest && result === 'NOT_FOUND'), `pinning came to ${result}`)
      assert.deepEqual(after.ledger, before.ledger)
      return
    }
    assert.ok(has(after))
    if (!step.byDigest) this.#tags.set(at, this.#digest(at), null, false)
  }

  #digest(at: At): string {
    return this.#tags.find(at)?.digest ?? ''
  }

  /** When a row of a tag ended or ends; null is never. Of the current one the model knows it. */
  #endOf(at: At, row: Rows<'tag'>[number]): number | null {
    if (row.ended_at !== null) return row.ended_at
    const tag = this.#tags.find(at)
    return tag === undefined ? row.expires_at : tag.expiresAt
  }
}

function isChange(step: Step): step is ChangeStep {
  return ['delete', 'restore', 'pin', 'unpin', 'setExpiry', 'destroy'].includes(step.kind)
}

function recordsOf(rows: Snapshot, at: At): Rows<'tag'> {
  return rows.tag.filter(
    (row) => row.repository_id === at.repositoryId && row.name === at.tag && row.digest === at.image.digest,
  )
}

function isTagPinned(rows: Snapshot, at: At): boolean {
  return rows.pin.some((pin) => pin.repository_id === at.repositoryId && pin.kind === 'tag' && pin.reference === at.tag)
}

/** Resolves to whether it was done. */
function expectResult(result: string, expected: string): boolean {
  assert.equal(result, expected)
  return result === 'done'
}
