/**
 * One serving process per data folder and per database (DESIGN part 3): a lock file guards the folder, a lease with a
 * heartbeat the database. Both tell who holds them, and both are taken over when their holder has ended.
 */
import { randomUUID } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, monotonicMs } from '../base/clock.ts'
import { SECOND_MS } from '../base/units.ts'
import { acquireLease, heartbeatLease, releaseLease } from '../metadata/leases.ts'
import type { Metadata } from '../metadata/open.ts'
import { currentProcess, formatProcess, lifeOf, parseProcess } from './process-identity.ts'

export const LEASE_LIMITS = {
  /** DESIGN part 3: how long a second process waits before it gives up. */
  waitMsMax: 60 * SECOND_MS,
  pollMs: SECOND_MS,
  heartbeatMs: 5 * SECOND_MS,
  /** A holder on another machine that has not said anything for this long has ended. */
  staleAfterMs: 30 * SECOND_MS,
} as const

const leaseName = 'serving'
const lockFileName = 'entrepot.lock'

export type LeaseOptions = {
  metadata: Metadata
  dataFolder: string
  /** The real time, also under a test clock: other processes compare with it. */
  clock: Clock
  delayMs: (ms: number) => Promise<void>
  waitMsMax?: number
}

export type ServingLease = {
  /** In the names of this process's drafts. */
  leaseId: string
  /** Say that we are alive; false when another process has taken the lease: then nothing may be written any more. */
  heartbeat(): Promise<boolean>
  release(): Promise<void>
}

/** Errors: an Error that says who holds the folder or the database, after waiting `waitMsMax`. */
export async function acquireServingLease(options: LeaseOptions): Promise<ServingLease> {
  const leaseId = randomUUID()
  const lockFile = join(options.dataFolder, lockFileName)
  const startedMs = monotonicMs()
  for (;;) {
    const holder = (await findLockHolder(lockFile)) ?? (await findLeaseHolder(options, leaseId))
    if (holder === undefined) break
    if (monotonicMs() - startedMs >= (options.waitMsMax ?? LEASE_LIMITS.waitMsMax)) {
      if (holder.of === 'database') await rm(lockFile, { force: true })
      throw new Error(
        `another entrepot serves this ${holder.of} (${holder.who}): stop it, or use another ENTREPOT_DATA and DB_URI`,
      )
    }
    await options.delayMs(LEASE_LIMITS.pollMs)
  }
  const { metadata, clock } = options
  return {
    leaseId,
    heartbeat: () => heartbeatLease(metadata.db, { name: leaseName, leaseId, nowMs: clock() }),
    release: async () => {
      await releaseLease(metadata.db, { name: leaseName, leaseId })
      await rm(lockFile, { force: true })
    },
  }
}

type Holder = { of: 'data folder' | 'database'; who: string }

/** Take the lock file, or tell who has it. */
async function findLockHolder(lockFile: string): Promise<Holder | undefined> {
  const own = formatProcess(currentProcess())
  for (;;) {
    try {
      const file = await open(lockFile, 'wx', 0o600)
      await file.writeFile(own)
      await file.close()
      return undefined
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const text = await readFile(lockFile, 'utf8').catch(() => '')
    if (text === own) return undefined
    const identity = parseProcess(text)
    // A holder on another machine cannot be checked by its process: the lease's heartbeat, asked next, decides.
    if (identity !== undefined && lifeOf(identity) === 'running') {
      return { of: 'data folder', who: `process ${identity.pid} on ${identity.host}` }
    }
    await removeStaleLock(lockFile)
  }
}

/** Renaming has one winner; the loser finds no file and tries again. */
async function removeStaleLock(lockFile: string): Promise<void> {
  const aside = `${lockFile}.${randomUUID()}`
  try {
    await rename(lockFile, aside)
    await rm(aside, { force: true })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** Take the database's lease, or tell who has it. */
async function findLeaseHolder(options: LeaseOptions, leaseId: string): Promise<Holder | undefined> {
  const holder = formatProcess(currentProcess())
  const request = { name: leaseName, leaseId, holder, nowMs: options.clock() }
  const first = await acquireLease(options.metadata.db, { ...request, staleAfterMs: LEASE_LIMITS.staleAfterMs })
  if (first.acquired) return undefined
  const identity = parseProcess(first.holder)
  if (identity !== undefined && lifeOf(identity) === 'ended') {
    const second = await acquireLease(options.metadata.db, { ...request, staleAfterMs: 0 })
    if (second.acquired) return undefined
  }
  return { of: 'database', who: identity === undefined ? first.holder : `process ${identity.pid} on ${identity.host}` }
}
