/** Which part of the server a URL belongs to. */

/** `/v2`, `/v2/…` but not `/v2/auth`; `/<org>/v2`, `/<org>/v2/…`. */
const REGISTRY = /^\/(?:v2(?!\/auth\/?(?:\?|$))|[a-z0-9][a-z0-9._-]{1,254}\/v2)(?:[/?]|$)/
/** First parts of our own paths, which no organization can have. */
const OWN = /^\/(?:api|health|static|assets)\//

/** `malformed`: not a path, so an absolute URL or `*`: this server is nobody's proxy. */
export function routeOf(url: string): 'registry' | 'api' | 'malformed' {
  if (!url.startsWith('/')) return 'malformed'
  return REGISTRY.test(url) && !OWN.test(url) ? 'registry' : 'api'
}
