/** What is true at every instant at which nothing is running, found anew from all rows and files. */
import assert from 'node:assert/strict'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import type { Content } from './content.ts'
import type { Place, Rows, Snapshot } from './place.ts'

type ManifestRow = Rows<'manifest'>[number]

export type Circumstances = {
  /** A process has died, and no collection has run since: garbage and files without rows may lie about. */
  hasLitter: boolean
  /** Blobs are being received. */
  isReceiving: boolean
}

export function checkInvariants(place: Place, content: Content, rows: Snapshot, now: Circumstances): void {
  for (const organization of rows.organization) checkLedger(rows, organization.id)
  checkRoots(rows)
  checkReachable(rows)
  checkPins(rows)
  checkBlobRows(rows)
  checkFiles(place, content, rows, now)
}

/** The charge is the sum of the ledger, and the ledger is what the manifests and their blobs say. */
function checkLedger(rows: Snapshot, organizationId: number): void {
  const ledger = rows.ledger.filter((row) => row.organization_id === organizationId)
  const usage = rows.usage.find((row) => row.organization_id === organizationId)
  const sum = ledger.reduce((total, row) => total + row.size_bytes, 0)
  assert.equal(usage?.charge_bytes, sum, 'the charge is not the sum of the ledger')
  const manifests = rows.manifest.filter((row) => row.organization_id === organizationId)
  assert.deepEqual(
    ledger
      .filter((row) => row.kind === 'manifest')
      .map((row) => [row.digest, row.size_bytes])
      .sort(),
    [...new Map(manifests.map((row) => [row.digest, row.size_bytes]))].sort(),
    'the ledger has other manifests than there are',
  )
  const links = rows.manifest_blob.filter((row) => row.organization_id === organizationId)
  const reserving = new Set(rows.reservation.map((row) => row.manifest_id))
  const reserved = new Set(links.filter((row) => reserving.has(row.manifest_id)).map((row) => row.digest))
  const named = new Set(links.map((row) => row.digest))
  const stored = new Set<string>()
  for (const row of ledger) {
    if (row.kind !== 'blob') continue
    assert.ok(named.has(row.digest), `the ledger has a blob that no manifest names: ${row.digest}`)
    if (row.stored_at !== null) stored.add(row.digest)
    else assert.ok(reserved.has(row.digest), `no open reservation holds ${row.digest}`)
  }
  for (const id of reserving) {
    const own = links.filter((row) => row.manifest_id === id)
    const isOurs = manifests.some((row) => row.id === id)
    assert.ok(!isOurs || own.some((row) => !stored.has(row.digest)), `the reservation of ${id} waits for nothing`)
    assert.ok(
      rows.manifest.some((row) => row.id === id),
      `a reservation without a manifest: ${id}`,
    )
  }
}

function checkRoots(rows: Snapshot): void {
  const actual = new Map(rows.root.map((row) => [row.manifest_id, row]))
  for (const manifest of rows.manifest) {
    const expected = deriveRoot(rows, manifest)
    const row = actual.get(manifest.id)
    actual.delete(manifest.id)
    const found = row && { last_used_at: row.last_used_at, expires_at: row.expires_at, is_pinned: row.is_pinned }
    assert.deepEqual(found, expected, `the root of ${manifest.digest} is not what its tags, mark and pins say`)
  }
  assert.equal(actual.size, 0, 'there are roots without a manifest')
}

function deriveRoot(rows: Snapshot, manifest: ManifestRow) {
  const { repository_id: repository, digest } = manifest
  const tags = rows.tag.filter(
    (row) => row.repository_id === repository && row.digest === digest && row.evicted_at === null,
  )
  const current = tags.filter((row) => row.ended_at === null)
  const pins = rows.pin.filter((row) => row.repository_id === repository)
  const isPinned =
    pins.some((pin) => pin.kind === 'digest' && pin.reference === digest) ||
    pins.some((pin) => pin.kind === 'tag' && current.some((tag) => tag.name === pin.reference))
  const isByDigest = manifest.is_by_digest === 1
  if (tags.length === 0 && !isByDigest && !isPinned) return undefined
  const last_used_at = Math.max(manifest.last_used_at, ...tags.map((row) => row.last_used_at))
  const isForEver = current.some((row) => row.expires_at === null) || (isByDigest && manifest.expires_at === null)
  const ends = [
    ...tags.map((row) => row.ended_at ?? row.expires_at ?? 0),
    ...(isByDigest ? [manifest.expires_at ?? 0] : []),
  ]
  return { last_used_at, expires_at: isPinned || isForEver ? null : Math.max(...ends), is_pinned: isPinned ? 1 : 0 }
}

/** What no root reaches would never go. */
function checkReachable(rows: Snapshot): void {
  const roots = new Set(rows.root.map((row) => row.manifest_id))
  const reached = new Set<number>()
  const byDigest = new Map(rows.manifest.map((row) => [`${row.repository_id} ${row.digest}`, row]))
  const reach = (manifest: ManifestRow | undefined) => {
    if (manifest === undefined || reached.has(manifest.id)) return
    reached.add(manifest.id)
    for (const child of rows.manifest_child) {
      if (child.manifest_id === manifest.id) reach(byDigest.get(`${manifest.repository_id} ${child.digest}`))
    }
  }
  for (const manifest of rows.manifest) if (roots.has(manifest.id)) reach(manifest)
  for (const { id, digest } of rows.manifest) assert.ok(reached.has(id), `no root holds manifest ${digest}`)
}

/** What is pinned is there. */
function checkPins(rows: Snapshot): void {
  for (const pin of rows.pin) {
    const tag = rows.tag.find(
      (row) => row.repository_id === pin.repository_id && row.name === pin.reference && row.ended_at === null,
    )
    if (pin.kind === 'tag') assert.equal(tag?.expires_at, null, `the pinned tag ${pin.reference} is gone or expires`)
    const digest = pin.kind === 'digest' ? pin.reference : tag?.digest
    const isThere = rows.manifest.some((row) => row.repository_id === pin.repository_id && row.digest === digest)
    assert.ok(isThere, `what is pinned is gone: ${pin.reference}`)
  }
}

function checkBlobRows(rows: Snapshot): void {
  const held = new Map<string, number>()
  for (const row of rows.ledger) if (row.kind === 'blob' && row.stored_at !== null) held.set(row.digest, row.size_bytes)
  const blobs = new Map(rows.blob.map((row) => [row.digest, row.size_bytes]))
  for (const [digest, size] of held) assert.equal(blobs.get(digest), size, `a referenced blob has no row: ${digest}`)
  const former = formerLinks(rows)
  for (const digest of blobs.keys()) {
    assert.ok(held.has(digest) || former.has(digest), `nobody holds the row of blob ${digest}`)
  }
  const bytes = rows.blob.reduce((sum, row) => sum + row.size_bytes, 0)
  assert.equal(rows.store_usage[0]?.blob_bytes, bytes, 'the usage of the store is not the sum of its blobs')
  for (const row of rows.garbage) assert.ok(!blobs.has(row.digest), `a stored blob is garbage: ${row.digest}`)
}

/** Blobs of repositories that a job will collect. */
function formerLinks(rows: Snapshot): Set<string> {
  const generations = new Map(rows.organization.map((row) => [row.id, row.generation]))
  const former = new Set(
    rows.repository.filter((row) => row.generation !== generations.get(row.organization_id)).map((row) => row.id),
  )
  return new Set(rows.manifest_blob.filter((row) => former.has(row.repository_id)).map((row) => row.digest))
}

function checkFiles(place: Place, content: Content, rows: Snapshot, now: Circumstances): void {
  const blobs = new Set(rows.blob.map((row) => row.digest))
  const garbage = new Set(rows.garbage.map((row) => row.digest))
  if (!now.hasLitter) assert.deepEqual([...garbage], [], 'garbage was not removed at once')
  for (const digest of content.blobs.keys()) {
    const bytes = place.readBlob(digest)
    if (blobs.has(digest)) {
      assert.ok(bytes !== undefined, `the file of blob ${digest} is missing`)
      assert.equal(digestOf(bytes), digest as Digest, `the file of blob ${digest} has other bytes`)
    } else assert.ok(now.hasLitter || bytes === undefined, `no row names the file of ${digest}`)
  }
  if (!now.isReceiving) assert.deepEqual(place.drafts(), [], 'drafts were left behind')
}
