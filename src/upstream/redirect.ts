/** Redirects, followed by hand: each hop is judged, and the credentials do not follow to strangers. */
import { protocolError } from './errors.ts'
import { hostCharactersMax } from './limits.ts'

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

export function isRedirect(status: number): boolean {
  return REDIRECTS.has(status)
}

/**
 * Where an answer sends us. `seen` are the addresses so far, the current one last.
 * Errors: UpstreamError `protocol`, naming the host that redirected: loops, more than `redirectsMax`, no usable
 * `Location`, from https to plain HTTP.
 */
export function resolveRedirect(location: string | undefined, seen: readonly URL[], redirectsMax: number): URL {
  const from = seen.at(-1)
  if (from === undefined) throw new TypeError('cannot redirect from nowhere')
  const next = location === undefined || !URL.canParse(location, from) ? undefined : new URL(location, from)
  if (next === undefined || next.hostname.length > hostCharactersMax)
    throw protocolError(from.host, 'redirected without saying where to')
  next.hash = ''
  if (next.protocol !== 'https:' && next.protocol !== 'http:') {
    throw protocolError(from.host, 'redirected to something that is not HTTP')
  }
  if (from.protocol === 'https:' && next.protocol === 'http:') {
    throw protocolError(from.host, 'redirected from TLS to plain HTTP, which is refused')
  }
  if (next.username !== '' || next.password !== '') {
    throw protocolError(from.host, 'redirected to an address with credentials in it, which is refused')
  }
  if (seen.some((url) => url.href === next.href)) throw protocolError(from.host, 'redirected in a circle')
  if (seen.length > redirectsMax) throw protocolError(from.host, `redirected more than ${redirectsMax} times`)
  return next
}
