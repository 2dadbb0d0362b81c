/**
 * Registry tokens: what `/v2/auth` gives and `/v2` takes, a JWT signed with HS256.
 * Claims: Docker's "Token Authentication Implementation" (iss, aud, sub, exp, nbf, iat, jti, access), `account_id`, and
 * `credential`: with which of the account's it was made, when it must end with that.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { errors, jwtVerify, SignJWT } from 'jose'
import { z } from 'zod'
import { SECOND_MS } from '../base/units.ts'
import { insertInstanceValue } from '../metadata/instance.ts'
import type { Principal, RegistryTokens, TokenScope } from './identity.ts'
import type { AdminContext } from './settings.ts'

const ALGORITHM = 'HS256'
const keyBytes = 32
const keyName = 'registry_token_key'
/** A clock that was set back a little between two requests must not end the tokens that were just given. */
const clockToleranceSeconds = 5

export type VerifiedToken = {
  principal: Principal
  grants: ReadonlyMap<string, readonly string[]>
  expiresAtMs: number
  credential: string | undefined
}

/** Where the grants of a registry token keep the right to the catalog: a colon, so no repository is called that. */
export const CATALOG_GRANT = 'registry:catalog'

const CLAIMS = z.object({
  sub: z.string(),
  exp: z.number().int(),
  account_id: z.number().int().positive().optional(),
  credential: z.string().optional(),
  access: z.array(z.object({ type: z.string(), name: z.string(), actions: z.array(z.string()) })),
})

export class JwtRegistryTokens implements RegistryTokens {
  readonly #context: AdminContext
  readonly #key: Uint8Array

  constructor(context: AdminContext, key: Uint8Array) {
    this.#context = context
    this.#key = key
  }

  async issue(
    principal: Principal,
    granted: readonly TokenScope[],
    credential?: string,
  ): Promise<{ token: string; expiresInSeconds: number; issuedAtMs: number }> {
    const { serverHostname, registryTokenSeconds } = this.#context.settings
    const issuedAtSeconds = Math.floor(this.#context.clock() / SECOND_MS)
    const account = principal.kind === 'account' ? { account_id: principal.accountId } : {}
    const made = credential === undefined ? {} : { credential }
    const token = await new SignJWT({ access: granted, ...account, ...made })
      .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' })
      .setIssuer(serverHostname)
      .setAudience(serverHostname)
      .setSubject(principal.kind === 'account' ? principal.username : '')
      .setIssuedAt(issuedAtSeconds)
      .setNotBefore(issuedAtSeconds)
      .setExpirationTime(issuedAtSeconds + registryTokenSeconds)
      .setJti(randomUUID())
      .sign(this.#key)
    return { token, expiresInSeconds: registryTokenSeconds, issuedAtMs: issuedAtSeconds * SECOND_MS }
  }

  /** Undefined for a token that is not ours, not for this registry, or not good now. */
  async verify(token: string): Promise<VerifiedToken | undefined> {
    const nowMs = this.#context.clock()
    const claims = await this.#readClaims(token, nowMs)
    // jose's tolerance would also prolong the token.
    if (claims === undefined || claims.exp * SECOND_MS <= nowMs) return undefined
    return {
      principal: toPrincipal(claims),
      grants: toGrants(claims.access),
      expiresAtMs: claims.exp * SECOND_MS,
      credential: claims.credential,
    }
  }

  async #readClaims(token: string, nowMs: number): Promise<z.infer<typeof CLAIMS> | undefined> {
    const { serverHostname } = this.#context.settings
    try {
      const { payload } = await jwtVerify(token, this.#key, {
        algorithms: [ALGORITHM],
        typ: 'JWT',
        issuer: serverHostname,
        audience: serverHostname,
        currentDate: new Date(nowMs),
        clockTolerance: clockToleranceSeconds,
        maxTokenAge: this.#context.settings.registryTokenSeconds,
        requiredClaims: ['sub', 'exp', 'nbf', 'iat'],
      })
      return CLAIMS.safeParse(payload).data
    } catch (error) {
      // Every way of being no good token is the same to its bearer.
      if (error instanceof errors.JOSEError) return undefined
      throw error
    }
  }
}

/** The key is made once and sealed in the database, so tokens survive a restart; the first of several writers wins. */
export async function openRegistryTokens(context: AdminContext): Promise<JwtRegistryTokens> {
  const sealContext = `instance:${keyName}`
  const fresh = context.secretBox.seal(randomBytes(keyBytes).toString('base64url'), sealContext)
  const standing = await insertInstanceValue(context.metadata.db, keyName, fresh)
  return new JwtRegistryTokens(context, Buffer.from(context.secretBox.open(standing, sealContext), 'base64url'))
}

function toPrincipal(claims: z.infer<typeof CLAIMS>): Principal {
  if (claims.account_id === undefined) return { kind: 'anonymous' }
  return { kind: 'account', accountId: claims.account_id, username: claims.sub }
}

function toGrants(access: readonly TokenScope[]): ReadonlyMap<string, readonly string[]> {
  const grants = new Map<string, readonly string[]>()
  for (const { type, name, actions } of access) {
    const key = type === 'repository' ? name : `${type}:${name}`
    grants.set(key, [...new Set([...(grants.get(key) ?? []), ...actions])])
  }
  return grants
}
