/** Who may do what in one repository, and whether it is public. Source: quay-behaviour.md 1.6; messages are Quay's. */
import { type Account, findAccount } from '../metadata/accounts.ts'
import type { Db } from '../metadata/open.ts'
import { setRepositoryVisibility } from '../metadata/repositories.ts'
import {
  type AccountPermission,
  deleteRepositoryPermission,
  findRepositoryPermission,
  findRepositoryRoles,
  type Grantee,
  listAccountPermissions,
  listTeamPermissions,
  type RepositoryRole,
  setRepositoryPermission,
} from '../metadata/repository-permissions.ts'
import { listTeamNames } from '../metadata/robots.ts'
import { findTeam } from '../metadata/teams.ts'
import { invalidRequest, notFound } from './admin-error.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { type ChangedRepository, findChangedRepository, lockFound } from './found-repository.ts'
import type { Organizations } from './organizations.ts'
import { type Page, type PageQuery, readPage } from './page.ts'
import type { AdminContext } from './settings.ts'
import { log, type RepositoryCall } from './tags.ts'
import { isMemberName } from './teams.ts'
import { isUsername } from './username.ts'

export type UserPermissionView = {
  role: RepositoryRole
  name: string
  is_robot: boolean
  avatar: Avatar
  is_org_member: boolean
}
export type TeamPermissionView = { role: RepositoryRole; name: string; avatar: Avatar }
export type GranteeKind = 'user' | 'team'

export class RepositoryPermissions {
  readonly #context: AdminContext
  readonly #organizations: Organizations

  constructor(context: AdminContext, organizations: Organizations) {
    this.#context = context
    this.#organizations = organizations
  }

  /** Of users and robots. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. */
  async listUsers(call: RepositoryCall, query: PageQuery): Promise<Page<UserPermissionView>> {
    const { db } = this.#context.metadata
    const { organization, repository } = await this.#find(call)
    const page = await readPage(
      query,
      (asked) => listAccountPermissions(db, repository.id, asked),
      (permission) => permission.username,
    )
    return { entries: await viewUsers(db, organization.id, page.entries), next: page.next }
  }

  /** Errors: as `listUsers`. */
  async listTeams(call: RepositoryCall, query: PageQuery): Promise<Page<TeamPermissionView>> {
    const { db } = this.#context.metadata
    const { repository } = await this.#find(call)
    const page = await readPage(
      query,
      (asked) => listTeamPermissions(db, repository.id, asked),
      (permission) => permission.name,
    )
    return { entries: page.entries.map(viewTeam), next: page.next }
  }

  /** Errors: as `listUsers`; AdminError INVALID_REQUEST when there is none (Quay's 400). */
  async get(call: RepositoryCall, kind: GranteeKind, name: string): Promise<UserPermissionView | TeamPermissionView> {
    const { db } = this.#context.metadata
    const found = await this.#find(call)
    const grantee = await findGrantee(db, found.organization.id, kind, name)
    const role = grantee && (await findRepositoryPermission(db, found.repository.id, toKey(grantee)))
    if (grantee === undefined || role === undefined) throw noPermission(kind)
    return view(db, found, grantee, role)
  }

  /** Every role of a user or robot, its own and its teams’. Errors: as `listUsers`; NOT_FOUND when there is none. */
  async listTransitive(call: RepositoryCall, username: string): Promise<{ role: RepositoryRole }[]> {
    const { db } = this.#context.metadata
    const { repository } = await this.#find(call)
    const account = isMemberName(username) ? await findAccount(db, username) : undefined
    const roles = account === undefined ? [] : await findRepositoryRoles(db, repository.id, account.id)
    if (roles.length === 0) throw notFound('permission')
    return roles.map((role) => ({ role }))
  }

  /**
   * Teams are those of the repository's own organization.
   * Errors: as `listUsers`; AdminError INVALID_REQUEST for a user or team that is not there.
   */
  async put(
    call: RepositoryCall,
    kind: GranteeKind,
    name: string,
    role: RepositoryRole,
  ): Promise<UserPermissionView | TeamPermissionView> {
    return this.#change(call, async (tx, found, nowMs) => {
      const { organization, repository } = found
      const grantee = await findGrantee(tx, organization.id, kind, name)
      if (grantee === undefined) {
        throw invalidRequest(
          kind === 'user' ? `Invalid username: ${name}` : `No team ${name} in organization ${organization.name}`,
        )
      }
      await setRepositoryPermission(tx, { repositoryId: repository.id, grantee: toKey(grantee), role, nowMs })
      await log(tx, call, found, 'change_repo_permission', nowMs, { ...about(kind, name), role })
      return view(tx, found, grantee, role)
    })
  }

  /** Errors: as `get`. */
  async delete(call: RepositoryCall, kind: GranteeKind, name: string): Promise<void> {
    await this.#change(call, async (tx, found, nowMs) => {
      const grantee = await findGrantee(tx, found.organization.id, kind, name)
      const wasThere = grantee && (await deleteRepositoryPermission(tx, found.repository.id, toKey(grantee)))
      if (wasThere !== true) throw noPermission(kind)
      await log(tx, call, found, 'delete_repo_permission', nowMs, about(kind, name))
    })
  }

  /** Errors: as `listUsers`. */
  async changeVisibility(call: RepositoryCall, visibility: 'public' | 'private'): Promise<void> {
    await this.#change(call, async (tx, found, nowMs) => {
      await setRepositoryVisibility(tx, found.repository.id, visibility === 'public')
      await log(tx, call, found, 'change_repo_visibility', nowMs, { visibility })
    })
  }

  #find({ caller, key }: RepositoryCall): Promise<ChangedRepository> {
    return findChangedRepository(this.#context.metadata.db, this.#organizations, caller, key)
  }

  async #change<Result>(
    call: RepositoryCall,
    work: (tx: Db, found: ChangedRepository, nowMs: number) => Promise<Result>,
  ): Promise<Result> {
    const found = await this.#find(call)
    const result = await this.#context.metadata.transaction(async (tx) => {
      await lockFound(tx, found)
      return work(tx, found, this.#context.clock())
    })
    this.#context.epoch.advance()
    return result
  }
}

type FoundGrantee = { kind: 'user'; account: Account } | { kind: 'team'; id: number; name: string }

async function findGrantee(
  db: Db,
  organizationId: number,
  kind: GranteeKind,
  name: string,
): Promise<FoundGrantee | undefined> {
  if (kind === 'user') {
    const account = isMemberName(name) ? await findAccount(db, name) : undefined
    return account && { kind, account }
  }
  const team = isUsername(name) ? await findTeam(db, organizationId, name) : undefined
  return team && { kind, id: team.id, name }
}

function toKey(grantee: FoundGrantee): Grantee {
  return grantee.kind === 'user' ? { kind: 'account', id: grantee.account.id } : { kind: 'team', id: grantee.id }
}

async function view(
  db: Db,
  { organization }: ChangedRepository,
  grantee: FoundGrantee,
  role: RepositoryRole,
): Promise<UserPermissionView | TeamPermissionView> {
  if (grantee.kind === 'team') return viewTeam({ name: grantee.name, role })
  const { id: accountId, username, kind } = grantee.account
  const [seen] = await viewUsers(db, organization.id, [{ accountId, username, kind, role }])
  if (seen === undefined) throw new Error('a permission was lost on its way')
  return seen
}

/** A robot counts as a member (Quay). */
async function viewUsers(
  db: Db,
  organizationId: number,
  permissions: readonly AccountPermission[],
): Promise<UserPermissionView[]> {
  const ids = permissions.map((permission) => permission.accountId)
  const teams = await listTeamNames(db, organizationId, ids)
  return permissions.map(({ accountId, username, kind, role }) => {
    const isRobot = kind === 'robot'
    const isMember = isRobot || teams.has(accountId)
    return { role, name: username, is_robot: isRobot, avatar: avatarOf(username, kind), is_org_member: isMember }
  })
}

function viewTeam({ name, role }: { name: string; role: RepositoryRole }): TeamPermissionView {
  return { role, name, avatar: avatarOf(name, 'team') }
}

function about(kind: GranteeKind, name: string): Readonly<Record<string, string>> {
  return kind === 'user' ? { username: name } : { team: name }
}

function noPermission(kind: GranteeKind) {
  return invalidRequest(`${kind === 'user' ? 'User' : 'Team'} does not have permission for repo.`)
}
