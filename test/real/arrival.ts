/** What must arrive of an image that was pushed, and what a registry may be asked for on the way. */
import assert from 'node:assert/strict'
import { blobsOf, type FakeManifest } from '../fakes/content.ts'
import type { PulledImage } from './client.ts'
import type { RegistryRequest } from './docker-registry.ts'
import type { PushedImage } from './images.ts'

/** Which platforms a client takes: its own only, or all. */
export type Reach = 'own' | 'all'

/** `top` and what lies below it, each once. */
export function contentBelow(top: FakeManifest): FakeManifest[] {
  const all = [top, ...top.children.flatMap(contentBelow)]
  return all.filter((content, position) => all.findIndex((other) => other.digest === content.digest) === position)
}

/** The manifests that lead from `top` to `own`, both included. */
function pathTo(top: FakeManifest, own: FakeManifest): FakeManifest[] {
  if (top.digest === own.digest) return [top]
  const child = top.children.find((candidate) => contentBelow(candidate).some(({ digest }) => digest === own.digest))
  return child === undefined ? [] : [top, ...pathTo(child, own)]
}

function manifestsOf(image: PushedImage, reach: Reach): FakeManifest[] {
  return reach === 'all' ? contentBelow(image.top) : pathTo(image.top, image.own)
}

function blobDigestsOf(image: PushedImage, reach: Reach): string[] {
  const holders = reach === 'all' ? contentBelow(image.top) : [image.own]
  return [...new Set(holders.flatMap(blobsOf).map(({ digest }) => digest))]
}

/** Compare by digest what a client says that it has with what was pushed. */
export function assertArrived(pulled: PulledImage, image: PushedImage, reach: Reach): void {
  assert.equal(pulled.topDigest, image.top.digest, 'what the tag names')
  if (pulled.configDigest !== undefined) assert.equal(pulled.configDigest, image.own.config?.digest, 'the config')
  if (pulled.diffIds !== undefined) assert.deepEqual(pulled.diffIds, image.diffIds, 'the layers, unpacked')
  if (pulled.digests === undefined) return
  const expected = [...manifestsOf(image, reach).map(({ digest }) => digest), ...blobDigestsOf(image, reach)]
  assert.deepEqual([...new Set(pulled.digests)].sort(), expected.sort(), 'all content')
}

/**
 * A cold pull asks for each blob once, unless the organization holds it already, and for each manifest once.
 * `held`: the digests of the blobs that the organization holds; those of this image are added.
 */
export function assertCold(
  requests: readonly RegistryRequest[],
  image: PushedImage,
  reach: Reach,
  held: Set<string>,
): void {
  const gets = requests.filter(({ method, status }) => method === 'GET' && status === 200)
  const blobs = gets.filter(({ path }) => path.includes('/blobs/')).map(({ path }) => path.split('/').at(-1))
  const missing = blobDigestsOf(image, reach).filter((digest) => !held.has(digest))
  assert.deepEqual(blobs.sort(), missing.sort(), 'each blob once')
  for (const digest of missing) held.add(digest)
  const manifests = gets.filter(({ path }) => path.includes('/manifests/')).map(({ path }) => path)
  assert.equal(manifests.length, manifestsOf(image, reach).length, `each manifest once: ${manifests.join(' ')}`)
}

/** A warm pull asks only whether the tag still names the same. */
export function assertWarm(requests: readonly RegistryRequest[]): void {
  const others = requests.filter(({ method, path }) => method !== 'HEAD' || !path.includes('/manifests/'))
  assert.deepEqual(others, [])
}
