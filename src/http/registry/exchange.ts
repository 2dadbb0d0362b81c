/** One request of `/v2` on its way to an answer. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Principal } from '../../admin/identity.ts'
import type { ServedBlob } from '../../registry/served.ts'
import type { AccessRecord } from '../access-record.ts'

export type Exchange = {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly record: AccessRecord
  /** Filled in as soon as it is known, for the answer 401. */
  challenge: Challenge
}

export type Challenge = {
  /** What a token must be asked for: `repository:org/name:pull`. */
  scope?: string
  /** The request's `ns`, so that the token is asked for with it too. */
  ns?: string
  /** RFC 6750, 3.1 */
  error?: 'insufficient_scope' | 'invalid_token'
}

/** Headers are flat: name, value, name, value. */
export type PlainAnswer = { status: number; headers: string[]; body?: Buffer | string }
export type BlobAnswer = { status: number; headers: string[]; blob: ServedBlob; lengthBytes: number | undefined }
export type Answer = PlainAnswer | BlobAnswer

/** On every answer of `/v2`. */
export const REGISTRY_HEADERS: readonly string[] = [
  'Docker-Distribution-Api-Version',
  'registry/2.0',
  'X-Content-Type-Options',
  'nosniff',
]

export function describePrincipal(principal: Principal): string {
  return principal.kind === 'anonymous' ? 'anonymous' : principal.username
}
