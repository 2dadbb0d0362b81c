/** Whatever happens to images in whatever order, an organization is charged for what it holds and nothing is lost. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { sql } from 'kysely'
import {
  freshName,
  makeImage,
  makeIndex,
  makeLayer,
  NOW_MS,
  newOrganization,
  newRepository,
  type TestManifest,
} from '../../test/contracts/metadata-case.ts'
import { admit, evict, isTrue, publish } from '../../test/contracts/metadata-space-cases.ts'
import { digestOf } from '../oci/digest.ts'
import { forgetBlob, revokeBlobs } from './blobs.ts'
import { loadRootFacts } from './eviction-facts.ts'
import { type Metadata, openMetadata } from './open.ts'
import { bumpGeneration, collectGenerationStep } from './organizations.ts'
import { removeManifests } from './removal.ts'
import { ensureRepository, type Repository } from './repositories.ts'
import { endReservations, endReservationsOf } from './reservations.ts'
import { refreshRoots } from './roots.ts'

const LAYERS = ['a', 'b', 'c', 'd'].map((name, index) => ({ digest: digestOf(Buffer.from(name)), size: 10 ** index }))

type Step = { kind: string; organization: number; repository: number; image: number; layer: number }

/** Mostly about one repository, so that steps meet. */
const mostlyFirst = fc.constantFrom(0, 0, 0, 1)

const KINDS = ['tag', 'tag', 'admit', 'complete', 'publish', 'evict', 'evict', 'collect', 'sibling', 'idle', 'idle']

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(...KINDS, 'refuse', 'forget', 'forget', 'revoke'),
  organization: mostlyFirst,
  repository: mostlyFirst,
  image: fc.nat(5),
  layer: fc.nat(3),
})

test('after any steps the charge is a recount, reserved bytes have a reservation, and no bytes are lost', async (t) => {
  const dataFolder = await mkdtemp(join(tmpdir(), 'entrepot-space-'))
  const metadata = await openMetadata({ uri: undefined, dataFolder })
  t.after(async () => {
    await metadata.close()
    await rm(dataFolder, { recursive: true })
  })
  const images = makeImages()
  const property = fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60, size: 'max' }), async (steps) => {
    const world = await makeWorld(metadata)
    for (const taken of steps) {
      await take(metadata, world, images, taken)
      for (const [repository] of world) if (repository !== undefined) await isTrue(metadata, repository)
    }
    await checkRoots(metadata, world)
    // What is left when all has gone: nothing.
    for (const repository of world.flat()) await removeAll(metadata, repository)
    for (const repository of world.flat()) assert.equal((await isTrue(metadata, repository)).chargeBytes, 0)
    assert.equal((await metadata.db.selectFrom('blob').selectAll().execute()).length, 0, 'bytes nobody holds')
  })
  await fc.assert(property, { numRuns: 25 })
})

/** Images of shared layers, an index of two, and one of the index: by number. */
function makeImages(): TestManifest[] {
  const layers = (...indexes: number[]) =>
    indexes.map((index) => makeLayer(LAYERS[index]?.digest ?? digestOf(Buffer.from('')), LAYERS[index]?.size))
  const [one, two, three] = [makeImage(layers(0, 1)), makeImage(layers(1, 2)), makeImage(layers(2, 3))]
  const index = makeIndex([one.digest, two.digest])
  const other = makeIndex([two.digest, three.digest])
  return [one, two, three, index, other, makeIndex([index.digest, other.digest])]
}

async function makeWorld(metadata: Metadata): Promise<Repository[][]> {
  const world: Repository[][] = []
  for (let count = 0; count < 2; count++) {
    const organization = await newOrganization(metadata.db)
    world.push([await newRepository(metadata, organization), await newRepository(metadata, organization)])
  }
  return world
}

async function take(metadata: Metadata, world: Repository[][], images: readonly TestManifest[], taken: Step) {
  const repositories = world[taken.organization] ?? []
  const repository = repositories[taken.repository]
  const image = images[taken.image]
  const layer = LAYERS[taken.layer]
  assert.ok(repository !== undefined && image !== undefined && layer !== undefined)
  const { organizationId } = repository
  const find = () =>
    metadata.db
      .selectFrom('manifest')
      .select('id')
      .where('repository_id', '=', repository.id)
      .where('digest', '=', image.digest)
      .execute()
  const ids = (await find()).map(({ id }) => id)
  switch (taken.kind) {
    case 'admit':
    case 'tag':
      await admit(metadata, repository, image, taken.kind === 'tag' ? `t${taken.layer}` : undefined)
      return
    case 'complete':
      for (const blob of image.parsed.blobs) await publish(metadata, repository, blob.digest, blob.size)
      return
    case 'publish':
      await publish(metadata, repository, layer.digest, layer.size)
      return
    case 'evict':
    case 'collect':
      return checkFreed(metadata, repository, ids, taken.kind === 'evict' ? 'evicted' : 'collected')
    case 'sibling':
      await metadata.transaction((tx) => removeManifests(tx, { organizationId, manifestIds: ids, nowMs: NOW_MS }))
      return
    case 'idle':
      await metadata.transaction((tx) => endReservations(tx, organizationId, ids))
      return
    case 'refuse':
      await metadata.transaction((tx) => endReservationsOf(tx, organizationId, layer.digest))
      return
    case 'forget':
      await metadata.transaction((tx) => forgetBlob(tx, layer.digest, NOW_MS))
      return
    default:
      world[taken.organization] = await changeUpstream(metadata, repositories)
  }
}

/** What the facts say would be freed is freed, when everything that would go is a root's own. */
async function checkFreed(
  metadata: Metadata,
  repository: Repository,
  ids: readonly number[],
  reason: 'evicted' | 'collected',
): Promise<void> {
  const [facts] = await loadRootFacts(metadata.db, repository.organizationId, ids)
  const { freedBytes, roots } = await evict(metadata, repository, ids, reason)
  assert.equal(roots.length > 0, facts?.manifests[0]?.isRoot === true)
  const [only] = facts?.manifests ?? []
  if (facts === undefined || only === undefined || !only.isRoot) return assert.equal(freedBytes, 0)
  if (facts.manifests.length > 1 || only.parentIds.length > 0) return
  const links = await metadata.db
    .selectFrom('tag')
    .select('id')
    .where('repository_id', '=', repository.id)
    .where('digest', '=', only.digest)
    .where('evicted_at', 'is', null)
    .execute()
  assert.deepEqual(links, [])
  const bytes = only.items.filter((item) => item.holders === 1).reduce((sum, item) => sum + item.sizeBytes, 0)
  // A reserved blob that only others without a reservation name goes too.
  assert.ok(freedBytes >= bytes)
}

async function changeUpstream(metadata: Metadata, repositories: readonly Repository[]): Promise<Repository[]> {
  const [first] = repositories
  assert.ok(first !== undefined)
  const { organizationId } = first
  const generation = await metadata.transaction(async (tx) => {
    await revokeBlobs(tx, organizationId)
    return bumpGeneration(tx, organizationId)
  })
  await isTrue(metadata, first)
  while (!(await collectGenerationStep(metadata.db, organizationId, generation, 5, NOW_MS))) {
    await isTrue(metadata, first)
  }
  const add = () =>
    metadata.transaction((tx) => ensureRepository(tx, { organizationId, generation, name: freshName(), nowMs: NOW_MS }))
  return [await add(), await add()]
}

/** Roots that are kept are those that are derived. */
async function checkRoots(metadata: Metadata, world: readonly Repository[][]): Promise<void> {
  for (const { id } of world.flat()) {
    const roots = () =>
      metadata.db.selectFrom('root').selectAll().where('repository_id', '=', id).orderBy('manifest_id').execute()
    const before = await roots()
    const manifests = await metadata.db.selectFrom('manifest').select('id').where('repository_id', '=', id).execute()
    await metadata.transaction((tx) =>
      refreshRoots(
        tx,
        manifests.map((row) => row.id),
      ),
    )
    assert.deepEqual(await roots(), before)
  }
}

async function removeAll(metadata: Metadata, repository: Repository): Promise<void> {
  const { organizationId } = repository
  const roots = await metadata.db
    .selectFrom('root')
    .select('manifest_id')
    .where('repository_id', '=', repository.id)
    .execute()
  await evict(
    metadata,
    repository,
    roots.map((row) => row.manifest_id),
  )
  // Stored without a tag.
  const rest = await sql<{ id: number }>`select id from manifest where repository_id = ${repository.id}`.execute(
    metadata.db,
  )
  const manifestIds = rest.rows.map((row) => row.id)
  await metadata.transaction((tx) => removeManifests(tx, { organizationId, manifestIds, nowMs: NOW_MS }))
}
