/** The 401's `WWW-Authenticate`. Source: Docker's token protocol; RFC 6750, 3. */
import type { IncomingMessage } from 'node:http'
import type { ClientOrigin } from '../client-origin.ts'
import type { Challenge } from './exchange.ts'
import type { RegistrySettings } from './registry-deps.ts'

/** Longer hosts do not exist. */
const namespaceCharactersMax = 255

/** Every value is checked or encoded: nothing of the request can end a header or its quotes. */
export function formatChallenge(
  request: IncomingMessage,
  challenge: Challenge,
  settings: RegistrySettings,
  origin: ClientOrigin,
): string {
  const scheme = settings.preferredScheme ?? origin.scheme(request)
  const host = origin.host(request) ?? settings.serverHostname
  const { ns, scope, error } = challenge
  const query = ns === undefined || ns.length > namespaceCharactersMax ? '' : `?ns=${encodeURIComponent(ns)}`
  const fields = [`realm="${scheme}://${host}/v2/auth${query}"`, `service="${settings.serverHostname}"`]
  if (scope !== undefined) fields.push(`scope="${scope}"`)
  if (error !== undefined) fields.push(`error="${error}"`)
  return `Bearer ${fields.join(',')}`
}
