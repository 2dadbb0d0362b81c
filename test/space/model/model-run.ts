/** A run: steps one after the other, with everything checked after each. */
import assert from 'node:assert/strict'
import { unlinkSync } from 'node:fs'
import { HOUR_MS, MINUTE_MS } from '../../../src/base/units.ts'
import { blobPath } from '../../../src/blobs/layout.ts'
import { findInstanceValue } from '../../../src/metadata/instance.ts'
import { recountUsage } from '../../../src/metadata/ledger.ts'
import { markOrganizationDeleted, updateOrganization } from '../../../src/metadata/organizations.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import { getBlob } from './client.ts'
import { freeRoots, isHeldBlob, type Policy } from './expectations.ts'
import { checkInvariants } from './invariants.ts'
import { LooseSteps } from './loose-steps.ts'
import type { Place, Snapshot } from './place.ts'
import { Pulls } from './pulls.ts'
import { changeExpiration, changeUpstream, setLimit } from './settings.ts'
import type { RunPlan, Step } from './step.ts'
import { TagChanges } from './tag-changes.ts'
import { TagModel, visibleRepositories } from './tag-model.ts'
import { pick, World } from './world.ts'

/** What says that something went wrong inside, though nobody was refused. */
const FAILURES: ReadonlySet<string> = new Set([
  ...['manifest_not_stored', 'tag_not_stored', 'tag_not_confirmed', 'last_uses_not_written', 'last_uses_dropped'],
  ...['store_failed', 'publish_failed', 'digest_mismatch', 'store_capacity_unknown', 'repository_denial_not_written'],
  ...['job_failed', 'jobs_not_run', 'collection_failed', 'shrink_failed', 'clock_tick_failed'],
])

type Held = { organizationId: number; digest: Digest; release: () => void; ended: Promise<string> }

export class ModelRun {
  readonly world: World
  readonly #tags: TagModel
  readonly #pulls: Pulls
  readonly #changes: TagChanges
  readonly #loose: LooseSteps
  #held: Held[] = []
  #hasLitter = false
  #hasExpirationJob = false
  #guard: { tickAtMs: number | undefined; heldUntilMs: number } = { tickAtMs: undefined, heldUntilMs: 0 }

  private constructor(world: World) {
    this.world = world
    this.#tags = new TagModel(world)
    this.#pulls = new Pulls(world, this.#tags, () => this.#held.length > 0)
    this.#changes = new TagChanges(world, this.#tags)
    this.#loose = new LooseSteps(world)
  }

  /** Errors: AssertionError, after which the place is fit for another run. */
  static async run(place: Place, plan: RunPlan): Promise<void> {
    const run = new ModelRun(await World.open(place, plan))
    for (const [index, step] of plan.steps.entries()) {
      try {
        await run.#step(step)
      } catch (error) {
        await run.#abandon()
        const where = `step ${index}, ${JSON.stringify(step)}`
        throw new Error(`${where}: ${error instanceof Error ? error.message : error}`, { cause: error })
      }
    }
    await run.#end()
  }

  async #step(step: Step): Promise<void> {
    const { world } = this
    const before = world.rows
    const limits = world.organizations.map(({ limitBytes = Number.POSITIVE_INFINITY }) => limitBytes)
    const isSequential = await this.#perform(step)
    // Those look at the rows themselves at their end.
    const isSeen = ['pull', 'head', 'blob', 'collect', 'release'].includes(step.kind)
    const rows = isSeen ? world.rows : await world.look(this.#held.length > 0)
    checkInvariants(world.place, world.content, rows, {
      hasLitter: this.#hasLitter,
      isReceiving: this.#held.length > 0,
    })
    // Beside other steps a limit may be lowered when the charge has risen.
    this.#checkCharges(before, rows, isSequential ? [] : limits)
    this.#checkEvents()
    if (isSequential) this.#tags.check(rows, step.kind === 'collect')
    else this.#tags.adopt(rows)
  }

  /** Resolves to whether the model foretells all of it. */
  async #perform(step: Step): Promise<boolean> {
    const { world } = this
    switch (step.kind) {
      case 'pull':
        await this.#release()
        await this.#pulls.pull(world.at(step), step)
        return true
      case 'head':
        if (step.by === 'tag') await this.#pulls.headByTag(world.at(step), step.thenGet)
        else await this.#pulls.headByDigest(world.at(step))
        return true
      case 'blob':
        await this.#release()
        await this.#pulls.getBlob(world.at(step), world.blob(step.blob))
        return true
      case 'retag': {
        const { organization, upstreamName, tag, image } = world.at(step)
        organization.upstream.tags.set(`${upstreamName}:${tag}`, image)
        return true
      }
      case 'upstream':
        world.organization(step.org).upstream.mode = step.mode
        return true
      case 'advance':
        await this.#advance(step.ms, step.isJump)
        return true
      case 'flush':
        await this.#flush()
        return true
      case 'collect':
        return this.#collect()
      case 'hold':
        await this.#hold(step)
        return true
      case 'release':
        await this.#release()
        return true
      case 'together':
        await this.#release()
        await this.#loose.together(step)
        await world.system.uses.flush()
        this.#pulls.written()
        await this.#readGuard()
        // Which HEADs are remembered of it is not foretold: none.
        for (const { name } of world.organizations) world.system.directory.forget(name)
        this.#pulls.forget()
        return false
      case 'crash':
        await this.#crash(step)
        return false
      case 'limit':
      case 'expiration':
      case 'window':
      case 'generation':
        return this.#changeSettings(step)
      case 'damage':
        await this.#damage(step)
        return true
      default:
        await this.#changes.perform(step)
        return true
    }
  }

  async #changeSettings(step: Step & { kind: 'limit' | 'expiration' | 'window' | 'generation' }): Promise<boolean> {
    const { system, nowMs } = this.world
    const organization = this.world.organization(step.org)
    const { organizationId: id } = organization
    switch (step.kind) {
      case 'limit':
        return this.#limit(step)
      case 'expiration': {
        const { expirationSeconds: fromSeconds } = organization
        const change = { fromSeconds, toSeconds: step.seconds, changedAtMs: nowMs }
        await changeExpiration(system.metadata, id, change)
        organization.expirationSeconds = step.seconds
        this.#hasExpirationJob = true
        break
      }
      case 'window':
        await updateOrganization(system.metadata.db, id, { tagExpirationSeconds: step.seconds })
        organization.windowSeconds = step.seconds
        break
      case 'generation':
        await this.#release()
        await system.uses.flush()
        organization.generation = await changeUpstream(system.metadata, id, nowMs)
        break
    }
    system.directory.forget(organization.name)
    this.#pulls.forget(organization.namespace) // It goes with the former view of the organization.
    return true
  }

  async #limit(step: Step & { kind: 'limit' }): Promise<boolean> {
    const { system, nowMs, rows } = this.world
    const organization = this.world.organization(step.org)
    const { organizationId: id } = organization
    const charge = rows.usage.find((row) => row.organization_id === id)?.charge_bytes ?? 0
    const limitBytes = step.below ? Math.max(1, charge - (step.bytes ?? 3000)) : step.bytes
    await setLimit(system.metadata, id, limitBytes, nowMs)
    organization.limitBytes = limitBytes
    if (!step.shrinks) return true
    await system.shrinker.shrink(id)
    this.#checkShrunk(await this.world.look(this.#held.length > 0), [organization])
    return true
  }

  async #advance(ms: number, isJump: boolean): Promise<void> {
    await this.#flush()
    const { world } = this
    const passes = isJump ? [] : [ms - HOUR_MS, Math.min(ms, HOUR_MS)]
    if (isJump) world.nowMs += ms
    // As if it had been looked at all the while: a hold ends within the hour that is left.
    for (const passed of passes) {
      if (passed <= 0) continue
      world.nowMs += passed
      await world.system.guard.tick()
      this.#tick()
    }
  }

  /** What the clock guard must make of the time. */
  #tick(): void {
    const { nowMs } = this.world
    const movedMs = Math.abs(nowMs - (this.#guard.tickAtMs ?? nowMs))
    const heldUntilMs = movedMs > HOUR_MS ? nowMs + HOUR_MS : this.#guard.heldUntilMs
    this.#guard = { tickAtMs: nowMs, heldUntilMs }
  }

  /** Something that was not foretold may have looked at the clock. */
  async #readGuard(): Promise<void> {
    const state = await findInstanceValue(this.world.place.metadata.db, 'clock_tick_at')
    if (state !== undefined) this.#guard = JSON.parse(state)
  }

  async #flush(): Promise<void> {
    await this.world.system.uses.flush()
    this.#pulls.written()
    this.#tags.checkWritten(await this.world.look(this.#held.length > 0))
  }

  async #collect(): Promise<boolean> {
    const { world } = this
    const isForetold = !this.#hasExpirationJob
    const before = world.rows
    await world.system.collector.run()
    this.#tick()
    const isHeld = world.nowMs < this.#guard.heldUntilMs
    this.#hasLitter = false
    this.#hasExpirationJob = false
    const rows = await world.look(this.#held.length > 0)
    const idle = rows.reservation.filter((row) => row.touched_at < world.nowMs - 15 * MINUTE_MS)
    assert.equal(idle.length, 0, 'an idle reservation is still open')
    assert.deepEqual(rows.job, [], 'a job was not done')
    for (const organization of rows.organization) {
      const isDue = (root: { expires_at: number | null }) =>
        root.expires_at !== null && root.expires_at + organization.tag_expiration_s * 1000 <= world.nowMs
      const due = (isHeld ? [] : freeRoots(rows, organization.id, () => this.#held.length > 0)).filter(isDue)
      if (isForetold) assert.equal(due.length, 0, 'an image whose time is over was not collected')
      if (!isHeld) continue
      const there = new Set([...rows.tag.map((row) => row.id)])
      const visible = visibleRepositories(before)
      const gone = before.tag.filter(
        (row) => row.organization_id === organization.id && visible.has(row.repository_id) && !there.has(row.id),
      )
      assert.equal(gone.length, 0, 'something was collected though the clock had jumped')
    }
    this.#checkShrunk(rows, world.organizations)
    for (const { organizationId } of world.organizations) {
      const { chargeBytes, ledgerBytes, trueBytes } = await recountUsage(world.place.metadata.db, organizationId)
      assert.deepEqual([ledgerBytes, trueBytes], [chargeBytes, chargeBytes], 'a recount gives other figures')
    }
    return isForetold
  }

  /** Below its limit, or all that is left is pinned or being received. */
  #checkShrunk(rows: Snapshot, organizations: readonly Policy[]): void {
    for (const { organizationId, limitBytes } of organizations) {
      const charge = rows.usage.find((row) => row.organization_id === organizationId)?.charge_bytes ?? 0
      if (limitBytes === undefined || charge <= limitBytes || this.#held.length > 0) continue
      assert.equal(
        freeRoots(rows, organizationId, () => false).length,
        0,
        'the organization did not shrink to its limit',
      )
    }
  }

  #checkCharges(before: Snapshot, rows: Snapshot, formerLimits: readonly number[]): void {
    for (const [index, { organizationId, limitBytes }] of this.world.organizations.entries()) {
      const chargeOf = (of: Snapshot) =>
        of.usage.find((row) => row.organization_id === organizationId)?.charge_bytes ?? 0
      const most = Math.max(limitBytes ?? Number.POSITIVE_INFINITY, chargeOf(before), formerLimits[index] ?? 0)
      assert.ok(chargeOf(rows) <= most, `the charge rose above the limit: ${chargeOf(rows)} of ${limitBytes}`)
    }
  }

  #checkEvents(): void {
    for (const { event, fields } of this.world.system.events.splice(0)) {
      if (!FAILURES.has(event)) continue
      throw new Error(`${event}: ${String(fields['error'])}`, { cause: fields['error'] })
    }
  }

  async #hold(step: Step & { kind: 'hold' }): Promise<void> {
    await this.#release()
    const at = this.world.at(step)
    const { upstream, organizationId } = at.organization
    const gate = Promise.withResolvers<void>()
    const { nowMs } = this.world
    const repositoryBlobs = this.world.rows.manifest_blob.filter((row) => row.repository_id === at.repositoryId)
    const digest =
      repositoryBlobs.length > 0 ? (pick(repositoryBlobs, step.blob).digest as Digest) : this.world.blob(step.blob)
    if (isHeldBlob(this.world.rows, at.organization, at.repositoryId, digest)) return
    upstream.held = gate.promise
    const ended = getBlob(this.world, at, digest)
    this.#held.push({ organizationId, digest, release: () => gate.resolve(), ended })
    await this.world.system.activity.quiet()
    upstream.held = undefined
    assert.equal(nowMs, this.world.nowMs)
  }

  /** Let clients that were held up go on to their end. */
  async #release(): Promise<void> {
    for (const { release, ended } of this.#held.splice(0)) {
      release()
      await ended
      await this.world.look(false)
    }
  }

  async #damage(step: Step & { kind: 'damage' }): Promise<void> {
    await this.#release()
    const { place, rows } = this.world
    const at = this.world.at(step)
    const stored = rows.manifest_blob.filter(
      (row) => row.repository_id === at.repositoryId && isHeldBlob(rows, at.organization, at.repositoryId, row.digest),
    )
    if (stored.length === 0) return
    const digest = pick(stored, step.blob).digest as Digest
    unlinkSync(blobPath(place.blobFolder, digest))
    const answer = await getBlob(this.world, at, digest)
    if (at.organization.upstream.mode === 'up') assert.equal(answer, 'done', 'a missing file was not fetched again')
    else assert.notEqual(answer, 'done')
  }

  async #crash(step: Step & { kind: 'crash' }): Promise<void> {
    await this.#release()
    const { world } = this
    world.system.life.endIn(step.instant)
    try {
      await this.#loose.perform(step.step)
    } catch (error) {
      // Whatever a dying process throws; but it serves no wrong bytes.
      if (!world.system.life.isOver || error instanceof assert.AssertionError) throw error
    }
    world.system.life.end()
    await world.system.settle()
    this.#hasLitter = true
    this.#pulls.forget()
    this.#pulls.written() // Or lost.
    await world.start()
    await this.#readGuard()
    this.#hasExpirationJob ||= world.rows.job.length > 0
    for (const organization of world.organizations) {
      const row = world.rows.organization.find(({ id }) => id === organization.organizationId)
      const quota = world.rows.quota.find((found) => found.organization_id === organization.organizationId)
      organization.generation = row?.generation ?? organization.generation
      organization.limitBytes = quota?.limit_bytes
    }
  }

  /** Organizations that are deleted leave nothing behind. */
  async #end(): Promise<void> {
    await this.#release()
    const { world } = this
    await world.system.uses.flush()
    for (const { organizationId, name } of world.organizations) {
      await markOrganizationDeleted(world.system.metadata.db, organizationId, world.nowMs)
      world.system.directory.forget(name)
    }
    await world.system.collector.run()
    const rows = await world.look(false)
    const { store_usage: usage, ...rest } = rows
    assert.deepEqual(
      Object.entries(rest).filter(([, left]) => left.length > 0),
      [],
      'something is left of them',
    )
    assert.equal(usage[0]?.blob_bytes, 0)
    checkInvariants(world.place, world.content, rows, { hasLitter: false, isReceiving: false })
    this.#checkEvents()
  }

  async #abandon(): Promise<void> {
    for (const { release } of this.#held.splice(0)) release()
    this.world.turns.open()
    this.world.system.life.end()
    await this.world.system.settle()
  }
}
