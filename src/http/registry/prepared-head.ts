/** Heads of answers that are given again: Node checks and joins the headers once a second, not once a request. */
import type { ServerResponse } from 'node:http'
import type { HotManifest } from '../../registry/directory.ts'
import { formatAge, formatCacheStatus } from './cache-status.ts'

/** A head as Node wrote it, and all that it depends on. */
export type PreparedHead = {
  text: string
  headers: readonly string[]
  cacheStatus: string
  age: string
  cacheControl: string
  /** The head has a `Date`. */
  second: number
}

/** Where Node keeps the head between `writeHead` and the first byte of the body. */
type WithHead = { _header?: string | null }

/**
 * Write the head of status 200 with the manifest's headers, as `known` has it when that still holds.
 * Returns what the next answer may be given as `known`.
 */
export function writeHead(
  response: ServerResponse,
  hot: HotManifest,
  cacheControl: string,
  nowMs: number,
  known: PreparedHead | undefined,
): PreparedHead | undefined {
  const { headers, provenance } = hot
  const cacheStatus = formatCacheStatus(provenance)
  const age = formatAge(provenance, nowMs)
  const second = Math.floor(nowMs / 1000)
  if (
    known !== undefined &&
    known.headers === headers &&
    known.second === second &&
    known.age === age &&
    known.cacheStatus === cacheStatus &&
    known.cacheControl === cacheControl &&
    response.shouldKeepAlive
  ) {
    ;(response as WithHead)._header = known.text
    return known
  }
  const caching = ['Cache-Status', cacheStatus, 'Age', age, 'Cache-Control', cacheControl]
  response.writeHead(200, headers.concat(caching))
  const text = (response as WithHead)._header
  if (!response.shouldKeepAlive || typeof text !== 'string') return known
  return { text, headers, cacheStatus, age, cacheControl, second }
}
