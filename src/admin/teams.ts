/** Teams of an organization: who is in them, and which role they have. Source: quay-behaviour.md 1.6. */
import { findAccount } from '../metadata/accounts.ts'
import type { Organization } from '../metadata/organizations.ts'
import { listGrantedRepositories } from '../metadata/repository-permissions.ts'
import {
  addTeamMember,
  createTeam,
  deleteTeam,
  findTeam,
  isTeamMember,
  listTeamMembers,
  listTeams,
  removeTeamMember,
  type Team,
  type TeamMember,
  type TeamRole,
  updateTeam,
} from '../metadata/teams.ts'
import { invalidRequest, notFound, unauthorized } from './admin-error.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { type Caller, requireAccount } from './caller.ts'
import { changePeople, keepAdministrator, type OrganizationCall } from './organization-people.ts'
import type { Organizations } from './organizations.ts'
import { type Page, type PageQuery, readPage } from './page.ts'
import type { Rights } from './rights.ts'
import { isRobotName } from './robot-name.ts'
import { type GrantView, viewGrant } from './robot-view.ts'
import { scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'
import { isUsername, usernameCharactersMax, usernameCharactersMin } from './username.ts'

export const TEAM_LIMITS = { teamsMax: 1000, descriptionCharactersMax: 4096 } as const

export type TeamFields = { role: TeamRole; description?: string | undefined }

export type TeamView = {
  name: string
  description: string
  can_view: boolean
  role: TeamRole
  avatar: Avatar
  new_team: boolean
}

export type TeamMemberView = { name: string; kind: 'user'; is_robot: boolean; avatar: Avatar; invited: false }

export type TeamMembers = { name: string; canEdit: boolean } & Page<TeamMemberView>

export class Teams {
  readonly #context: AdminContext
  readonly #organizations: Organizations
  readonly #rights: Rights

  constructor(context: AdminContext, organizations: Organizations, rights: Rights) {
    this.#context = context
    this.#organizations = organizations
    this.#rights = rights
  }

  /**
   * Create a team, or change its role and description.
   * Errors: AdminError INVALID_REQUEST for a bad name, and when no administrator would be left; INVALID_TOKEN,
   * INSUFFICIENT_SCOPE, NOT_FOUND.
   */
  async put(call: OrganizationCall, name: string, fields: TeamFields): Promise<TeamView> {
    const { team, isNew } = await this.#change(call, async (change) => {
      const { tx, organization, log } = change
      const before = await findTeam(tx, organization.id, name)
      if (before === undefined) {
        await checkNewTeam(tx, organization, name)
        const team = await createTeam(tx, { ...fields, organizationId: organization.id, name, nowMs: change.nowMs })
        await log('org_create_team', { team: name })
        return { team, isNew: true }
      }
      const { role, description = before.description } = fields
      await keepAdministrator(change, () => updateTeam(tx, before.id, { role, description }))
      if (description !== before.description) await log('org_set_team_description', { team: name, description })
      if (role !== before.role) await log('org_set_team_role', { team: name, role })
      return { team: { ...before, role, description }, isNew: false }
    })
    return viewTeam(team, isNew)
  }

  /** Errors: as `put`; INVALID_REQUEST also when there is no such team (Quay's 400). */
  async delete(call: OrganizationCall, name: string): Promise<void> {
    await this.#change(call, async (change) => {
      const { tx, organization, log } = change
      const team = await findTeam(tx, organization.id, name)
      if (team === undefined) throw invalidRequest(`Team '${name}' is not a team in org '${organization.name}'`)
      await keepAdministrator(change, () => deleteTeam(tx, team.id))
      await log('org_delete_team', { team: name })
    })
  }

  /** For administrators and the team's own members. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. */
  async members(call: OrganizationCall, name: string, query: PageQuery): Promise<TeamMembers> {
    const { db } = this.#context.metadata
    const organization = await this.#organizations.find(call.organization)
    const team = await findTeam(db, organization.id, name)
    const { isAdmin, maySee } = await this.#sees(call.caller, organization, team)
    if (!maySee) throw unauthorized()
    if (team === undefined) throw notFound('team')
    const page = await readPage(
      query,
      (asked) => listTeamMembers(db, team.id, asked),
      (member) => member.username,
    )
    return { name, canEdit: isAdmin, entries: page.entries.map(viewMember), next: page.next }
  }

  /** What the team may do in which repositories. Errors: as `members`. */
  async permissions(call: OrganizationCall, name: string, query: PageQuery): Promise<Page<GrantView>> {
    const { db } = this.#context.metadata
    const organization = await this.#organizations.find(call.organization)
    const { isAdmin, maySeeAll } = await this.#rights.standing(requireAccount(call.caller), organization)
    if (!isAdmin && !maySeeAll) throw unauthorized()
    const team = await findTeam(db, organization.id, name)
    if (team === undefined) throw notFound('team')
    const page = await readPage(
      query,
      ({ after, limit }) =>
        listGrantedRepositories(db, { kind: 'team', id: team.id }, { afterId: afterIdOf(after), limit }),
      (grant) => String(grant.permissionId),
    )
    return { entries: page.entries.map(viewGrant), next: page.next }
  }

  /**
   * A user, or a robot of this organization. Nothing happens when it is one already (Quay: 400).
   * Errors: AdminError INVALID_REQUEST for who is neither; as `members`.
   */
  async addMember(call: OrganizationCall, name: string, memberName: string): Promise<TeamMemberView> {
    return this.#change(call, async ({ tx, organization, log }) => {
      const team = await findTeam(tx, organization.id, name)
      if (team === undefined) throw notFound('team')
      const account = isMemberName(memberName) ? await findAccount(tx, memberName) : undefined
      if (account === undefined) throw invalidRequest('Unknown user')
      if (account.kind === 'robot' && account.ownerOrganizationId !== organization.id) {
        throw invalidRequest('Cannot add the specified robot to this team, as it is not a member of the organization')
      }
      if (!(await isTeamMember(tx, team.id, account.id))) {
        await addTeamMember(tx, team.id, account.id)
        await log('org_add_team_member', { member: memberName, team: name })
      }
      return viewMember({ accountId: account.id, username: account.username, kind: account.kind })
    })
  }

  /**
   * Errors: AdminError NOT_FOUND for an unknown team or account; INVALID_REQUEST (Quay's 400) for who is not in the
   * team, and for the last administrator; INVALID_TOKEN, INSUFFICIENT_SCOPE.
   */
  async removeMember(call: OrganizationCall, name: string, memberName: string): Promise<void> {
    await this.#change(call, async (change) => {
      const { tx, organization, log } = change
      const team = await findTeam(tx, organization.id, name)
      if (team === undefined) throw notFound('team')
      const account = isMemberName(memberName) ? await findAccount(tx, memberName) : undefined
      if (account === undefined) throw notFound('user')
      const isRemoved = await keepAdministrator(change, () => removeTeamMember(tx, team.id, account.id))
      if (!isRemoved) throw invalidRequest(`User ${memberName} does not belong to team ${name}`)
      await log('org_remove_team_member', { member: memberName, team: name })
    })
  }

  #change<Result>(call: OrganizationCall, work: Parameters<typeof changePeople<Result>>[3]): Promise<Result> {
    return changePeople(this.#context, this.#organizations, call, work)
  }

  /** A team that does not exist has no members who may see it. */
  async #sees(
    caller: Caller,
    organization: Organization,
    team: Team | undefined,
  ): Promise<{ isAdmin: boolean; maySee: boolean }> {
    const { account, scopes } = requireAccount(caller)
    const { isAdmin, maySeeAll } = await this.#rights.standing(caller, organization)
    if (isAdmin || maySeeAll) return { isAdmin, maySee: true }
    const isAsked = team !== undefined && scopesGive(scopes, 'administerOrganizations')
    return { isAdmin, maySee: isAsked && (await isTeamMember(this.#context.metadata.db, team.id, account.id)) }
  }
}

/** What comes after the last entry of the page before, for lists in the order of ids. */
export function afterIdOf(after: string | undefined): number | undefined {
  if (after === undefined) return undefined
  if (!/^\d{1,15}$/.test(after)) throw invalidRequest('next_page: is not one of this list')
  return Number(after)
}

/** Nothing else may reach the database: PostgreSQL has no NUL. */
export function isMemberName(text: string): boolean {
  return isUsername(text) || isRobotName(text)
}

async function checkNewTeam(tx: Parameters<typeof listTeams>[0], organization: Organization, name: string) {
  if (!isUsername(name)) {
    throw invalidRequest(
      `Invalid team name: expected ${usernameCharactersMin} to ${usernameCharactersMax} lower-case letters and digits, ` +
        'with single . _ or - between them',
    )
  }
  const { teamsMax } = TEAM_LIMITS
  if ((await listTeams(tx, organization.id)).length < teamsMax) return
  throw invalidRequest(`the organization ${organization.name} has ${teamsMax} teams, which is the most it can have`)
}

function viewTeam(team: Team, isNew: boolean): TeamView {
  const { name, description, role } = team
  return { name, description, can_view: true, role, avatar: avatarOf(name, 'team'), new_team: isNew }
}

function viewMember({ username, kind }: TeamMember): TeamMemberView {
  const isRobot = kind === 'robot'
  return { name: username, kind: 'user', is_robot: isRobot, avatar: avatarOf(username, kind), invited: false }
}
