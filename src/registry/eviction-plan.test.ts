import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ManifestFacts, RootFacts } from '../metadata/eviction-facts.ts'
import type { Digest } from '../oci/digest.ts'
import { EvictionSimulation, planEviction } from './eviction-plan.ts'

/** An organization as sets: which manifests hold which, and which blobs they name. Bytes are the blob's own number. */
type World = {
  manifests: { id: number; isRoot: boolean; children: number[]; blobs: number[] }[]
}

const noneKept: ReadonlySet<string> = new Set()

test('a blob that two images share is freed with the last of them', () => {
  const world: World = { manifests: [image(1, [10, 20]), image(2, [20, 30])] }
  const simulation = new EvictionSimulation(noneKept)
  assert.equal(simulation.removeRoot(factsOf(world, 1)), 10 + 1)
  assert.equal(simulation.removeRoot(factsOf(world, 2)), 50 + 1)
})

test('a platform that another index holds stays until that goes too', () => {
  const world: World = {
    manifests: [index(1, [3]), index(2, [3]), { id: 3, isRoot: false, children: [], blobs: [100] }],
  }
  const simulation = new EvictionSimulation(noneKept)
  assert.equal(simulation.removeRoot(factsOf(world, 1)), 1)
  assert.equal(simulation.removeRoot(factsOf(world, 2)), 102)
})

test('a platform that is an image of its own stays when its index goes, and goes as itself', () => {
  const world: World = { manifests: [index(1, [2]), image(2, [100])] }
  const simulation = new EvictionSimulation(noneKept)
  assert.equal(simulation.removeRoot(factsOf(world, 2)), 0)
  assert.equal(simulation.removeRoot(factsOf(world, 1)), 102)
})

test('what is asked for keeps what it shares', () => {
  const world: World = { manifests: [image(1, [10, 20])] }
  const simulation = new EvictionSimulation(new Set([`blob ${digestOf(20)}`]))
  assert.equal(simulation.removeRoot(factsOf(world, 1)), 11)
})

test('roots are taken in their order until it is enough, and what was not needed is put back', async () => {
  const world: World = { manifests: [image(1, [5]), image(2, [100]), image(3, [7])] }
  const plan = await planEviction(90, noneKept, sourceOf(world, [1, 2, 3]))
  assert.deepEqual(idsOf(plan.roots), [2])
  assert.equal(plan.freedBytes, 101)
})

test('putting back begins with the newest', async () => {
  const world: World = { manifests: [image(1, [50]), image(2, [51]), image(3, [60])] }
  const plan = await planEviction(105, noneKept, sourceOf(world, [1, 2, 3]))
  assert.deepEqual(idsOf(plan.roots), [1, 3])
})

test('siblings go only when no root is left that may', async () => {
  const world: World = {
    manifests: [image(1, [10]), index(2, [3, 4]), child(3, [20]), child(4, [30])],
  }
  const plan = await planEviction(25, noneKept, sourceOf(world, [1], [3, 4]))
  assert.deepEqual(idsOf(plan.roots), [1])
  assert.deepEqual(idsOf(plan.siblings), [3])
})

test('when it is not enough, the plan says so', async () => {
  const plan = await planEviction(1000, noneKept, sourceOf({ manifests: [image(1, [10])] }, [1]))
  assert.equal(plan.isEnough, false)
})

test('a plan frees what removing its roots frees by definition, suffices, and holds no root that it can do without', async () => {
  await fc.assert(
    fc.asyncProperty(worlds(), fc.nat(400), fc.uniqueArray(fc.nat(30)), async (world, deficitBytes, keptBlobs) => {
      const kept = new Set(keptBlobs.map((blob) => `blob ${digestOf(blob)}`))
      const roots = world.manifests.filter((manifest) => manifest.isRoot).map((manifest) => manifest.id)
      const plan = await planEviction(deficitBytes, kept, sourceOf(world, roots))
      const freed = (ids: number[]) => bytesOf(world, new Set(), kept) - bytesOf(world, new Set(ids), kept)
      if (!plan.isEnough) {
        assert.ok(freed(roots) < deficitBytes)
        return
      }
      const taken = idsOf(plan.roots)
      assert.equal(plan.freedBytes, freed(taken))
      assert.ok(plan.freedBytes >= deficitBytes)
      for (const root of taken) assert.ok(freed(taken.filter((other) => other !== root)) < deficitBytes)
    }),
    { numRuns: 500 },
  )
})

/** Worlds of a few manifests; an index holds only manifests after it, so that there are no circles. */
function worlds(): fc.Arbitrary<World> {
  const manifest = fc.record({
    isRoot: fc.boolean(),
    children: fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }),
    blobs: fc.uniqueArray(fc.nat(30), { maxLength: 4 }),
  })
  return fc.array(manifest, { minLength: 1, maxLength: 9 }).map((drawn) => {
    const manifests = drawn.map(({ isRoot, children, blobs }, position) => ({
      id: position + 1,
      isRoot,
      children: children.map((step) => position + 1 + step).filter((id) => id <= drawn.length),
      blobs,
    }))
    // What nothing holds is a root, or it would not be there.
    const held = new Set(manifests.flatMap(({ children }) => children))
    return { manifests: manifests.map((one) => ({ ...one, isRoot: one.isRoot || !held.has(one.id) })) }
  })
}

/** The definition: what the remaining roots reach is kept, each digest once. */
function bytesOf(world: World, gone: ReadonlySet<number>, kept: ReadonlySet<string>): number {
  const reached = new Set<number>()
  const reach = (id: number) => {
    reached.add(id)
    for (const below of manifestOf(world, id).children) reach(below)
  }
  for (const manifest of world.manifests) if (manifest.isRoot && !gone.has(manifest.id)) reach(manifest.id)
  const blobs = new Set([...reached].flatMap((id) => manifestOf(world, id).blobs))
  return [...blobs]
    .filter((blob) => !kept.has(`blob ${digestOf(blob)}`))
    .reduce((sum, blob) => sum + blob, reached.size)
}

function factsOf(world: World, id: number): RootFacts {
  const ids = [id]
  for (const above of ids)
    for (const below of manifestOf(world, above).children) if (!ids.includes(below)) ids.push(below)
  return {
    manifestId: id,
    repositoryId: 1,
    digest: digestOf(id, 'e'),
    manifests: ids.map((one) => manifestFacts(world, one)),
  }
}

function manifestFacts(world: World, id: number): ManifestFacts {
  const { isRoot, blobs } = manifestOf(world, id)
  const digest = digestOf(id, 'e')
  const holders = (blob: number) => world.manifests.filter((one) => one.blobs.includes(blob)).length
  return {
    manifestId: id,
    digest,
    sizeBytes: 1,
    isRoot,
    parentIds: world.manifests.filter((one) => one.children.includes(id)).map((one) => one.id),
    lastUsedAtMs: id,
    items: [
      { kind: 'manifest', digest, sizeBytes: 1, holders: 1 },
      ...blobs.map((blob) => ({
        kind: 'blob' as const,
        digest: digestOf(blob),
        sizeBytes: blob,
        holders: holders(blob),
      })),
    ],
  }
}

function sourceOf(world: World, roots: number[], siblings: number[] = []) {
  async function* facts(ids: number[]): AsyncGenerator<RootFacts> {
    for (const id of ids) yield factsOf(world, id)
  }
  return { roots: facts(roots), siblings: facts(siblings) }
}

function manifestOf(world: World, id: number): World['manifests'][number] {
  const manifest = world.manifests.find((one) => one.id === id)
  assert.ok(manifest !== undefined)
  return manifest
}

function image(id: number, blobs: number[]): World['manifests'][number] {
  return { id, isRoot: true, children: [], blobs }
}

function child(id: number, blobs: number[]): World['manifests'][number] {
  return { id, isRoot: false, children: [], blobs }
}

function index(id: number, children: number[]): World['manifests'][number] {
  return { id, isRoot: true, children, blobs: [] }
}

function idsOf(facts: readonly RootFacts[]): number[] {
  return facts.map((one) => one.manifestId)
}

function digestOf(number: number, letter = 'b'): Digest {
  return `sha256:${number.toString(16).padStart(64, letter)}` as Digest
}
