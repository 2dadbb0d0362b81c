/** Endpoints that ask no organization: the version check, and pushes, which nobody takes yet. */
import { RegistryError } from '../../errors.ts'
import type { RegistryRequest } from '../../oci/request.ts'
import { authenticate } from './authorize.ts'
import { type Answer, type Exchange, REGISTRY_HEADERS } from './exchange.ts'
import type { RegistryDeps } from './registry-deps.ts'

/** end-1. Without credentials always 401: podman takes its challenge from there (DESIGN part 4). */
export async function ping(
  deps: RegistryDeps,
  exchange: Exchange,
  request: RegistryRequest & { kind: 'ping' },
): Promise<Answer> {
  if (request.ns !== undefined) exchange.challenge.ns = request.ns
  if (exchange.request.headers.authorization === undefined) throw new RegistryError('UNAUTHORIZED')
  await authenticate(deps, exchange)
  return jsonAnswer('{}', [])
}

/** end-4 to end-7, end-9 to end-11: a cache of another registry is not pushed to. Says nothing about what exists. */
export function refusePush(): Promise<Answer> {
  return Promise.reject(
    new RegistryError('METHOD_NOT_ALLOWED', {
      message: 'this organization caches another registry and takes no pushes; push to that registry instead',
    }),
  )
}

/** 200 with JSON that is made for this caller. */
export function jsonAnswer(body: string, headers: readonly string[], mediaType = 'application/json'): Answer {
  const length = String(Buffer.byteLength(body))
  return {
    status: 200,
    headers: [...REGISTRY_HEADERS, 'Content-Type', mediaType, 'Content-Length', length, ...headers],
    body,
  }
}
