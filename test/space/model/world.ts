/** One run's world: two organizations on two namespaces of one registry, the time, and the process that serves them. */
import assert from 'node:assert/strict'
import { DAY_MS } from '../../../src/base/units.ts'
import { createOrganization } from '../../../src/metadata/organizations.ts'
import { insertProxyCache } from '../../../src/metadata/proxy-caches.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import { parseTag, type Reference, type Tag } from '../../../src/oci/reference.ts'
import { type Content, type ModelImage, makeContent } from './content.ts'
import { findManifestRow, findRepositoryId, findTagRow, isTooLarge, mayBeBlocked, type Policy } from './expectations.ts'
import { ModelUpstream } from './model-upstream.ts'
import type { Place, Snapshot } from './place.ts'
import { setLimit } from './settings.ts'
import type { RunPlan, Spot } from './step.ts'
import { type System, startSystem } from './system.ts'
import { Turns } from './turns.ts'

export type ModelOrganization = Policy & {
  name: string
  upstream: ModelUpstream
  namespace: string
  expirationSeconds: number
  windowSeconds: number
}

/** Where something happens. */
export type At = {
  organization: ModelOrganization
  repository: string
  repositoryId: number | undefined
  upstreamName: string
  tag: Tag
  image: ModelImage
}

export const REPOSITORIES = ['app', 'lib']
export const TAGS = ['t1', 't2', 't3'].flatMap((name) => parseTag(name) ?? [])
const NAMESPACES = ['first', 'second']

export class World {
  readonly place: Place
  readonly content: Content
  readonly organizations: ModelOrganization[] = []
  readonly turns = new Turns()
  nowMs = 1_800_000_000_000
  system!: System
  rows!: Snapshot
  readonly #plan: RunPlan

  private constructor(place: Place, plan: RunPlan) {
    this.place = place
    this.content = makeContent('model')
    this.#plan = plan
  }

  static async open(place: Place, plan: RunPlan): Promise<World> {
    await place.wipe()
    const world = new World(place, plan)
    for (const [index, namespace] of NAMESPACES.entries()) await world.#addOrganization(index, namespace)
    await world.start()
    return world
  }

  async start(): Promise<void> {
    this.system = await startSystem({
      place: this.place,
      clock: () => this.nowMs,
      upstreamOf: (name) => this.#named(name).upstream,
      storageLimitBytes: this.storageLimitBytes,
    })
    this.rows = await this.place.read()
  }

  get storageLimitBytes(): number | undefined {
    return this.#plan.storageLimitBytes
  }

  organization(index: number): ModelOrganization {
    return pick(this.organizations, index)
  }

  at(spot: Spot): At {
    const organization = this.organization(spot.org)
    const repository = pick(REPOSITORIES, spot.repo)
    return {
      organization,
      repository,
      repositoryId: findRepositoryId(this.rows, organization, repository),
      upstreamName: `${organization.namespace}/${repository}`,
      tag: pick(TAGS, spot.tag),
      image: pick(this.content.images, spot.image),
    }
  }

  /** The same place after something has happened. */
  again(at: At): At {
    return { ...at, repositoryId: findRepositoryId(this.rows, at.organization, at.repository) }
  }

  async registry({ organization }: At) {
    const found = await this.system.directory.findCached(organization.name)
    assert.ok(found !== undefined, 'the organization is gone')
    return found
  }

  blob(index: number): Digest {
    return pick([...this.content.blobs.keys()], index)
  }

  /** Wait until nothing is running but what is held, and look at all rows. */
  async look(isReceiving: boolean): Promise<Snapshot> {
    if (isReceiving) await this.system.activity.quiet()
    else await this.system.settle()
    this.rows = await this.place.read()
    return this.rows
  }

  isTooLarge(rows: Snapshot, at: At, image: ModelImage, by: 'tag' | 'digest'): boolean {
    return isTooLarge(rows, at.organization, image, by === 'tag' ? at : undefined)
  }

  mayBeBlocked(rows: Snapshot, at: At, image: ModelImage, isReceiving: boolean): boolean {
    const { repositoryId } = at
    const { nowMs } = this
    return mayBeBlocked(rows, at.organization, { repositoryId, image, nowMs, isReceiving })
  }

  isKept(rows: Snapshot, at: At, image: ModelImage): boolean {
    return findManifestRow(rows, at.repositoryId, image.digest) !== undefined
  }

  tagRow(rows: Snapshot, at: At) {
    return findTagRow(rows, at.repositoryId, at.tag)
  }

  expiryFromNow({ expirationSeconds }: ModelOrganization): number | null {
    return expirationSeconds === 0 ? null : this.nowMs + expirationSeconds * 1000
  }

  imageOf(digest: string): ModelImage {
    const image = this.content.byDigest.get(digest as Digest)
    assert.ok(image !== undefined, `there is no image ${digest}`)
    return image
  }

  async #addOrganization(index: number, namespace: string): Promise<void> {
    const { db } = this.place.metadata
    const name = `org${index}`
    const windowSeconds = DAY_MS / 1000
    const { id, generation } = await createOrganization(db, {
      name,
      nowMs: this.nowMs,
      tagExpirationSeconds: windowSeconds,
    })
    const expirationSeconds = 86_400
    await insertProxyCache(db, {
      organizationId: id,
      upstreamRegistry: `registry.example/${namespace}`,
      ...{ usernameEncrypted: undefined, passwordEncrypted: undefined, expirationSeconds, insecure: false },
      createdAtMs: this.nowMs,
    })
    const upstream = new ModelUpstream(this.content, this.turns)
    for (const [repo, repository] of REPOSITORIES.entries()) {
      for (const [position, tag] of TAGS.entries()) {
        const image = pick(this.content.images, 3 * repo + 4 * position + index)
        upstream.tags.set(`${namespace}/${repository}:${tag}`, image)
      }
    }
    const limitBytes = this.#plan.limits[index]
    if (limitBytes !== undefined) await setLimit(this.place.metadata, id, limitBytes, this.nowMs)
    const policy = { organizationId: id, generation, limitBytes }
    this.organizations.push({ ...policy, name, upstream, namespace, expirationSeconds, windowSeconds })
  }

  #named(name: string): ModelOrganization {
    const organization = this.organizations.find((candidate) => candidate.name === name)
    assert.ok(organization !== undefined, `there is no organization ${name}`)
    return organization
  }
}

export function byDigest(digest: Digest): Reference {
  return { kind: 'digest', digest }
}

export function pick<Value>(values: readonly Value[], index: number): Value {
  const value = values[index % values.length]
  if (value === undefined) throw new Error('there is nothing to pick from')
  return value
}
