/** Members and collaborators of an organization. Source: quay-behaviour.md 1.1. */
import { findAccount } from '../metadata/accounts.ts'
import { listCollaborators, listMembers, type Member, removeMember } from '../metadata/members.ts'
import type { Organization } from '../metadata/organizations.ts'
import { listRepositoryNames } from '../metadata/repository-permissions.ts'
import { listTeamNames } from '../metadata/robots.ts'
import { notFound, unauthorized } from './admin-error.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { requireAccount } from './caller.ts'
import { changePeople, keepAdministrator, type OrganizationCall } from './organization-people.ts'
import type { Organizations } from './organizations.ts'
import { type Page, type PageQuery, readPage } from './page.ts'
import type { Rights } from './rights.ts'
import type { AdminContext } from './settings.ts'
import { isMemberName } from './teams.ts'
import { isUsername } from './username.ts'

export const MEMBER_LIMITS = {
  /** Names of repositories in one page. */
  repositoriesMax: 10_000,
} as const

export type MemberView = {
  name: string
  kind: 'user' | 'robot'
  avatar: Avatar
  teams: { name: string; avatar: Avatar }[]
  /** Where they have permissions of their own. */
  repositories: readonly string[]
}

export type CollaboratorView = { kind: 'user'; name: string; avatar: Avatar; repositories: readonly string[] }

export class Members {
  readonly #context: AdminContext
  readonly #organizations: Organizations
  readonly #rights: Rights

  constructor(context: AdminContext, organizations: Organizations, rights: Rights) {
    this.#context = context
    this.#organizations = organizations
    this.#rights = rights
  }

  /** Users in its teams. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. */
  async list(call: OrganizationCall, query: PageQuery): Promise<Page<MemberView>> {
    const organization = await this.#seen(call)
    const { db } = this.#context.metadata
    const page = await readPage(query, (asked) => listMembers(db, organization.id, asked), nameOf)
    return { entries: await this.#view(organization, page.entries, 'user'), next: page.next }
  }

  /** Users in none of its teams who have permissions in its repositories. Errors: as `list`. */
  async listCollaborators(call: OrganizationCall, query: PageQuery): Promise<Page<CollaboratorView>> {
    const organization = await this.#seen(call)
    const { db } = this.#context.metadata
    const page = await readPage(query, (asked) => listCollaborators(db, organization.id, asked), nameOf)
    const views = await this.#view(organization, page.entries, 'user')
    const entries = views.map(({ name, avatar, repositories }): CollaboratorView => {
      return { kind: 'user', name, avatar, repositories }
    })
    return { entries, next: page.next }
  }

  /** A member, or a robot of the organization. Errors: as `list`. */
  async get(call: OrganizationCall, name: string): Promise<MemberView> {
    const organization = await this.#seen(call)
    const { db } = this.#context.metadata
    const account = isMemberName(name) ? await findAccount(db, name) : undefined
    if (account === undefined) throw notFound('member')
    const [view] = await this.#view(organization, [{ accountId: account.id, username: name }], account.kind)
    const belongs = account.kind === 'robot' && account.ownerOrganizationId === organization.id
    if (view === undefined || (view.teams.length === 0 && !belongs)) throw notFound('member')
    return view
  }

  /**
   * Out of every team, and without the permissions in the organization's repositories; also a collaborator.
   * Errors: as `list`; NOT_FOUND for who is no user; AdminError INVALID_REQUEST for the last administrator.
   */
  async remove(call: OrganizationCall, name: string): Promise<void> {
    await changePeople(this.#context, this.#organizations, call, async (change) => {
      const { tx, organization, log } = change
      const account = isUsername(name) ? await findAccount(tx, name) : undefined
      if (account === undefined) throw notFound('member')
      const teams = await keepAdministrator(change, () => removeMember(tx, organization.id, account.id))
      for (const team of teams) await log('org_remove_team_member', { member: name, team })
    })
  }

  async #view(organization: Organization, members: readonly Member[], kind: MemberView['kind']): Promise<MemberView[]> {
    const { db } = this.#context.metadata
    const ids = members.map((member) => member.accountId)
    const teams = await listTeamNames(db, organization.id, ids)
    const repositories = await listRepositoryNames(db, organization.id, ids, MEMBER_LIMITS.repositoriesMax)
    return members.map(({ accountId, username: name }) => ({
      ...{ name, kind, avatar: avatarOf(name, kind) },
      teams: (teams.get(accountId) ?? []).map((team) => ({ name: team, avatar: avatarOf(team, 'team') })),
      repositories: repositories.get(accountId) ?? [],
    }))
  }

  async #seen(call: OrganizationCall): Promise<Organization> {
    requireAccount(call.caller)
    const organization = await this.#organizations.find(call.organization)
    const { isAdmin, maySeeAll } = await this.#rights.standing(call.caller, organization)
    if (!isAdmin && !maySeeAll) throw unauthorized()
    return organization
  }
}

function nameOf(member: Member): string {
  return member.username
}
