/** Who asks, and the questions that the `/v2` server puts about them. */

export type Principal = { kind: 'anonymous' } | { kind: 'account'; accountId: number; username: string }

/** A verified `Authorization` header. */
export type Identity = {
  principal: Principal
  /**
   * What a registry token grants: repository name (with the organization) to actions. Undefined: not limited (Basic).
   */
  grants: ReadonlyMap<string, readonly string[]> | undefined
  /** `kind:id` of the credential, when registry tokens that are made with it must end with it. */
  credential?: string | undefined
}

/** Turns an `Authorization` header into an identity: Basic with a password or token, Bearer with a registry token. */
export interface Authenticator {
  /** Without waiting, for a header verified before that is still good: the hot path. */
  recall(header: string): Identity | undefined
  /** Errors: RegistryError UNAUTHORIZED; TOO_MANY_REQUESTS after too many failures. An absent header is anonymous. */
  authenticate(header: string | undefined, address: string): Promise<Identity>
}

/**
 * The permission to pull, the same for `/v2` and the token service. Forgets what it knew at every change of a right.
 */
export interface PullPermission {
  /** Without waiting; undefined when it is not known yet. */
  recall(principal: Principal, organization: string, repository?: string): boolean | undefined
  /**
   * From the whole organization, or from that repository of it (without the organization). False also for an
   * organization that does not exist.
   */
  canPull(principal: Principal, organization: string, repository?: string): Promise<boolean>
}

/** One `scope` of the Docker token protocol, and the token that is given for those that were granted. */
export type TokenScope = { type: string; name: string; actions: readonly string[] }
export type IssuedToken = { token: string; expiresInSeconds: number; issuedAtMs: number }

export interface RegistryTokens {
  issue(principal: Principal, granted: readonly TokenScope[], credential?: string): Promise<IssuedToken>
}
