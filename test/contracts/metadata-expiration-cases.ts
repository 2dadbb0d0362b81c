/** A changed expiration reaches what is cached, step by step. */
import assert from 'node:assert/strict'
import {
  addExpirationChange,
  changeExpirationStep,
  type ExpirationChange,
  isBehindAnotherChange,
  parseExpirationChange,
} from '../../src/metadata/expiration-change.ts'
import { findManifest } from '../../src/metadata/manifests.ts'
import type { Metadata } from '../../src/metadata/open.ts'
import { insertPin } from '../../src/metadata/pins.ts'
import type { Repository } from '../../src/metadata/repositories.ts'
import { setTagExpiry } from '../../src/metadata/tag-changes.ts'
import { findTag, pointTag } from '../../src/metadata/tags.ts'
import {
  freshDigest,
  type MetadataCase,
  makeImage,
  NOW_MS,
  newOrganization,
  newRepository,
  store,
} from './metadata-case.ts'

const HOUR_MS = 3_600_000

/** Last use, and expiry before and after; instants count from the change, in hours. Null is for ever. */
type Row = [lastUsed: number, before: number | null, after: number | null]

const CHANGES: readonly [fromHours: number, toHours: number, rows: readonly Row[]][] = [
  [
    24,
    48,
    [
      [-10, 14, 38],
      [-30, -6, 18],
      [-100, -76, -52],
      [1, 49, 49],
      [0.5, 20, 44],
    ],
  ],
  [
    48,
    24,
    [
      [-10, 38, 14],
      [-30, 18, -6],
      [1, 38, 25],
      [1, 25, 25],
    ],
  ],
  [
    0,
    24,
    [
      [-10, null, 14],
      [-100, null, -76],
      [1, 25, 25],
    ],
  ],
  [
    24,
    0,
    [
      [-10, 14, null],
      [-100, -76, null],
    ],
  ],
]

export const EXPIRATION_CASES: readonly MetadataCase[] = [
  {
    title: 'a changed expiration moves every tag by as much, but not what was pulled since',
    async check(metadata) {
      for (const [fromHours, toHours, rows] of CHANGES) {
        const repository = await newRepository(metadata)
        for (const [index, row] of rows.entries()) await makeTag(metadata, repository, `t${index}`, row)
        await change(metadata, repository.organizationId, fromHours, toHours, 2)
        for (const [index, row] of rows.entries()) {
          const expiresAtMs = (await findTag(metadata.db, repository.id, `t${index}`))?.expiresAtMs
          assert.equal(hoursOf(expiresAtMs), row[2], `${fromHours} to ${toHours}: ${row}`)
        }
      }
    },
  },
  {
    title: 'it reaches by-digest images and every repository, and neither what is pinned nor what was set by hand',
    check: checkReach,
  },
  {
    title: 'changes of one organization wait for each other, and without a change or content there is none',
    check: checkOrder,
  },
]

async function makeTag(metadata: Metadata, repository: Repository, name: string, row: Row): Promise<number> {
  const fields = { repositoryId: repository.id, name, digest: freshDigest(), nowMs: at(row[0]) }
  const expiresAtMs = row[1] === null ? undefined : at(row[1])
  return (await metadata.transaction((tx) => pointTag(tx, { ...fields, expiresAtMs }))).id
}

function at(hours: number): number {
  return NOW_MS + hours * HOUR_MS
}

function hoursOf(atMs: number | undefined): number | null {
  return atMs === undefined ? null : (atMs - NOW_MS) / HOUR_MS
}

async function jobsOf(metadata: Metadata, organizationId: number): Promise<{ id: number; change: ExpirationChange }[]> {
  const rows = await metadata.db.selectFrom('job').select(['id', 'payload']).orderBy('id').execute()
  return rows.flatMap(({ id, payload }) => {
    const found = parseExpirationChange(JSON.parse(payload))
    return found?.organizationId === organizationId ? [{ id, change: found }] : []
  })
}

async function add(metadata: Metadata, organizationId: number, fromHours: number, toHours: number): Promise<void> {
  const [fromSeconds, toSeconds] = [fromHours * 3600, toHours * 3600]
  const fields = { organizationId, fromSeconds, toSeconds, changedAtMs: NOW_MS }
  await metadata.transaction((tx) => addExpirationChange(tx, fields))
}

/** Step by step, each from what the job's row remembers, as after a crash. */
async function change(
  metadata: Metadata,
  organizationId: number,
  fromHours: number,
  toHours: number,
  rowsMax: number,
): Promise<string[]> {
  await add(metadata, organizationId, fromHours, toHours)
  const changed: string[] = []
  for (let steps = 0; steps < 100; steps++) {
    const [job] = await jobsOf(metadata, organizationId)
    assert.ok(job)
    const step = await changeExpirationStep(metadata.db, job, rowsMax)
    for (const { names } of step.changed) changed.push(...names)
    if (!step.isDone) continue
    await metadata.db.deleteFrom('job').where('id', '=', job.id).execute()
    return changed
  }
  throw new Error('the change does not end')
}

async function checkReach(metadata: Metadata): Promise<void> {
  const organization = await newOrganization(metadata.db)
  const [first, second] = [await newRepository(metadata, organization), await newRepository(metadata, organization)]
  const stranger = await newRepository(metadata)
  const [image, other] = [makeImage([]), makeImage([])]
  const byDigest = { isByDigest: true, expiresAtMs: at(14), nowMs: at(-10) }
  await store(metadata, second, image, byDigest)
  await store(metadata, stranger, other, byDigest)
  for (const repository of [first, second, stranger]) await makeTag(metadata, repository, 'plain', [-10, 14, null])
  const byHand = await makeTag(metadata, first, 'byhand', [-10, 14, null])
  await metadata.transaction((tx) => setTagExpiry(tx, byHand, { expiresAtMs: at(99), isSet: true }))
  await makeTag(metadata, first, 'pinned', [-10, null, null])
  const pin = { repositoryId: first.id, organizationId: organization.id, kind: 'tag', reference: 'pinned' } as const
  await metadata.transaction((tx) => insertPin(tx, { ...pin, nowMs: NOW_MS }))
  const changed = await change(metadata, organization.id, 24, 48, 1)
  assert.deepEqual(changed.sort(), ['byhand', 'pinned', 'plain', 'plain'])
  const tag = async (repository: Repository, name: string) =>
    hoursOf((await findTag(metadata.db, repository.id, name))?.expiresAtMs)
  assert.deepEqual([await tag(first, 'plain'), await tag(second, 'plain'), await tag(stranger, 'plain')], [38, 38, 14])
  assert.deepEqual([await tag(first, 'byhand'), await tag(first, 'pinned')], [99, null])
  const expiry = async (repository: Repository, digest: string) =>
    hoursOf((await findManifest(metadata.db, repository.id, digest))?.expiresAtMs)
  assert.deepEqual([await expiry(second, image.digest), await expiry(stranger, other.digest)], [38, 14])
  const root = await metadata.db
    .selectFrom('root')
    .select('expires_at')
    .where('repository_id', '=', second.id)
    .execute()
  assert.deepEqual(root, [{ expires_at: at(38) }])
}

async function checkOrder(metadata: Metadata): Promise<void> {
  const empty = await newOrganization(metadata.db)
  await add(metadata, empty.id, 24, 48)
  assert.deepEqual(await jobsOf(metadata, empty.id), [])
  const [{ organizationId }, other] = [await newRepository(metadata), await newRepository(metadata)]
  await add(metadata, organizationId, 24, 24)
  assert.deepEqual(await jobsOf(metadata, organizationId), [])
  await add(metadata, organizationId, 24, 48)
  await add(metadata, other.organizationId, 24, 48)
  await add(metadata, organizationId, 48, 12)
  const [first, second] = await jobsOf(metadata, organizationId)
  const [theirs] = await jobsOf(metadata, other.organizationId)
  assert.ok(first && second && theirs)
  assert.equal(await isBehindAnotherChange(metadata.db, first.id, organizationId), false)
  assert.equal(await isBehindAnotherChange(metadata.db, theirs.id, other.organizationId), false)
  assert.equal(await isBehindAnotherChange(metadata.db, second.id, organizationId), true)
  for (const { id } of [first, second, theirs]) await metadata.db.deleteFrom('job').where('id', '=', id).execute()
}
