/** A client: it asks, and checks every byte that it gets. */
import assert from 'node:assert/strict'
import { AdminError } from '../../../src/admin/admin-error.ts'
import { RegistryError } from '../../../src/errors.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import type { Reference } from '../../../src/oci/reference.ts'
import type { ModelImage } from './content.ts'
import { Crashed } from './crash.ts'
import type { At, World } from './world.ts'

export type Answer = { image: ModelImage; outcome: string; error?: undefined } | { error: string; image?: undefined }

/** The case of a refusal; what is neither answer nor refusal is a failure of the test. */
export function caseOf(error: unknown): string {
  if (error instanceof RegistryError && error.case !== 'UNKNOWN') return error.case
  if (error instanceof AdminError && error.case !== 'INTERNAL_ERROR') return error.case
  if (error instanceof Crashed) return 'Crashed'
  throw error
}

export async function attempt(work: () => Promise<unknown>): Promise<string> {
  try {
    await work()
    return 'done'
  } catch (error) {
    return caseOf(error)
  }
}

export async function getManifest(world: World, at: At, reference: Reference): Promise<Answer> {
  try {
    const registry = await world.registry(at)
    const { descriptor, bytes, provenance } = await registry.getManifest(at.repository, reference)
    const image = world.imageOf(descriptor.digest)
    assert.ok(bytes.equals(image.manifest.bytes), `the manifest ${image.name} came with other bytes`)
    if (reference.kind === 'digest') assert.equal(descriptor.digest, reference.digest)
    return { image, outcome: provenance.outcome }
  } catch (error) {
    return { error: caseOf(error) }
  }
}

export async function headManifest(world: World, at: At, reference: Reference): Promise<Answer> {
  try {
    const registry = await world.registry(at)
    const { descriptor, provenance } = await registry.resolveManifest(at.repository, reference)
    return { image: world.imageOf(descriptor.digest), outcome: provenance.outcome }
  } catch (error) {
    return { error: caseOf(error) }
  }
}

/** `done`, or why not. Bytes that break off, as they must when they cannot be completed, are `broken`. */
export async function getBlob(world: World, at: At, digest: Digest): Promise<string> {
  const registry = await world.registry(at)
  const chunks: Buffer[] = []
  let served: Awaited<ReturnType<typeof registry.openBlob>>
  try {
    served = await registry.openBlob(at.repository, digest, undefined)
  } catch (error) {
    return caseOf(error)
  }
  assert.ok('pipe' in served)
  try {
    await served.pipe({
      write: (block) => {
        chunks.push(Buffer.from(block))
        return Promise.resolve(true)
      },
    })
  } catch {
    return 'broken'
  }
  assert.ok(Buffer.concat(chunks).equals(world.content.blobs.get(digest) ?? Buffer.of()), `${digest}: other bytes`)
  return 'done'
}
