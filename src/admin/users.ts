/** Users, as superusers see and change them. */
import { updateAccount } from '../metadata/account-changes.ts'
import { type Account, findAccount, listAccounts } from '../metadata/accounts.ts'
import { addLogEntry, type LogKind } from '../metadata/log-entries.ts'
import { NameTakenError } from '../metadata/names.ts'
import type { Db } from '../metadata/open.ts'
import { findOrganization } from '../metadata/organizations.ts'
import { deleteSessionsOf } from '../metadata/sessions.ts'
import { addTeamMember, createTeam, listTeams } from '../metadata/teams.ts'
import { isOrganizationName } from '../oci/repository-name.ts'
import { removeAccount } from './account-removal.ts'
import { AdminError, invalidRequest, notFound, unauthorized } from './admin-error.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { type AccountCaller, type Caller, requireAccount } from './caller.ts'
import { parseEmail } from './organization-changes.ts'
import { type Page, type PageQuery, readPage } from './page.ts'
import { hashNewPassword } from './password-hashing.ts'
import type { Passwords } from './passwords.ts'
import type { Rights } from './rights.ts'
import { scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'
import { isUsername } from './username.ts'

export type ManagedUserView = {
  kind: 'user'
  name: string
  username: string
  email: string | null
  verified: true
  avatar: Avatar
  super_user: boolean
  enabled: boolean
}

/** Undefined: unchanged. A null e-mail is none. */
export type UserChanges = {
  password: string | undefined
  email: string | null | undefined
  enabled: boolean | undefined
}

export class Users {
  readonly #context: AdminContext
  readonly #passwords: Passwords
  readonly #rights: Rights

  constructor(context: AdminContext, passwords: Passwords, rights: Rights) {
    this.#context = context
    this.#passwords = passwords
    this.#rights = rights
  }

  /** Those that are disabled too, if `withDisabled`. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE. */
  async list(caller: Caller, query: PageQuery & { withDisabled: boolean }): Promise<Page<ManagedUserView>> {
    this.#requireReader(caller)
    const { db } = this.#context.metadata
    const page = await readPage(
      query,
      (rows) => listAccounts(db, rows),
      (account) => account.username,
    )
    const shown = page.entries.filter((account) => query.withDisabled || account.isEnabled)
    return { next: page.next, entries: shown.map((account) => this.#view(account)) }
  }

  /** Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. */
  async get(caller: Caller, username: string): Promise<ManagedUserView> {
    this.#requireReader(caller)
    return this.#view(await this.#find(username))
  }

  /**
   * Another user's password, e-mail or whether it may be used; not another superuser's (Quay). A new password, and
   * being disabled, end its sessions. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND, INVALID_REQUEST.
   */
  async update(caller: Caller, username: string, changes: UserChanges, address: string): Promise<ManagedUserView> {
    const by = this.#requireSuperuser(caller)
    const account = await this.#findLesser(by, username)
    if (changes.enabled === false && account.id === by.account.id)
      throw invalidRequest('enabled: it is your own account')
    const { password, enabled } = changes
    const email = changes.email === undefined ? undefined : { email: parseEmail(changes.email) }
    const hash =
      password === undefined ? undefined : { passwordHash: await hashNewPassword(this.#passwords, password, address) }
    await this.#context.metadata.transaction(async (tx) => {
      await updateAccount(tx, account.id, { ...email, ...hash, ...(enabled !== undefined && { isEnabled: enabled }) })
      if (hash !== undefined || enabled === false) await deleteSessionsOf(tx, account.id)
      const kinds: LogKind[] = [
        ...(email === undefined ? [] : (['user_change_email'] as const)),
        ...(hash === undefined ? [] : (['user_change_password'] as const)),
        ...(enabled === undefined || enabled === account.isEnabled
          ? []
          : ([enabled ? 'user_enable' : 'user_disable'] as const)),
      ]
      for (const kind of kinds) await this.#log(tx, kind, by, account.username, address)
    })
    this.#changed('user_changed', account.username, by)
    return this.get(caller, username)
  }

  /** With all that is its own. Errors: as `update`, and as `removeAccount`. */
  async delete(caller: Caller, username: string, address: string): Promise<void> {
    const by = this.#requireSuperuser(caller)
    const account = await this.#findLesser(by, username)
    await this.#context.metadata.transaction(async (tx) => {
      await removeAccount(tx, account, this.#rights, this.#context.settings)
      await this.#log(tx, 'user_delete', by, account.username, address)
    })
    this.#changed('user_deleted', account.username, by)
  }

  /**
   * Become an administrator of an organization. Quay also makes an organization of a user; here users own no
   * repositories. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND.
   */
  async takeOwnership(caller: Caller, name: string, address: string): Promise<void> {
    const by = this.#requireSuperuser(caller)
    const { metadata, clock } = this.#context
    const nowMs = clock()
    await metadata.transaction(async (tx) => {
      const organization = isOrganizationName(name) ? await findOrganization(tx, name) : undefined
      if (organization === undefined) throw notFound('organization')
      const teams = await listTeams(tx, organization.id)
      const team = teams.find(({ role }) => role === 'admin') ?? (await createOwners(tx, organization.id, nowMs))
      await addTeamMember(tx, team.id, by.account.id)
      const metadataOfEntry = { namespace: name, was_user: false, superuser: by.account.username }
      const who = { organizationId: organization.id, accountId: by.account.id, address }
      await addLogEntry(tx, { ...who, kind: 'take_ownership', nowMs, metadata: metadataOfEntry })
    })
    this.#changed('ownership_taken', name, by)
  }

  #view(account: Account): ManagedUserView {
    return {
      kind: 'user',
      name: account.username,
      username: account.username,
      email: account.email ?? null,
      verified: true,
      avatar: avatarOf(account.username, 'user'),
      super_user: this.#rights.isSuperuser(account),
      enabled: account.isEnabled,
    }
  }

  async #find(username: string): Promise<Account> {
    const account = isUsername(username) ? await findAccount(this.#context.metadata.db, username) : undefined
    if (account === undefined || account.kind !== 'user') throw notFound('user')
    return account
  }

  /** Oneself, or somebody who is no superuser: those are changed by the configuration, or by themselves. */
  async #findLesser(by: AccountCaller, username: string): Promise<Account> {
    const account = await this.#find(username)
    if (this.#rights.isSuperuser(account) && account.id !== by.account.id) {
      throw new AdminError('INSUFFICIENT_SCOPE', 'a superuser is changed by nobody else')
    }
    return account
  }

  #requireSuperuser(caller: Caller): AccountCaller {
    const by = requireAccount(caller)
    if (!this.#rights.actsAsSuperuser(caller)) throw unauthorized()
    this.#rights.refuseReader(by)
    return by
  }

  #requireReader(caller: Caller): void {
    const { account, scopes } = requireAccount(caller)
    if (this.#rights.actsAsSuperuser(caller)) return
    if (!this.#rights.isReader(account) || !scopesGive(scopes, 'superuser')) throw unauthorized()
  }

  #log(tx: Db, kind: LogKind, by: AccountCaller, username: string, address: string): Promise<void> {
    const metadata = { username, superuser: by.account.username }
    const who = { organizationId: undefined, accountId: by.account.id, address }
    return addLogEntry(tx, { ...who, kind, nowMs: this.#context.clock(), metadata })
  }

  #changed(event: string, name: string, by: AccountCaller): void {
    this.#context.epoch.advance()
    this.#context.report(event, { name, by: by.account.username })
  }
}

/** Quay's name for the team; one that has it and does not administer is left as it is. */
async function createOwners(tx: Db, organizationId: number, nowMs: number) {
  const create = (name: string) => createTeam(tx, { organizationId, name, role: 'admin', description: '', nowMs })
  try {
    return await create('owners')
  } catch (error) {
    if (!(error instanceof NameTakenError)) throw error
    return create('administrators')
  }
}
