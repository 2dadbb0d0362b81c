/** OAuth applications of organizations, and access tokens that are generated for them. */
import { SECOND_MS } from '../base/units.ts'
import {
  type AccessToken,
  countApplicationTokens,
  deleteApplicationToken,
  listApplicationTokens,
} from '../metadata/access-tokens.ts'
import { addLogEntry, type LogKind } from '../metadata/log-entries.ts'
import {
  countOAuthApplications,
  deleteOAuthApplication,
  findOAuthApplication,
  insertOAuthApplication,
  listOAuthApplications,
  type OAuthApplication,
  setClientSecret,
  updateOAuthApplication,
} from '../metadata/oauth-applications.ts'
import type { Db } from '../metadata/open.ts'
import type { Organization } from '../metadata/organizations.ts'
import type { AccessTokens } from './access-tokens.ts'
import { invalidRequest, notFound, unauthorized } from './admin-error.ts'
import type { AccountCaller, Caller } from './caller.ts'
import { parseEmail } from './organization-changes.ts'
import type { Organizations } from './organizations.ts'
import { type Page, type PageQuery, readPage } from './page.ts'
import { parseScopes, SCOPES, type Scope } from './scopes.ts'
import { makeSecretToken } from './secret-token.ts'
import type { AdminContext } from './settings.ts'
import { formatDate } from './tag-view.ts'

export const OAUTH_APPLICATION_LIMITS = {
  /** Of one organization. */
  applicationsMax: 1000,
  /** Of one application. */
  tokensMax: 1000,
  nameCharactersMax: 255,
  uriCharactersMax: 2048,
  descriptionCharactersMax: 4096,
} as const

export type ApplicationView = {
  name: string
  description: string
  application_uri: string
  client_id: string
  client_secret: string
  redirect_uri: string
  avatar_email: string | null
}

export type ApplicationFields = {
  name: string
  description: string | null | undefined
  application_uri: string | null | undefined
  redirect_uri: string | null | undefined
  avatar_email: string | null | undefined
}

/** `uuid` is what names it in its path. */
export type ApplicationTokenView = {
  uuid: string
  title: string
  scope: string
  created: string
  expiration: string | null
  last_accessed: string | null
  token?: string
}

/** Who does it, to which organization, from where. */
export type ApplicationCall = { caller: Caller; organization: string; address: string }

type Administered = { organization: Organization; administrator: AccountCaller }

export class OAuthApplications {
  readonly #context: AdminContext
  readonly #organizations: Organizations
  readonly #tokens: AccessTokens

  constructor(context: AdminContext, organizations: Organizations, tokens: AccessTokens) {
    this.#context = context
    this.#organizations = organizations
    this.#tokens = tokens
  }

  /** Errors, here and below: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE unless an administrator; NOT_FOUND. */
  async list(call: ApplicationCall, query: PageQuery): Promise<Page<ApplicationView>> {
    const { organization } = await this.#administered(call)
    const afterId = idOf(query.after)
    const page = await readPage(
      query,
      ({ limit }) => listOAuthApplications(this.#context.metadata.db, organization.id, { afterId, limit }),
      ({ id }) => String(id),
    )
    return { next: page.next, entries: page.entries.map((application) => this.#view(application)) }
  }

  async create(call: ApplicationCall, fields: ApplicationFields): Promise<ApplicationView> {
    const administered = await this.#administered(call)
    const parsed = parseFields(fields)
    const { organization } = administered
    const { clock, metadata, secretBox } = this.#context
    const clientId = makeSecretToken().replaceAll(/[-_]/g, '0').slice(0, 20).toUpperCase()
    const application = await metadata.transaction(async (tx) => {
      if ((await countOAuthApplications(tx, organization.id)) >= OAUTH_APPLICATION_LIMITS.applicationsMax) {
        throw invalidRequest(`there are ${OAUTH_APPLICATION_LIMITS.applicationsMax} applications already`)
      }
      const inserted = await insertOAuthApplication(tx, {
        organizationId: organization.id,
        clientId,
        clientSecretEncrypted: secretBox.seal(makeSecretToken(), contextOf(clientId)),
        createdAtMs: clock(),
        ...parsed,
      })
      await this.#log(tx, 'create_application', administered, inserted, call.address)
      return inserted
    })
    return this.#view(application)
  }

  async get(call: ApplicationCall, clientId: string): Promise<ApplicationView> {
    const { organization } = await this.#administered(call)
    return this.#view(await find(this.#context.metadata.db, organization, clientId))
  }

  async update(call: ApplicationCall, clientId: string, fields: ApplicationFields): Promise<ApplicationView> {
    const parsed = parseFields(fields)
    return this.#change(call, clientId, 'update_application', (tx, { id }) => updateOAuthApplication(tx, id, parsed))
  }

  async resetClientSecret(call: ApplicationCall, clientId: string): Promise<ApplicationView> {
    const sealed = this.#context.secretBox.seal(makeSecretToken(), contextOf(clientId))
    return this.#change(call, clientId, 'reset_application_client_secret', (tx, { id }) =>
      setClientSecret(tx, id, sealed),
    )
  }

  /** Its tokens end. */
  async delete(call: ApplicationCall, clientId: string): Promise<void> {
    const administered = await this.#administered(call)
    await this.#context.metadata.transaction(async (tx) => {
      const application = await find(tx, administered.organization, clientId)
      await deleteOAuthApplication(tx, application.id)
      await this.#log(tx, 'delete_application', administered, application, call.address)
    })
    this.#context.epoch.advance()
  }

  /** Tokens without their codes. */
  async listTokens(call: ApplicationCall, clientId: string, query: PageQuery): Promise<Page<ApplicationTokenView>> {
    const { organization } = await this.#administered(call)
    const { db } = this.#context.metadata
    const application = await find(db, organization, clientId)
    const afterId = idOf(query.after)
    const page = await readPage(
      query,
      ({ limit }) => listApplicationTokens(db, application.id, { afterId, limit }),
      ({ id }) => String(id),
    )
    return { next: page.next, entries: page.entries.map((token) => this.#viewToken(token)) }
  }

  /**
   * A token of the caller's account, told once: it can do what the caller may at the time it is used, within its
   * scopes. A caller who is limited to scopes hands on no others.
   */
  async createToken(
    call: ApplicationCall,
    clientId: string,
    wanted: { scope: string; title: string | undefined; expiresAtSeconds: number | undefined },
  ): Promise<ApplicationTokenView> {
    const administered = await this.#administered(call)
    const { account, scopes: callerScopes } = administered.administrator
    const scopes = readScopes(wanted.scope)
    if (callerScopes !== undefined && scopes.some((scope) => !callerScopes.has(scope))) throw unauthorized()
    const expiresAtMs = wanted.expiresAtSeconds === undefined ? undefined : wanted.expiresAtSeconds * SECOND_MS
    const { clock, metadata } = this.#context
    if (expiresAtMs !== undefined && expiresAtMs <= clock()) throw invalidRequest('expires: is in the past')
    const created = await metadata.transaction(async (tx) => {
      const application = await find(tx, administered.organization, clientId)
      if ((await countApplicationTokens(tx, application.id)) >= OAUTH_APPLICATION_LIMITS.tokensMax) {
        throw invalidRequest(`there are ${OAUTH_APPLICATION_LIMITS.tokensMax} tokens already: revoke some`)
      }
      const title = wanted.title ?? application.name
      const owner = { accountId: account.id, applicationId: application.id }
      const made = await this.#tokens.insert(tx, { ...owner, title, scopes, expiresAtMs })
      await this.#log(tx, 'create_application_token', administered, application, call.address, made.row)
      return made
    })
    return { ...this.#viewToken(created.row), token: created.token }
  }

  /** Registry tokens that were made with it end too. */
  async revokeToken(call: ApplicationCall, clientId: string, uuid: string): Promise<void> {
    const administered = await this.#administered(call)
    const id = /^[1-9]\d{0,14}$/.test(uuid) ? Number(uuid) : undefined
    await this.#context.metadata.transaction(async (tx) => {
      const application = await find(tx, administered.organization, clientId)
      const key = { applicationId: application.id, id: id ?? 0 }
      if (id === undefined || !(await deleteApplicationToken(tx, key))) throw notFound('token')
      await this.#log(tx, 'revoke_application_token', administered, application, call.address, { id })
    })
    this.#context.epoch.advance()
  }

  #administered({ caller, organization }: ApplicationCall): Promise<Administered> {
    return this.#organizations.administered(caller, organization)
  }

  async #change(
    call: ApplicationCall,
    clientId: string,
    kind: LogKind,
    change: (tx: Db, application: OAuthApplication) => Promise<void>,
  ): Promise<ApplicationView> {
    const administered = await this.#administered(call)
    const changed = await this.#context.metadata.transaction(async (tx) => {
      const application = await find(tx, administered.organization, clientId)
      await change(tx, application)
      await this.#log(tx, kind, administered, application, call.address)
      return find(tx, administered.organization, clientId)
    })
    return this.#view(changed)
  }

  #view(application: OAuthApplication): ApplicationView {
    return {
      name: application.name,
      description: application.description,
      application_uri: application.applicationUri,
      client_id: application.clientId,
      client_secret: this.#context.secretBox.open(application.clientSecretEncrypted, contextOf(application.clientId)),
      redirect_uri: application.redirectUri,
      avatar_email: application.avatarEmail ?? null,
    }
  }

  #viewToken(token: AccessToken): ApplicationTokenView {
    const lastUsedAtMs = this.#tokens.lastUsedAtMs(token)
    return {
      uuid: String(token.id),
      title: token.title,
      scope: token.scope,
      created: formatDate(token.createdAtMs),
      expiration: token.expiresAtMs === undefined ? null : formatDate(token.expiresAtMs),
      last_accessed: lastUsedAtMs === undefined ? null : formatDate(lastUsedAtMs),
    }
  }

  #log(
    tx: Db,
    kind: LogKind,
    { organization, administrator }: Administered,
    application: OAuthApplication,
    address: string,
    token?: { id: number },
  ): Promise<void> {
    const metadata = {
      application_name: application.name,
      client_id: application.clientId,
      ...(token !== undefined && { token: token.id }),
    }
    const who = { organizationId: organization.id, accountId: administrator.account.id, address }
    return addLogEntry(tx, { ...who, kind, nowMs: this.#context.clock(), metadata })
  }
}

async function find(db: Db, organization: Organization, clientId: string): Promise<OAuthApplication> {
  const isId = /^[A-Z0-9]{20}$/.test(clientId)
  const application = isId ? await findOAuthApplication(db, organization.id, clientId) : undefined
  if (application === undefined) throw notFound('application')
  return application
}

/** Quay's words, separated by blanks or commas. Errors: AdminError INVALID_REQUEST for one that is none. */
function readScopes(text: string): Scope[] {
  const words = text.split(/[ ,]+/).filter((word) => word !== '')
  const scopes = [...parseScopes(text)]
  if (words.length === 0 || new Set(words).size !== scopes.length) {
    throw invalidRequest(`scope: expected some of ${SCOPES.join(' ')}`)
  }
  return scopes
}

function parseFields(fields: ApplicationFields) {
  const { nameCharactersMax, uriCharactersMax, descriptionCharactersMax } = OAUTH_APPLICATION_LIMITS
  if (fields.name.trim() === '' || fields.name.length > nameCharactersMax) {
    throw invalidRequest(`name: expected 1 to ${nameCharactersMax} characters`)
  }
  const bounded = (field: 'description' | 'application_uri' | 'redirect_uri', charactersMax: number) => {
    const text = fields[field] ?? ''
    if (text.length > charactersMax) throw invalidRequest(`${field}: expected at most ${charactersMax} characters`)
    return text
  }
  return {
    name: fields.name,
    description: bounded('description', descriptionCharactersMax),
    applicationUri: bounded('application_uri', uriCharactersMax),
    redirectUri: bounded('redirect_uri', uriCharactersMax),
    avatarEmail: parseEmailField(fields.avatar_email),
  }
}

function parseEmailField(email: string | null | undefined): string | undefined {
  try {
    return parseEmail(email ?? null)
  } catch {
    throw invalidRequest('avatar_email: not an email address')
  }
}

function idOf(after: string | undefined): number | undefined {
  if (after === undefined) return undefined
  if (!/^\d{1,15}$/.test(after)) throw invalidRequest('next_page: is not of this list')
  return Number(after)
}

function contextOf(clientId: string): string {
  return `oauth_application:${clientId}:client_secret_encrypted`
}
