/** Many runs from one seed; a failure is shown as a short list of steps that fails, and how to see it again. */
import { test } from 'node:test'
import fc from 'fast-check'
import { ModelRun } from './model-run.ts'
import { Place } from './place.ts'
import { type RunPlan, runPlans, type Step } from './step.ts'

export const STEPS_PER_RUN = 30

/** Runs that are spent on making a failure shorter. */
const shorteningsMax = 300

/** Each has a file of its own, so that they run side by side. */
export const SEEDS = [1, 2, 3, 4]
const runsPerSeed = 100

export function testOnSqlite(seed: number): void {
  test(`space is accounted for on SQLite whatever happens, in ${runsPerSeed} runs from seed ${seed}`, async (t) => {
    const place = await Place.open()
    t.after(() => place.close())
    await checkRuns(place, seed, runsPerSeed)
  })
}

export type RunOptions = {
  /** Of one failure, as it was shown. */
  path?: string | undefined
  /** Show a failure as it came. */
  isQuick?: boolean
}

/** Errors: of the first run that fails, with what it takes to see it again. */
export async function checkRuns(place: Place, seed: number, runs: number, options: RunOptions = {}): Promise<void> {
  const { path, isQuick = false } = options
  const result = await fc.check(
    fc.asyncProperty(runPlans(STEPS_PER_RUN), (plan) => ModelRun.run(place, plan)),
    { seed, numRuns: runs, endOnFailure: true, ...(path !== undefined && { path }) },
  )
  if (!result.failed) return
  const [plan = { limits: [], storageLimitBytes: undefined, steps: [] }] = result.counterexample ?? []
  const short = isQuick ? { plan, error: result.errorInstance } : await shorten(place, plan, result.errorInstance)
  const { steps, ...settings } = short.plan
  const lines = [
    `settings: ${JSON.stringify(settings)}`,
    ...steps.map((step, index) => `${String(index).padStart(3)} ${JSON.stringify(step)}`),
    `again: node test/space/soak.ts --seed ${seed} --path ${result.counterexamplePath}`,
  ]
  const { error } = short
  const message = error instanceof Error ? error.message : String(error)
  throw new Error([message, ...lines].join('\n'), { cause: error })
}

/** Leave out steps as long as it still fails. */
async function shorten(place: Place, plan: RunPlan, error: unknown): Promise<{ plan: RunPlan; error: unknown }> {
  let shortest = { plan, error }
  let left = shorteningsMax
  const tryWith = async (steps: Step[]): Promise<boolean> => {
    left -= 1
    const shorter = { ...plan, steps }
    try {
      await ModelRun.run(place, shorter)
      return false
    } catch (failure) {
      shortest = { plan: shorter, error: failure }
      return true
    }
  }
  for (let size = Math.ceil(plan.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = shortest.plan.steps.length - size; from > -size && left > 0; from -= size) {
      await tryWith(shortest.plan.steps.toSpliced(Math.max(0, from), size + Math.min(0, from)))
    }
  }
  return shortest
}
