/** What stands in an `Authorization` header. Source: RFC 9110, 11.6.2; RFC 7617 (Basic); RFC 6750 (Bearer). */

/** Node reads at most 16 KiB of headers; a token of ours is far shorter. */
export const authorizationCharactersMax = 12 * 1024

export type Authorization = { scheme: 'basic'; username: string; secret: string } | { scheme: 'bearer'; token: string }

const HEADER = /^(basic|bearer) +([A-Za-z0-9._~+/-]+=*) *$/i

/** Undefined when it is neither Basic nor Bearer, or malformed. */
export function parseAuthorization(header: string): Authorization | undefined {
  if (header.length > authorizationCharactersMax) return undefined
  const match = HEADER.exec(header)
  const text = match?.[2]
  if (match === null || text === undefined) return undefined
  if (match[1]?.toLowerCase() === 'bearer') return { scheme: 'bearer', token: text }
  const pair = Buffer.from(text, 'base64').toString('utf8')
  const colon = pair.indexOf(':')
  if (colon < 0) return undefined
  return { scheme: 'basic', username: pair.slice(0, colon), secret: pair.slice(colon + 1) }
}
