/** Real clients pull real images from a real registry through Entrepot: cold, warm, and with the registry gone. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { sha256 } from '../fakes/content.ts'
import { assertArrived, assertCold, assertWarm, contentBelow, type Reach } from './arrival.ts'
import type { Client } from './client.ts'
import { startContainerd } from './containerd.ts'
import { type DebianPackage, skipUnless } from './debian-packages.ts'
import { type DockerRegistry, startDockerRegistry } from './docker-registry.ts'
import { startDockerd } from './dockerd.ts'
import { IMAGE_KINDS, type ImageKind, type PushedImage, pushImages } from './images.ts'
import { startPodman } from './podman.ts'
import { RegistryWriter } from './registry-writer.ts'
import { startSkopeo } from './skopeo.ts'
import { type RunningEntrepot, startEntrepot } from './start-entrepot.ts'
import { basicAuthorization } from './token-service.ts'

type ClientPlan = {
  name: string
  packages: readonly DebianPackage[]
  reach: Reach
  kinds: readonly ImageKind[]
  start: () => Promise<Client>
}

const FOUR_KINDS: readonly ImageKind[] = ['single', 'index', 'sixtyLayers', 'big']
const PLANS: readonly ClientPlan[] = [
  { name: 'podman', packages: ['podman', 'conmon', 'runc'], reach: 'own', kinds: IMAGE_KINDS, start: startPodman },
  { name: 'skopeo', packages: ['skopeo'], reach: 'all', kinds: FOUR_KINDS, start: startSkopeo },
  // Of these clients only this one follows an index to an index.
  {
    name: 'ctr',
    packages: ['containerd', 'runc'],
    reach: 'own',
    kinds: [...FOUR_KINDS, 'nestedIndex'],
    start: startContainerd,
  },
  { name: 'docker', packages: ['docker.io', 'runc'], reach: 'own', kinds: FOUR_KINDS, start: startDockerd },
]

const skipAll = skipUnless(['docker-registry', 'debootstrap', 'busybox-static', 'util-linux'], { asRoot: true })

describe('real clients through Entrepot', { skip: skipAll }, () => {
  let registry: DockerRegistry
  let images: ReadonlyMap<ImageKind, PushedImage>
  let entrepot: RunningEntrepot
  const clients = new Map<string, Client>()
  const stops: (() => Promise<void>)[] = []

  before(async () => {
    registry = await startDockerRegistry()
    stops.push(() => registry.remove())
    images = await pushImages(new RegistryWriter(registry.url))
    entrepot = await startEntrepot()
    stops.push(() => entrepot.stop())
    // Each client has its own organization, and nothing crosses those: each client's first pull is cold.
    for (const { name } of PLANS) await entrepot.createOrganization(name, { upstream: registry.host })
    await entrepot.createOrganization('bytes', { upstream: registry.host })
  })

  after(async () => {
    for (const stop of stops.reverse()) await stop()
  })

  /** podman and Docker refuse an index inside an index; they are given the inner one. */
  const imageFor = (plan: ClientPlan, kind: ImageKind): PushedImage => {
    const image = images.get(kind)
    assert.ok(image)
    const inner = image.top.children[0]
    if (kind !== 'nestedIndex' || plan.name === 'ctr' || inner === undefined) return image
    return { ...image, top: inner, tag: inner.digest }
  }

  const pull = async (plan: ClientPlan, image: PushedImage): Promise<void> => {
    const client = clients.get(plan.name)
    assert.ok(client, `${plan.name} did not start`)
    const repository = `${plan.name}/${image.repository}`
    const { host, login } = entrepot
    const pulled = await client.pull({ host, repository, reference: image.tag, login })
    assertArrived(pulled, image, plan.reach)
  }

  for (const plan of PLANS) {
    const skip = skipUnless(plan.packages)
    const held = new Set<string>()
    test(`${plan.name} starts`, { skip }, async () => {
      const client = await plan.start()
      clients.set(plan.name, client)
      stops.push(() => client.stop())
    })
    for (const kind of plan.kinds) {
      test(`${plan.name} pulls ${kind}, cold and then warm`, { skip }, async () => {
        const image = imageFor(plan, kind)
        await registry.forgetRequests()
        await pull(plan, image)
        assertCold(await registry.requests(), image, plan.reach, held)
        await registry.forgetRequests()
        await pull(plan, image)
        assertWarm(await registry.requests())
      })
    }
  }

  /** Every digest of an image, as bytes, by our own requests. */
  const readAll = async (image: PushedImage): Promise<void> => {
    const manifests = new Set([image.top, ...image.referrers].flatMap(contentBelow).map(({ digest }) => digest))
    for (const digest of image.digests) {
      const place = manifests.has(digest) ? 'manifests' : 'blobs'
      const answer = await fetch(`${entrepot.url}/v2/bytes/${image.repository}/${place}/${digest}`, {
        headers: { Authorization: basicAuthorization(entrepot.login) },
      })
      assert.equal(answer.status, 200, `${image.kind} ${place} ${digest}`)
      assert.equal(sha256(Buffer.from(await answer.arrayBuffer())), digest)
    }
  }

  test('every digest that was pushed can be read as the bytes that were pushed', async () => {
    for (const image of images.values()) await readAll(image)
  })

  const readReferrers = async () => {
    const image = images.get('referrers')
    assert.ok(image)
    const place = `${entrepot.url}/v2/bytes/${image.repository}/referrers/${image.top.digest}`
    const answer = await fetch(place, { headers: { Authorization: basicAuthorization(entrepot.login) } })
    const body: unknown = await answer.json()
    assert.ok(typeof body === 'object' && body !== null && 'manifests' in body && Array.isArray(body.manifests))
    const digests = body.manifests.map((entry: unknown) =>
      typeof entry === 'object' && entry !== null && 'digest' in entry ? String(entry.digest) : '',
    )
    assert.deepEqual(digests.sort(), image.referrers.map(({ digest }) => digest).sort())
  }

  test('artifacts that refer to an image are found, though the registry has no referrers API', readReferrers)

  test('the registry goes away', async () => {
    await registry.stop()
    await assert.rejects(fetch(`${registry.url}/v2/`))
  })

  for (const plan of PLANS) {
    for (const kind of plan.kinds) {
      test(`${plan.name} pulls ${kind} while the registry is away`, { skip: skipUnless(plan.packages) }, async () => {
        await pull(plan, imageFor(plan, kind))
      })
    }
  }

  test('every digest can still be read, and the referrers found, while the registry is away', async () => {
    for (const image of images.values()) await readAll(image)
    await readReferrers()
  })
})
