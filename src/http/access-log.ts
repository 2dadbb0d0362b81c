/** Every request as one line of the log and as counts. On the hot path: text is put together, nothing is traversed. */
import type { Clock } from '../base/clock.ts'
import type { AccessRecord, ObserveAccess } from './access-record.ts'

export interface AccessMetrics {
  countPull(organization: string, kind: string, outcome: string): void
  countRequest(kind: string, status: number, sentBytes: number): void
}

/** `writeLine`: undefined when lines of level `info` are not written. */
export function makeAccessLog(
  clock: Clock,
  metrics: AccessMetrics,
  writeLine: ((line: string) => void) | undefined,
): ObserveAccess {
  return (record) => {
    const { kind, organization, outcome, status } = record
    metrics.countRequest(kind, status, record.bytes)
    if (organization !== undefined && outcome !== undefined) metrics.countPull(organization, kind, outcome)
    writeLine?.(formatAccessLine(record, clock()))
  }
}

/** A record as a line of JSON; what is undefined is left out. */
export function formatAccessLine(record: AccessRecord, timeMs: number): string {
  const { id, kind, status, bytes, ms, upstreamMs } = record
  let line = `{"level":"info","time":${timeMs},"event":"request","id":"${id}","kind":"${kind}","status":${status}`
  line += `,"method":${quote(record.method)},"path":${quote(record.path)}`
  if (record.repository !== undefined) line += `,"repository":${quote(record.repository)}`
  if (record.reference !== undefined) line += `,"reference":${quote(record.reference)}`
  if (record.outcome !== undefined) line += `,"outcome":"${record.outcome}"`
  line += `,"bytes":${bytes},"ms":${round(ms)},"upstreamMs":${round(upstreamMs)}`
  if (record.principal !== undefined) line += `,"principal":${quote(record.principal)}`
  line += `,"address":${quote(record.address)}`
  if (record.isAborted) line += ',"aborted":true'
  if (record.error !== undefined) line += `,"error":${quote(record.error)}`
  return `${line}}\n`
}

/** All but letters, digits and punctuation that JSON and terminals take as they are. */
const UNSAFE = /[^ !#-[\]-~]/

function quote(text: string): string {
  return UNSAFE.test(text) ? escapeText(text) : `"${text}"`
}

/** JSON leaves DEL and what is above it alone; a terminal that shows the log may not. */
function escapeText(text: string): string {
  return JSON.stringify(text).replace(/[\x7f-\uffff]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

/** To a hundredth: less is noise. */
function round(ms: number): number {
  return Math.round(ms * 100) / 100
}
