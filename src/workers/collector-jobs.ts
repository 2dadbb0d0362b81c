/** Jobs that delete or change many rows, in steps of some rows beside the traffic. */
import type { Clock } from '../base/clock.ts'
import { SECOND_MS } from '../base/units.ts'
import {
  changeExpirationStep,
  EXPIRATION_JOB,
  isBehindAnotherChange,
  parseExpirationChange,
} from '../metadata/expiration-change.ts'
import { type Job, listDueJobs, postponeJob, removeJob } from '../metadata/jobs.ts'
import type { Metadata } from '../metadata/open.ts'
import { collectGenerationStep, collectOrganizationStep, findOrganizationById } from '../metadata/organizations.ts'

export const JOB_LIMITS = {
  pollMs: SECOND_MS,
  /** Rows of one step: one transaction of some milliseconds. */
  rowsPerStep: 100,
  /** Steps of one turn; then the next job has its turn. */
  stepsPerTurn: 50,
  jobsPerTurn: 10,
  /** After a failure, doubled each time. */
  retryMs: 5 * SECOND_MS,
  retryMsMax: 600 * SECOND_MS,
} as const

export type JobsDeps = {
  metadata: Metadata
  clock: Clock
  report: (event: string, fields: Record<string, unknown>) => void
  /** Write the uses that are only in memory: they were counted under the former expiration. */
  writeUses?: () => Promise<void>
  /** What is remembered of these tags is old. */
  onTagsChanged?: (repositoryId: number, names: readonly string[]) => void
}

/** done: remove the job. more: there is another step. later: at another turn. */
type Progress = 'done' | 'more' | 'later'

/** Do what is due. Never rejects: a job that fails is tried again later. */
export async function runDueJobs(deps: JobsDeps): Promise<void> {
  try {
    const jobs = await listDueJobs(deps.metadata.db, deps.clock(), JOB_LIMITS.jobsPerTurn)
    for (const job of jobs) await runJob(deps, job)
  } catch (error) {
    deps.report('jobs_not_run', { error })
  }
}

async function runJob(deps: JobsDeps, job: Job): Promise<void> {
  const { metadata, clock, report } = deps
  try {
    for (let step = 0; step < JOB_LIMITS.stepsPerTurn; step++) {
      const progress = await runStep(deps, job, clock())
      if (progress === 'done') await removeJob(metadata.db, job.id)
      if (progress !== 'more') return
    }
  } catch (error) {
    const attempts = job.attempts + 1
    const waitMs = Math.min(JOB_LIMITS.retryMs * 2 ** job.attempts, JOB_LIMITS.retryMsMax)
    const lastError = error instanceof Error ? error.message : 'unknown error'
    await postponeJob(metadata.db, { id: job.id, runAtMs: clock() + waitMs, attempts, lastError })
    report('job_failed', { kind: job.kind, attempts, error })
  }
}

async function runStep(deps: JobsDeps, job: Job, nowMs: number): Promise<Progress> {
  const { db } = deps.metadata
  const organizationId = parseOrganizationId(job.payload)
  if (organizationId === undefined) return 'done'
  switch (job.kind) {
    case 'collect_organization':
      return toProgress(await collectOrganizationStep(db, organizationId, JOB_LIMITS.rowsPerStep, nowMs))
    case 'collect_generation': {
      const organization = await findOrganizationById(db, organizationId)
      if (organization === undefined) return 'done'
      const { generation } = organization
      return toProgress(await collectGenerationStep(db, organizationId, generation, JOB_LIMITS.rowsPerStep, nowMs))
    }
    case EXPIRATION_JOB:
      return changeExpiration(deps, job)
    default:
      throw new Error(`nobody knows how to do a job of kind "${job.kind}"`)
  }
}

async function changeExpiration(deps: JobsDeps, job: Job): Promise<Progress> {
  const { db } = deps.metadata
  const change = parseExpirationChange(job.payload)
  if (change === undefined) return 'done'
  if (await isBehindAnotherChange(db, job.id, change.organizationId)) return 'later'
  await deps.writeUses?.()
  const step = await changeExpirationStep(db, { id: job.id, change }, JOB_LIMITS.rowsPerStep)
  job.payload = step.change
  for (const { repositoryId, names } of step.changed) deps.onTagsChanged?.(repositoryId, names)
  return toProgress(step.isDone)
}

function toProgress(isDone: boolean): Progress {
  return isDone ? 'done' : 'more'
}

function parseOrganizationId(payload: unknown): number | undefined {
  if (typeof payload !== 'object' || payload === null || !('organizationId' in payload)) return undefined
  return typeof payload.organizationId === 'number' ? payload.organizationId : undefined
}
