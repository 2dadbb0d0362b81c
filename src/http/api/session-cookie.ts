/** The cookie of a session: Quay's name, and flags that keep it from pages of other origins and from scripts. */
import { SESSION_LIMITS } from '../../admin/sessions.ts'
import { SECOND_MS } from '../../base/units.ts'

const name = 'session'
/** 256 bits in base64url. */
const VALUE = /^[A-Za-z0-9_-]{43}$/

/** The first that has the form of one; undefined when none has. */
export function readSessionCookie(header: string | undefined): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const equals = pair.indexOf('=')
    if (equals < 0 || pair.slice(0, equals).trim() !== name) continue
    const value = pair.slice(equals + 1).trim()
    if (VALUE.test(value)) return value
  }
  return undefined
}

/** `signed-in` lasts as long as a session may; `visitor` as long as the browser is open; `none` takes it away. */
export function formatSessionCookie(id: string, kind: 'signed-in' | 'visitor' | 'none', isSecure: boolean): string {
  const maxAge = { 'signed-in': SESSION_LIMITS.lifetimeMs / SECOND_MS, visitor: undefined, none: 0 }[kind]
  return [
    `${name}=${id}`,
    'Path=/',
    'HttpOnly',
    'SameSite=Lax',
    ...(isSecure ? ['Secure'] : []),
    ...(maxAge === undefined ? [] : [`Max-Age=${maxAge}`]),
  ].join('; ')
}
