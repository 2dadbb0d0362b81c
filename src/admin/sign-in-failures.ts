/**
 * Failed sign-ins, for the logs: one entry per account, network and batch, with a count. So an attacker writes no more
 * rows than a bound, and no failure is lost: beyond it they are counted together.
 */
import { addLogEntry } from '../metadata/log-entries.ts'
import type { AdminContext } from './settings.ts'
import { networkOf } from './sign-in-limit.ts'

export const SIGN_IN_FAILURE_LIMITS = {
  /** Entries of one batch; whatever comes on top is counted in one more. */
  entriesMax: 100,
} as const

type Failures = { username: string | undefined; address: string | undefined; sinceMs: number; count: number }

export class SignInFailures {
  readonly #context: AdminContext
  #pending = new Map<string, Failures>()

  constructor(context: AdminContext) {
    this.#context = context
  }

  /** `username`: of an account that exists; a name that does not may be a password in the wrong field. */
  note(username: string | undefined, address: string): void {
    const own = `${username ?? ''} ${networkOf(address)}`
    const isFull = this.#pending.size >= SIGN_IN_FAILURE_LIMITS.entriesMax && !this.#pending.has(own)
    const key = isFull ? '' : own
    const known = this.#pending.get(key)
    if (known !== undefined) known.count += 1
    else {
      const who = isFull ? { username: undefined, address: undefined } : { username, address }
      this.#pending.set(key, { ...who, sinceMs: this.#context.clock(), count: 1 })
    }
  }

  /** Write what has gathered. Never rejects; what cannot be written is kept for the next time. */
  async flush(): Promise<void> {
    if (this.#pending.size === 0) return
    const batch = this.#pending
    this.#pending = new Map()
    try {
      await this.#context.metadata.transaction(async (tx) => {
        for (const { username, address, sinceMs: nowMs, count } of batch.values()) {
          const metadata = { type: 'quayauth', ...(username !== undefined && { username }), count }
          await addLogEntry(tx, { organizationId: undefined, kind: 'login_failure', nowMs, address, metadata })
        }
      })
    } catch (error) {
      for (const [key, failures] of batch) this.#putBack(key, failures)
      this.#context.report('sign_in_failures_not_written', { error })
    }
  }

  #putBack(key: string, failures: Failures): void {
    const now = this.#pending.get(key)
    if (now === undefined) this.#pending.set(key, failures)
    else now.count += failures.count
  }
}
