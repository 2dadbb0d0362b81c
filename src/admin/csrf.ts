/**
 * What keeps pages of other origins from acting with a browser's cookie: a token that only who can read the cookie can
 * make, sent back in a header. It is not stored, and holds as long as the cookie.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'

const label = 'entrepot csrf 1'

export function csrfTokenOf(sessionId: string): string {
  return createHmac('sha256', sessionId).update(label).digest('base64url')
}

/** In the same time wherever they differ. */
export function isCsrfToken(sessionId: string, token: string): boolean {
  const [expected, given] = [Buffer.from(csrfTokenOf(sessionId)), Buffer.from(token)]
  return expected.byteLength === given.byteLength && timingSafeEqual(expected, given)
}
