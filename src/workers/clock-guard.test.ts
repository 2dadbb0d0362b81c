import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../base/units.ts'
import { setInstanceValue } from '../metadata/instance.ts'
import { type Metadata, openMetadata } from '../metadata/open.ts'
import { ClockGuard, decideTick, isHeldIn } from './clock-guard.ts'

const START = 1_700_000_000_000

test('a tick is a jump when the clock moved by more than an hour, either way', () => {
  const cases: [movedMs: number, isJump: boolean][] = [
    [0, false],
    [30_000, false],
    [-30_000, false],
    [HOUR_MS, false],
    [-HOUR_MS, false],
    [HOUR_MS + 1, true],
    [-HOUR_MS - 1, true],
    [DAY_MS, true],
  ]
  for (const [movedMs, isJump] of cases) {
    const { state, jump } = decideTick({ tickAtMs: START, heldUntilMs: 0 }, START + movedMs)
    assert.equal(jump !== undefined, isJump, `moved by ${movedMs} ms`)
    assert.equal(isHeldIn(state, START + movedMs), isJump, `moved by ${movedMs} ms`)
  }
})

async function openGuard(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'clock-guard-'))
  const metadata = await openMetadata({ uri: undefined, dataFolder: folder })
  t.after(async () => {
    await metadata.close()
    await rm(folder, { recursive: true })
  })
  return new Rig(metadata)
}

class Rig {
  nowMs = START
  readonly reports: { event: string; fields: Record<string, unknown> }[] = []
  readonly metadata: Metadata
  guard: ClockGuard

  constructor(metadata: Metadata) {
    this.metadata = metadata
    this.guard = this.#make()
  }

  #make(): ClockGuard {
    const report = (event: string, fields: Record<string, unknown>) => this.reports.push({ event, fields })
    return new ClockGuard({ metadata: this.metadata, clock: () => this.nowMs, report })
  }

  /** The process ends and another begins. */
  restart(): void {
    this.guard = this.#make()
  }

  async tickAt(nowMs: number): Promise<void> {
    this.nowMs = nowMs
    await this.guard.tick()
  }
}

test('nothing is collected before the first tick, and the first start ever is no jump', async (t) => {
  const rig = await openGuard(t)
  assert.equal(rig.guard.isHeld(START), true)
  await rig.guard.tick()
  assert.equal(rig.guard.isHeld(START), false)
  await rig.tickAt(START + 30_000)
  assert.equal(rig.guard.isHeld(rig.nowMs), false)
  assert.deepEqual(rig.reports, [])
})

test('a clock that jumps a day forward holds collection for an hour, and the log says why', async (t) => {
  const rig = await openGuard(t)
  await rig.guard.tick()
  const jumped = START + DAY_MS
  assert.equal(rig.guard.isHeld(jumped), true, 'also before a tick has seen it')
  await rig.tickAt(jumped)
  assert.equal(rig.guard.isHeld(jumped + HOUR_MS - 1), true)
  assert.equal(rig.guard.isHeld(jumped + HOUR_MS), false)
  const [report] = rig.reports
  assert.equal(report?.event, 'collection_held')
  assert.match(String(report?.fields['reason']), /forward by 1440 minutes/)
  assert.equal(report?.fields['heldUntilMs'], jumped + HOUR_MS)
})

test('a clock that is set back two hours holds collection', async (t) => {
  const rig = await openGuard(t)
  await rig.guard.tick()
  await rig.tickAt(START - 2 * HOUR_MS)
  assert.equal(rig.guard.isHeld(rig.nowMs), true)
  assert.match(String(rig.reports[0]?.fields['reason']), /back by 120 minutes/)
  for (let minutes = 1; minutes <= 60; minutes++) await rig.tickAt(START - 2 * HOUR_MS + minutes * MINUTE_MS)
  assert.equal(rig.guard.isHeld(rig.nowMs), false)
  assert.equal(rig.reports.length, 1)
})

test('another jump during a hold begins the hold anew', async (t) => {
  const rig = await openGuard(t)
  await rig.guard.tick()
  await rig.tickAt(START + DAY_MS)
  await rig.tickAt(START)
  assert.equal(rig.guard.isHeld(START + HOUR_MS - 1), true, 'until an hour of the clock that was put right')
  assert.equal(rig.guard.isHeld(START + HOUR_MS), false)
  await rig.tickAt(START + 30 * MINUTE_MS)
  await rig.tickAt(START + 4 * HOUR_MS)
  assert.equal(rig.guard.isHeld(START + 5 * HOUR_MS - 1), true)
  assert.equal(rig.reports.length, 3)
})

test('after a long time off collection waits, after a short one it does not', async (t) => {
  const rig = await openGuard(t)
  await rig.guard.tick()
  rig.restart()
  await rig.tickAt(START + 10 * MINUTE_MS)
  assert.equal(rig.guard.isHeld(rig.nowMs), false)
  rig.restart()
  await rig.tickAt(START + 3 * DAY_MS)
  assert.equal(rig.guard.isHeld(rig.nowMs), true)
  rig.restart()
  await rig.tickAt(rig.nowMs + MINUTE_MS)
  assert.equal(rig.guard.isHeld(rig.nowMs), true, 'a restart does not end a hold')
  await rig.tickAt(rig.nowMs + HOUR_MS)
  assert.equal(rig.guard.isHeld(rig.nowMs), false)
})

test('a last tick that cannot be read is none', async (t) => {
  const rig = await openGuard(t)
  for (const text of ['', '{', 'null', '7', '{"tickAtMs":"x","heldUntilMs":1}']) {
    await setInstanceValue(rig.metadata.db, 'clock_tick_at', text)
    rig.restart()
    await rig.guard.tick()
    assert.equal(rig.guard.isHeld(rig.nowMs), false)
  }
})
