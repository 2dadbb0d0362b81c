/** What can happen in a run, as plain data: any part of a list of steps is a list of steps. */
import fc from 'fast-check'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../../../src/base/units.ts'
import type { UpstreamMode } from './model-upstream.ts'

/** Indexes into the run's organizations, repositories, tags, images and blobs; taken modulo their number. */
export type Spot = { org: number; repo: number; tag: number; image: number }

export type Step =
  /** Get a tag (or a digest), one child of an index, and those blobs that the mask has. */
  | ({ kind: 'pull'; by: 'tag' | 'digest'; child: number; blobs: number } & Spot)
  | ({ kind: 'head'; by: 'tag' | 'digest'; thenGet: boolean } & Spot)
  | ({ kind: 'blob'; blob: number } & Spot)
  | ({ kind: 'retag' } & Spot)
  | { kind: 'upstream'; org: number; mode: UpstreamMode }
  | { kind: 'advance'; ms: number; isJump: boolean }
  | { kind: 'flush' }
  | ({ kind: 'delete' | 'restore' | 'pin' | 'unpin'; byDigest: boolean } & Spot)
  | ({ kind: 'setExpiry'; seconds: number | null } & Spot)
  | ({ kind: 'destroy'; isAlive: boolean } & Spot)
  /** Bytes, undefined for none; or `below`: so many bytes less than the charge. */
  | { kind: 'limit'; org: number; bytes: number | undefined; below: boolean; shrinks: boolean }
  | { kind: 'expiration'; org: number; seconds: number }
  | { kind: 'window'; org: number; seconds: number }
  | { kind: 'collect' }
  | ({ kind: 'damage'; blob: number } & Spot)
  /** Another upstream: what is cached goes out of sight. */
  | { kind: 'generation'; org: number }
  /** A client begins to read a blob, which stops half-way until it is let go on. */
  | ({ kind: 'hold'; blob: number } & Spot)
  | { kind: 'release' }
  | { kind: 'together'; steps: Step[]; order: number[] }
  /** The process dies at an instant of a step, at the latest after it. */
  | { kind: 'crash'; step: Step; instant: number }

const small = fc.nat({ max: 11 })
/** Mostly the first organization, so that more meets there. */
const org = fc.constantFrom(0, 0, 0, 1)
const spot = { org, repo: small, tag: small, image: small }
const ms = fc.constantFrom(
  SECOND_MS,
  11 * SECOND_MS,
  MINUTE_MS,
  16 * MINUTE_MS,
  HOUR_MS,
  3 * HOUR_MS,
  DAY_MS,
  15 * DAY_MS,
)
const seconds = fc.constantFrom(0, 3600, 86_400)
const limit = fc.constantFrom(1000, 4000, 8000, 12_000, 16_000, 24_000, undefined)
const kind = <Name extends string>(name: Name) => fc.constant(name)

const pull: fc.Arbitrary<Step> = fc.record({
  kind: kind('pull'),
  by: fc.constantFrom('tag' as const, 'tag' as const, 'digest' as const),
  child: small,
  blobs: fc.constantFrom(0, 1, 2, 0xff, 0xff, 0xff),
  ...spot,
})
const head: fc.Arbitrary<Step> = fc.record({
  kind: kind('head'),
  by: fc.constantFrom('tag' as const, 'tag' as const, 'digest' as const),
  thenGet: fc.boolean(),
  ...spot,
})
const blob: fc.Arbitrary<Step> = fc.record({ kind: kind('blob'), blob: fc.nat({ max: 20 }), ...spot })
const change: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('delete' as const, 'restore' as const, 'restore' as const, 'pin' as const, 'unpin' as const),
  byDigest: fc.boolean(),
  ...spot,
})
const setExpiry: fc.Arbitrary<Step> = fc.record({
  kind: kind('setExpiry'),
  seconds: fc.constantFrom(null, 7200, 864_000),
  ...spot,
})
const destroy: fc.Arbitrary<Step> = fc.record({ kind: kind('destroy'), isAlive: fc.boolean(), ...spot })
const setLimit: fc.Arbitrary<Step> = fc.record({
  kind: kind('limit'),
  org,
  bytes: limit,
  below: fc.boolean(),
  shrinks: fc.boolean(),
})
const collect: fc.Arbitrary<Step> = fc.constant({ kind: 'collect' })

/** What can run beside something else. */
const concurrent = fc.oneof(
  { weight: 6, arbitrary: pull },
  { weight: 1, arbitrary: head },
  { weight: 1, arbitrary: blob },
  { weight: 2, arbitrary: change },
  { weight: 1, arbitrary: destroy },
  { weight: 1, arbitrary: setLimit },
  { weight: 2, arbitrary: collect },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: 'flush' }) },
)
const together: fc.Arbitrary<Step> = fc.record({
  kind: kind('together'),
  steps: fc.array(concurrent, { minLength: 2, maxLength: 3 }),
  order: fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 8 }),
})
const crash: fc.Arbitrary<Step> = fc.record({
  kind: kind('crash'),
  step: fc.oneof({ weight: 4, arbitrary: concurrent }, { weight: 1, arbitrary: together }),
  instant: fc.nat({ max: 40 }),
})

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 30, arbitrary: pull },
  { weight: 4, arbitrary: head },
  { weight: 5, arbitrary: blob },
  { weight: 10, arbitrary: fc.record({ kind: kind('retag'), ...spot }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: kind('upstream'), org, mode: fc.constantFrom('up', 'up', 'failing', 'down') }),
  },
  { weight: 12, arbitrary: fc.record({ kind: kind('advance'), ms, isJump: fc.boolean() }) },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: 'flush' }) },
  { weight: 12, arbitrary: change },
  { weight: 3, arbitrary: setExpiry },
  { weight: 4, arbitrary: destroy },
  { weight: 6, arbitrary: setLimit },
  { weight: 2, arbitrary: fc.record({ kind: kind('expiration'), org, seconds }) },
  { weight: 2, arbitrary: fc.record({ kind: kind('window'), org, seconds }) },
  { weight: 7, arbitrary: collect },
  { weight: 1, arbitrary: fc.record({ kind: kind('damage'), blob: fc.nat({ max: 20 }), ...spot }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('generation'), org: small }) },
  { weight: 2, arbitrary: fc.record({ kind: kind('hold'), blob: fc.nat({ max: 20 }), ...spot }) },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: 'release' }) },
  { weight: 6, arbitrary: together },
  { weight: 5, arbitrary: crash },
) as fc.Arbitrary<Step>

export type RunPlan = { limits: (number | undefined)[]; storageLimitBytes: number | undefined; steps: Step[] }

/** Runs of `length` steps; they become shorter only when a failure is made smaller. */
export function runPlans(length: number): fc.Arbitrary<RunPlan> {
  return fc.record({
    limits: fc.tuple(limit, limit),
    storageLimitBytes: fc.constantFrom(undefined, undefined, undefined, 16_000),
    steps: fc.array(step, { minLength: length, maxLength: length }),
  })
}
