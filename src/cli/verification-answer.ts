/** What the server answers about a verification, checked. */
import { z } from 'zod'
import { CommandFailure } from './failure.ts'

const FINDINGS = z.array(
  z.object({ digest: z.string(), organization: z.string().optional(), reason: z.string().optional() }),
)

const ANSWER = z.object({
  state: z.enum(['idle', 'running', 'done', 'cancelled', 'failed']),
  phase: z.enum(['hash', 'rows', 'charge']).nullable(),
  checked: z.number(),
  total: z.number(),
  bytes_checked: z.number(),
  repair: z.boolean(),
  sample_percent: z.number(),
  counts: z.object({
    damaged: z.number(),
    missing: z.number(),
    repaired: z.number(),
    not_repaired: z.number(),
    drift: z.number(),
    drift_not_repaired: z.number(),
    files_without_row: z.number(),
    organizations: z.number(),
  }),
  damaged: FINDINGS,
  missing: FINDINGS,
  not_repaired: FINDINGS,
  drift: z.array(
    z.object({
      organization: z.string(),
      charge_bytes: z.number(),
      ledger_bytes: z.number(),
      recount_bytes: z.number(),
      roots: z.number(),
      repaired: z.boolean(),
    }),
  ),
  started: z.number().nullable(),
  message: z.string(),
})

export type Verification = ReturnType<typeof readVerification>

/** `body`: the answer as it came. Errors: CommandFailure when it is another. */
export function readVerification(body: unknown) {
  const parsed = ANSWER.safeParse(body)
  if (!parsed.success) throw new CommandFailure('unreachable', 'the server does not answer as Entrepot does')
  const { bytes_checked, sample_percent, repair, not_repaired, ...rest } = parsed.data
  return {
    ...rest,
    bytesChecked: bytes_checked,
    samplePercent: sample_percent,
    repairs: repair,
    notRepaired: not_repaired,
    body: body as object,
  }
}
