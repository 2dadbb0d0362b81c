/** What tags must be: the table of DESIGN part 4, and the expiries that people set. Uses are written a little later. */
import assert from 'node:assert/strict'
import { findManifestRow, tagsAbove } from './expectations.ts'
import type { Snapshot } from './place.ts'
import type { At, World } from './world.ts'

export type ModelTag = {
  organizationId: number
  digest: string
  /** Null is for ever. */
  expiresAt: number | null
  isSet: boolean
  /** What may still stand in the database, until uses are written. */
  written: number | null
}

export type CopyState = 'alive' | 'kept' | 'none'

export class TagModel {
  readonly #world: World
  #tags = new Map<string, ModelTag>()

  constructor(world: World) {
    this.#world = world
  }

  find(at: At): ModelTag | undefined {
    return this.#tags.get(keyOf(at.repositoryId, at.tag))
  }

  /** Of what is held under the tag, its manifest included. */
  state(rows: Snapshot, at: At): CopyState {
    const tag = this.find(at)
    if (tag === undefined || findManifestRow(rows, at.repositoryId, tag.digest) === undefined) return 'none'
    const { nowMs } = this.#world
    if (tag.expiresAt === null || tag.expiresAt > nowMs) return 'alive'
    return tag.expiresAt + at.organization.windowSeconds * 1000 > nowMs ? 'kept' : 'none'
  }

  /** A pull that the upstream stands behind. */
  renew(rows: Snapshot, at: At): void {
    const tag = this.find(at)
    if (tag !== undefined) this.#renew(rows, at, tag, at.tag)
  }

  /** A pull by digest is one of every live tag and index above. */
  renewAbove(rows: Snapshot, at: At, digest: string): void {
    if (at.repositoryId === undefined) return
    for (const row of tagsAbove(rows, at.repositoryId, digest)) {
      const tag = this.#tags.get(keyOf(at.repositoryId, row.name))
      if (tag === undefined || (tag.expiresAt !== null && tag.expiresAt <= this.#world.nowMs)) continue
      this.#renew(rows, at, tag, row.name)
    }
  }

  /** It is set by hand, or begins anew. */
  set(at: At, digest: string, expiresAt: number | null, isSet: boolean): void {
    const { organizationId } = at.organization
    this.#tags.set(keyOf(at.repositoryId, at.tag), { organizationId, digest, expiresAt, isSet, written: expiresAt })
  }

  delete(at: At): void {
    this.#tags.delete(keyOf(at.repositoryId, at.tag))
  }

  /**
   * Compare with the rows. Those that are not there any more must have been evicted, or collected when their time in
   * the Time Machine was over.
   */
  check(rows: Snapshot, mayCollect: boolean): void {
    const { nowMs } = this.#world
    const seen = new Map<string, ModelTag>()
    const visible = visibleRepositories(rows)
    for (const row of rows.tag) {
      if (row.ended_at !== null || !visible.has(row.repository_id)) continue
      const key = keyOf(row.repository_id, row.name)
      const expected = this.#tags.get(key)
      assert.ok(expected !== undefined, `there is a tag that nobody pulled: ${row.name} ${row.digest}`)
      assert.equal(row.digest, expected.digest, `the tag ${row.name} names another image`)
      if (row.expires_at !== expected.written) {
        assert.equal(row.expires_at, expected.expiresAt, `the tag ${row.name} expires at another time`)
        expected.written = expected.expiresAt
      }
      seen.set(key, expected)
    }
    for (const [key, tag] of this.#tags) {
      const [repositoryId, name] = key.split(' ')
      if (seen.has(key) || !visible.has(Number(repositoryId))) continue
      const wasEvicted = rows.tag.some(
        (row) => row.repository_id === Number(repositoryId) && row.name === name && row.evicted_at === nowMs,
      )
      const window = rows.organization.find((row) => row.id === tag.organizationId)?.tag_expiration_s ?? 0
      const wasDue = tag.expiresAt !== null && tag.expiresAt + window * 1000 <= nowMs
      assert.ok(wasEvicted || (mayCollect && wasDue), `the tag ${name} of ${tag.digest} vanished`)
    }
    this.#tags = seen
  }

  /** Uses have been written. */
  checkWritten(rows: Snapshot): void {
    for (const row of rows.tag) {
      const expected = this.#tags.get(keyOf(row.repository_id, row.name))
      if (row.ended_at !== null || expected === undefined) continue
      assert.equal(row.expires_at, expected.expiresAt, `the use of tag ${row.name} was not written`)
    }
  }

  /** After what cannot be foretold: what stands is taken as it is. */
  adopt(rows: Snapshot): void {
    this.#tags = new Map()
    const visible = visibleRepositories(rows)
    for (const row of rows.tag) {
      if (row.ended_at !== null || !visible.has(row.repository_id)) continue
      const { organization_id: organizationId, digest, expires_at: expiresAt } = row
      const isSet = row.is_expiry_set === 1
      const tag = { organizationId, digest, expiresAt, isSet, written: expiresAt }
      this.#tags.set(keyOf(row.repository_id, row.name), tag)
    }
  }

  #renew(rows: Snapshot, at: At, tag: ModelTag, name: string): void {
    const renewed = this.#world.expiryFromNow(at.organization)
    const isPinned = rows.pin.some(
      (row) => row.repository_id === at.repositoryId && row.kind === 'tag' && row.reference === name,
    )
    const isEarlier = tag.expiresAt === null || (renewed !== null && renewed < tag.expiresAt)
    if (isPinned) tag.expiresAt = null
    else if (tag.isSet || !isEarlier) tag.expiresAt = renewed
    tag.isSet = false
  }
}

function keyOf(repositoryId: number | undefined, name: string): string {
  return `${repositoryId ?? 0} ${name}`
}

/** Those of the present upstream. */
export function visibleRepositories(rows: Snapshot): Set<number> {
  const generations = new Map(rows.organization.map((row) => [row.id, row.generation]))
  return new Set(
    rows.repository.filter((row) => row.generation === generations.get(row.organization_id)).map((row) => row.id),
  )
}
