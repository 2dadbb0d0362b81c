/** Which upstream an organization caches: Quay's `proxycache`, and `PUT`, which Quay lacks. */
import { isIP } from 'node:net'
import { UpstreamError } from '../errors.ts'
import { revokeBlobs } from '../metadata/blobs.ts'
import { addExpirationChange } from '../metadata/expiration-change.ts'
import { insertInstanceValue } from '../metadata/instance.ts'
import { addJob } from '../metadata/jobs.ts'
import type { Db } from '../metadata/open.ts'
import { bumpGeneration, findOrganizationById, type Organization } from '../metadata/organizations.ts'
import {
  deleteProxyCache,
  findProxyCache,
  insertProxyCache,
  type ProxyCache,
  updateProxyCache,
} from '../metadata/proxy-caches.ts'
import {
  formatUpstreamName,
  hostWithoutPort,
  isNotAnUpstreamName,
  parseUpstreamName,
  type UpstreamName,
} from '../oci/upstream-name.ts'
import { AdminError, invalidRequest, notFound } from './admin-error.ts'
import type { Caller } from './caller.ts'
import type { Organizations } from './organizations.ts'
import type { AdminContext } from './settings.ts'
import { credentialsOf, openUpstreamCredential, sealUpstreamCredential } from './upstream-credentials.ts'

export const PROXY_CACHE_LIMITS = {
  /** Quay's default: a day. */
  expirationSecondsDefault: 86_400,
  /** Quay's column. */
  credentialCharactersMax: 4096,
  /** Validations under way at once: each may hold a connection for as long as an upstream lets it wait. */
  validationsMax: 8,
} as const

/** Quay's five fields. Absent in a change: as it was. Null or empty credentials: none. */
export type ProxyCacheFields = {
  upstream_registry?: string | undefined
  upstream_registry_username?: string | null | undefined
  upstream_registry_password?: string | null | undefined
  expiration_s?: number | undefined
  insecure?: boolean | undefined
}

/** Each is `''` where nothing is configured (Quay). Ours: whether credentials are set, since they are never read. */
export type ProxyCacheView = {
  upstream_registry: string
  expiration_s: number | ''
  insecure: boolean | ''
  has_credentials: boolean
}

type Settings = {
  upstream: UpstreamName
  upstreamRegistry: string
  username: string | undefined
  password: string | undefined
  expirationSeconds: number
  insecure: boolean
}

export class ProxyCaches {
  readonly #context: AdminContext
  readonly #organizations: Organizations
  #validations = 0

  constructor(context: AdminContext, organizations: Organizations) {
    this.#context = context
    this.#organizations = organizations
  }

  /** Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. Not configured is no error (Quay). */
  async view(caller: Caller, name: string): Promise<ProxyCacheView> {
    // Quay: one's own name is a namespace without an upstream.
    if (caller.kind === 'account' && caller.account.username === name) return viewOf(undefined)
    const organization = await this.#organizations.find(name)
    return viewOf(await findProxyCache(this.#context.metadata.db, organization.id))
  }

  /** Does not contact the upstream (Quay). Errors: AdminError INVALID_REQUEST, naming the field, and as `view`. */
  async create(caller: Caller, name: string, fields: ProxyCacheFields): Promise<void> {
    const { organization, administrator } = await this.#organizations.administered(caller, name)
    if ((await findProxyCache(this.#context.metadata.db, organization.id)) !== undefined) throw alreadyExists()
    const settings = this.#merge(organization, undefined, fields)
    await this.#context.metadata.transaction(async (tx) => {
      const isNew = await insertProxyCache(tx, {
        organizationId: organization.id,
        ...this.#rowOf(organization, settings),
        createdAtMs: this.#context.clock(),
      })
      if (!isNew) throw alreadyExists() // Two may create at once.
      // What was pulled while nothing was configured lives for ever.
      await addExpirationChange(tx, {
        organizationId: organization.id,
        fromSeconds: 0,
        toSeconds: settings.expirationSeconds,
        changedAtMs: this.#context.clock(),
      })
      await holdOnlyContentOf(tx, organization.id, settings.upstream, this.#context.clock())
    })
    const about = { upstream_registry: settings.upstreamRegistry }
    this.#organizations.changed('proxy_cache_created', name, administrator, about)
  }

  /**
   * Change some fields. Another host or namespace makes what was cached invisible at once.
   * Errors: AdminError NOT_FOUND when nothing is configured; else as `create`.
   */
  async update(caller: Caller, name: string, fields: ProxyCacheFields): Promise<ProxyCacheView> {
    const { organization, administrator } = await this.#organizations.administered(caller, name)
    const view = await this.#context.metadata.transaction(async (tx) => {
      const current = await findProxyCache(tx, organization.id)
      if (current === undefined) throw notFound('Proxy Cache Configuration')
      const settings = this.#merge(organization, current, fields)
      await updateProxyCache(tx, organization.id, this.#rowOf(organization, settings))
      await addExpirationChange(tx, {
        organizationId: organization.id,
        fromSeconds: current.expirationSeconds,
        toSeconds: settings.expirationSeconds,
        changedAtMs: this.#context.clock(),
      })
      await holdOnlyContentOf(tx, organization.id, settings.upstream, this.#context.clock())
      return viewOf(await findProxyCache(tx, organization.id))
    })
    const about = { upstream_registry: view.upstream_registry, fields: Object.keys(fields) }
    this.#organizations.changed('proxy_cache_changed', name, administrator, about)
    return view
  }

  /** What is cached stays, and is served until it expires. Errors: AdminError NOT_FOUND, and as `create`. */
  async delete(caller: Caller, name: string): Promise<void> {
    const { organization, administrator } = await this.#organizations.administered(caller, name)
    if (!(await deleteProxyCache(this.#context.metadata.db, organization.id)))
      throw notFound('Proxy Cache Configuration')
    this.#organizations.changed('proxy_cache_deleted', name, administrator)
  }

  /**
   * Ask the upstream whether it would do; changes nothing. Where one is configured (Quay refuses then), absent fields
   * are
   * its own, if it is the same.
   * Errors: AdminError INVALID_REQUEST saying what is wrong; TOO_MANY_REQUESTS; and as `create`.
   */
  async validate(caller: Caller, name: string, fields: ProxyCacheFields): Promise<'Valid' | 'Anonymous'> {
    const { organization } = await this.#organizations.administered(caller, name)
    const current = await findProxyCache(this.#context.metadata.db, organization.id)
    const same = current !== undefined && mayReusePassword(current, fields) ? current : undefined
    const { upstream, username, password, insecure } = this.#merge(organization, same, fields)
    if (this.#validations >= PROXY_CACHE_LIMITS.validationsMax) {
      throw new AdminError('TOO_MANY_REQUESTS', 'too many validations at once', { retryAfterSeconds: 5 })
    }
    this.#validations += 1
    try {
      const answer = await this.#context.probeUpstream({
        scheme: insecure ? 'http' : 'https',
        host: upstream.host,
        caPem: organization.caPem,
        credentials: credentialsOf(username, password),
      })
      return answer === 'valid' ? 'Valid' : 'Anonymous'
    } catch (error) {
      throw explainProbe(error, username !== undefined)
    } finally {
      this.#validations -= 1
    }
  }

  /** The configuration as it would be. Errors: AdminError INVALID_REQUEST. */
  #merge(organization: Organization, current: ProxyCache | undefined, fields: ProxyCacheFields): Settings {
    const upstreamRegistry = fields.upstream_registry?.trim() ?? current?.upstreamRegistry
    if (upstreamRegistry === undefined) throw invalidRequest('upstream_registry: is required')
    const insecure = fields.insecure ?? current?.insecure ?? false
    const upstream = this.#parseUpstream(upstreamRegistry, insecure)
    if (organization.mirrorHost !== undefined && upstream.namespace !== undefined) {
      throw invalidRequest(
        'upstream_registry: this organization is the mirror of a host, so it cannot have a namespace',
      )
    }
    const stored = this.#openCredentials(organization, current)
    const username = given(fields.upstream_registry_username, stored.username)
    const password = given(fields.upstream_registry_password, username === undefined ? undefined : stored.password)
    if (username === undefined && password !== undefined) {
      throw invalidRequest('upstream_registry_username: is required with a password')
    }
    if (username !== undefined && password === undefined) {
      throw invalidRequest('upstream_registry_password: is required with a username')
    }
    const reusesPassword = password !== undefined && fields.upstream_registry_password === undefined
    if (reusesPassword && current !== undefined && !mayReusePassword(current, fields)) {
      throw invalidRequest(
        'upstream_registry_password: give the credentials again, or null, when the upstream is another one',
      )
    }
    const expirationSeconds =
      fields.expiration_s ?? current?.expirationSeconds ?? PROXY_CACHE_LIMITS.expirationSecondsDefault
    return { upstream, upstreamRegistry, username, password, expirationSeconds, insecure }
  }

  #parseUpstream(text: string, insecure: boolean): UpstreamName {
    const upstream = parseUpstreamName(text)
    if (isNotAnUpstreamName(upstream)) throw invalidRequest(`upstream_registry: ${upstream.problem}`)
    const host = hostWithoutPort(upstream.host)
    if (isIP(host) === 0) return upstream
    const port = Number(/:(\d+)$/.exec(upstream.host)?.[1] ?? (insecure ? 80 : 443))
    const refusal = this.#context.refuseUpstreamAddress({ host, port })
    if (refusal === undefined) return upstream
    throw invalidRequest(
      `upstream_registry: ${host} is a ${refusal.kind} address; to allow it add ${refusal.line} to SSRF_ALLOWED_HOSTS`,
    )
  }

  #openCredentials(
    organization: Organization,
    current: ProxyCache | undefined,
  ): { username: string | undefined; password: string | undefined } {
    const { secretBox } = this.#context
    return {
      username: openUpstreamCredential(secretBox, organization.id, 'username', current?.usernameEncrypted),
      password: openUpstreamCredential(secretBox, organization.id, 'password', current?.passwordEncrypted),
    }
  }

  #rowOf(organization: Organization, settings: Settings): Omit<ProxyCache, 'organizationId' | 'createdAtMs'> {
    const { secretBox } = this.#context
    const { upstreamRegistry, expirationSeconds, insecure } = settings
    return {
      upstreamRegistry,
      usernameEncrypted: sealUpstreamCredential(secretBox, organization.id, 'username', settings.username),
      passwordEncrypted: sealUpstreamCredential(secretBox, organization.id, 'password', settings.password),
      expirationSeconds,
      insecure,
    }
  }
}

/** Absent: as it is. Null or empty: none. */
function given(sent: string | null | undefined, stored: string | undefined): string | undefined {
  if (sent === undefined) return stored
  return sent === null || sent === '' ? undefined : sent
}

/** Who may change the upstream may not read its password: so it is never sent where they point it. */
function mayReusePassword(current: ProxyCache, fields: ProxyCacheFields): boolean {
  const before = parseUpstreamName(current.upstreamRegistry)
  const after = parseUpstreamName(fields.upstream_registry ?? current.upstreamRegistry)
  if (isNotAnUpstreamName(before) || isNotAnUpstreamName(after) || before.host !== after.host) return false
  return current.insecure || fields.insecure !== true
}

/**
 * What an organization has cached is of one upstream. Which one is remembered for each generation, also while nothing
 * is configured; content of another becomes a former generation, which nobody sees.
 */
async function holdOnlyContentOf(tx: Db, organizationId: number, upstream: UpstreamName, nowMs: number): Promise<void> {
  const name = formatUpstreamName(upstream)
  const organization = await findOrganizationById(tx, organizationId)
  if (organization === undefined) throw notFound('organization')
  const standing = await insertInstanceValue(tx, upstreamKey(organizationId, organization.generation), name)
  if (standing === name) return
  const generation = await bumpGeneration(tx, organizationId)
  await insertInstanceValue(tx, upstreamKey(organizationId, generation), name)
  // What the former upstream gave is no right to what the new one names by the same digest.
  await revokeBlobs(tx, organizationId)
  await addJob(tx, { kind: 'collect_generation', payload: { organizationId }, nowMs, runAtMs: nowMs })
}

function upstreamKey(organizationId: number, generation: number): string {
  return `upstream_of_organization:${organizationId}:${generation}`
}

/** Quay's message. */
function alreadyExists(): AdminError {
  return invalidRequest('Proxy Cache Configuration already exists')
}

function viewOf(proxyCache: ProxyCache | undefined): ProxyCacheView {
  if (proxyCache === undefined) {
    return { upstream_registry: '', expiration_s: '', insecure: '', has_credentials: false }
  }
  return {
    upstream_registry: proxyCache.upstreamRegistry,
    expiration_s: proxyCache.expirationSeconds,
    insecure: proxyCache.insecure,
    has_credentials: proxyCache.passwordEncrypted !== undefined,
  }
}

/** The upstream's failure in words for whoever typed its name. An UpstreamError's message names the host only. */
function explainProbe(error: unknown, hasCredentials: boolean): unknown {
  if (!(error instanceof UpstreamError)) return error
  const { host } = error
  switch (error.failure) {
    case 'denied':
      return invalidRequest(
        hasCredentials
          ? `Failed login to remote registry: ${host} refuses this username and password`
          : `Failed login to remote registry: ${host} refuses anonymous access; give a username and password`,
      )
    case 'not_found':
      return invalidRequest(`${host} does not answer as a registry: there is no /v2/`)
    case 'rate_limited':
      return invalidRequest(`${host} limits the rate of requests; try again later`)
    case 'unreachable':
    case 'timeout':
    case 'server_error':
    case 'protocol':
      return invalidRequest(error.message)
    default:
      throw new Error(`unhandled upstream failure: ${error.failure satisfies never}`)
  }
}
