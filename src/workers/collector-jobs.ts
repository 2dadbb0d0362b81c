/** Jobs that delete what nobody can see any more, in steps of some rows beside the traffic. */
import type { Clock } from '../base/clock.ts'
import { SECOND_MS } from '../base/units.ts'
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
}

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
      if (await runStep(metadata, job, clock())) {
        await removeJob(metadata.db, job.id)
        return
      }
    }
  } catch (error) {
    const attempts = job.attempts + 1
    const waitMs = Math.min(JOB_LIMITS.retryMs * 2 ** job.attempts, JOB_LIMITS.retryMsMax)
    const lastError = error instanceof Error ? error.message : 'unknown error'
    await postponeJob(metadata.db, { id: job.id, runAtMs: clock() + waitMs, attempts, lastError })
    report('job_failed', { kind: job.kind, attempts, error })
  }
}

/** Resolves to whether the job is done. */
async function runStep(metadata: Metadata, job: Job, nowMs: number): Promise<boolean> {
  const organizationId = parseOrganizationId(job.payload)
  if (organizationId === undefined) return true
  switch (job.kind) {
    case 'collect_organization':
      return collectOrganizationStep(metadata.db, organizationId, JOB_LIMITS.rowsPerStep, nowMs)
    case 'collect_generation': {
      const organization = await findOrganizationById(metadata.db, organizationId)
      if (organization === undefined) return true
      return collectGenerationStep(metadata.db, organizationId, organization.generation, JOB_LIMITS.rowsPerStep, nowMs)
    }
    default:
      throw new Error(`nobody knows how to do a job of kind "${job.kind}"`)
  }
}

function parseOrganizationId(payload: unknown): number | undefined {
  if (typeof payload !== 'object' || payload === null || !('organizationId' in payload)) return undefined
  return typeof payload.organizationId === 'number' ? payload.organizationId : undefined
}
