/** Steps that run beside others, or that a crash cuts short: what they come to depends, but bytes are right. */
import assert from 'node:assert/strict'
import { attempt, caseOf, getBlob, getManifest, headManifest } from './client.ts'
import { setLimit } from './settings.ts'
import type { Step } from './step.ts'
import { performChange } from './tag-changes.ts'
import { type At, byDigest, pick, type World } from './world.ts'

export class LooseSteps {
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  /** Side by side: each goes on in turn, when the others have come to a stop. */
  async together(step: Step & { kind: 'together' }): Promise<void> {
    const failures: unknown[] = []
    const starts = step.steps.map((inner) => async () => {
      try {
        await this.perform(inner)
      } catch (error) {
        failures.push(error)
      }
    })
    const { turns, system } = this.#world
    await turns.lead(starts, step.order, system.activity)
    if (failures.length > 0) throw failures[0]
  }

  async perform(step: Step): Promise<void> {
    const { system, nowMs } = this.#world
    switch (step.kind) {
      case 'pull':
        return this.#pull(this.#world.at(step), step)
      case 'head': {
        const at = this.#world.at(step)
        const reference = step.by === 'tag' ? ({ kind: 'tag', tag: at.tag } as const) : byDigest(at.image.digest)
        const answer = await headManifest(this.#world, at, reference)
        if (step.thenGet && answer.image !== undefined)
          await getManifest(this.#world, at, byDigest(answer.image.digest))
        return
      }
      case 'blob': {
        const at = this.#world.at(step)
        this.#expectServed(at, await getBlob(this.#world, at, this.#world.blob(step.blob)))
        return
      }
      case 'limit': {
        const organization = this.#world.organization(step.org)
        await this.#tolerant(() => setLimit(system.metadata, organization.organizationId, step.bytes, nowMs))
        organization.limitBytes = step.bytes
        await system.shrinker.shrink(organization.organizationId)
        return
      }
      case 'collect':
        return system.collector.run()
      case 'flush':
        return system.uses.flush()
      case 'together':
        return this.together(step)
      case 'delete':
      case 'restore':
      case 'pin':
      case 'unpin':
      case 'setExpiry':
      case 'destroy':
        await attempt(() => performChange(this.#world, this.#world.at(step), step))
        return
      default:
        throw new Error(`${step.kind} does not run beside others`)
    }
  }

  async #pull(at: At, wanted: { by: 'tag' | 'digest'; child: number; blobs: number }): Promise<void> {
    const reference = wanted.by === 'tag' ? ({ kind: 'tag', tag: at.tag } as const) : byDigest(at.image.digest)
    let answer = await getManifest(this.#world, at, reference)
    for (let depth = 0; answer.image !== undefined && answer.image.children.length > 0; depth++) {
      assert.ok(depth < 8)
      answer = await getManifest(this.#world, at, byDigest(pick(answer.image.children, wanted.child).digest))
    }
    if (answer.image === undefined) {
      if (this.#isServing(at)) assert.equal(answer.error, 'QUOTA_EXCEEDED')
      return
    }
    for (const [index, blob] of answer.image.blobs.entries()) {
      if ((wanted.blobs & (1 << index)) !== 0) this.#expectServed(at, await getBlob(this.#world, at, blob.digest))
    }
  }

  #expectServed(at: At, answer: string): void {
    if (this.#isServing(at)) assert.equal(answer, 'done', 'once the manifest was given, a blob was refused')
  }

  #isServing({ organization }: At): boolean {
    return organization.upstream.mode === 'up' && !this.#world.system.life.isOver
  }

  async #tolerant(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (caseOf(error) !== 'Crashed') throw error
    }
  }
}
