/** Is this instance able to do its work? Paths and shape are Quay's. */
import type { FastifyInstance } from 'fastify'
import { afterMs } from '../base/timers.ts'
import { SECOND_MS } from '../base/units.ts'

/** Resolves to whether a part works; rejecting means that it does not. */
export type HealthChecks = Readonly<Record<string, () => Promise<boolean>>>

export type HealthReport = { data: { services: Record<string, boolean> }; status_code: 200 | 503 }

/** Orchestrators wait some seconds at most. */
const checkMsMax = 5 * SECOND_MS

/** Ask all checks at once; one that hangs has failed. */
export async function checkHealth(checks: HealthChecks): Promise<HealthReport> {
  const answers = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => [name, await isWorking(check)] as const),
  )
  const isHealthy = answers.every(([, works]) => works)
  return { data: { services: Object.fromEntries(answers) }, status_code: isHealthy ? 200 : 503 }
}

/** `checks` are those that say whether this instance works; an upstream that is down is no reason to restart it. */
export function registerHealth(fastify: FastifyInstance, checks: HealthChecks): void {
  for (const path of ['/health', '/health/instance']) {
    fastify.get(path, async (_request, reply) => {
      const report = await checkHealth(checks)
      return reply.code(report.status_code).header('cache-control', 'no-store').send(report)
    })
  }
}

async function isWorking(check: () => Promise<boolean>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>()
  const timer = afterMs(checkMsMax, () => resolve(false))
  try {
    return await Promise.race([check(), late])
  } catch {
    return false // Which part failed is in the answer; why is in its own log lines.
  } finally {
    timer.cancel()
  }
}
