/** Which process holds something, in a form that another process on this machine can check. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'

/** `startTicks` tells a process from a later one with the same id; undefined where /proc does not say. */
export type ProcessIdentity = { host: string; pid: number; startTicks: string | undefined }

export function currentProcess(): ProcessIdentity {
  return { host: hostname(), pid: process.pid, startTicks: readStartTicks(process.pid) }
}

export function formatProcess(identity: ProcessIdentity): string {
  return JSON.stringify(identity)
}

/** Undefined when the text is not one of ours. */
export function parseProcess(text: string): ProcessIdentity | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const { host, pid, startTicks } = value as Record<string, unknown>
    if (typeof host !== 'string' || typeof pid !== 'number') return undefined
    return { host, pid, startTicks: typeof startTicks === 'string' ? startTicks : undefined }
  } catch {
    return undefined // Not JSON: written by something else, or cut short by a crash.
  }
}

/** `ended` and `running` are certain; `unknown` is a process on another machine. The caller itself counts as ended. */
export function lifeOf(identity: ProcessIdentity): 'running' | 'ended' | 'unknown' {
  if (identity.host !== hostname()) return 'unknown'
  if (identity.pid === process.pid) return 'ended' // An earlier process with our id, as in a restarted container.
  if (!isRunning(identity.pid)) return 'ended'
  return identity.startTicks === undefined || readStartTicks(identity.pid) === identity.startTicks ? 'running' : 'ended'
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** proc(5): field 22 of /proc/PID/stat; the second field is a name in parentheses that may hold blanks. */
function readStartTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined // No /proc, or the process has just ended.
  }
}
