/** What the API tells of an organization: more to a member, all to an administrator. Fields: Quay's, then ours. */
import type { Organization } from '../metadata/organizations.ts'
import type { Team, TeamRole } from '../metadata/teams.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import type { OrganizationQuotaView } from './quota-view.ts'
import type { OrganizationStanding } from './rights.ts'

export type TeamView = {
  name: string
  description: string
  role: TeamRole
  avatar: Avatar
  can_view: boolean
  repo_count: number
  is_synced: false
}

export type OrganizationView = Partial<OrganizationQuotaView> & {
  name: string
  email: string
  avatar: Avatar
  is_admin: boolean
  is_member: boolean
  teams?: Record<string, TeamView>
  ordered_teams?: string[]
  invoice_email?: false
  invoice_email_address?: null
  is_free_account?: true
  tag_expiration_s?: number
  revalidate_after_s?: number
  max_stale_s?: number | null
  refuse_when_denied?: boolean
  anonymous_pulls?: boolean
  frozen?: boolean
  /** Images larger than the quota are passed through uncached instead of refused. */
  passes_too_large?: boolean
  allowed_repositories?: readonly string[]
  denied_repositories?: readonly string[]
  mirror_host?: string | null
  ca_certificate?: string | null
}

export function viewOrganization(
  organization: Organization,
  standing: OrganizationStanding,
  teams: readonly Team[],
  quota: OrganizationQuotaView | undefined,
): OrganizationView {
  const seesAll = standing.isAdmin || standing.maySeeAll
  return {
    name: organization.name,
    email: seesAll ? (organization.email ?? '') : '',
    avatar: avatarOf(organization.name, 'org'),
    is_admin: standing.isAdmin,
    is_member: standing.isMember,
    ...(standing.isMember || seesAll ? { ...viewTeams(teams, seesAll), ...quota } : {}),
    ...(seesAll ? viewSettings(organization) : {}),
  }
}

function viewTeams(teams: readonly Team[], canView: boolean): Pick<OrganizationView, 'teams' | 'ordered_teams'> {
  const ordered = [...teams].sort((a, b) => a.id - b.id)
  const views = ordered.map(({ name, description, role }): [string, TeamView] => [
    name,
    {
      name,
      description,
      role,
      avatar: avatarOf(name, 'team'),
      can_view: canView,
      repo_count: 0,
      is_synced: false,
    },
  ])
  return { teams: Object.fromEntries(views), ordered_teams: ordered.map(({ name }) => name) }
}

function viewSettings(organization: Organization): Partial<OrganizationView> {
  return {
    invoice_email: false,
    invoice_email_address: null,
    is_free_account: true,
    tag_expiration_s: organization.tagExpirationSeconds,
    revalidate_after_s: organization.revalidateAfterSeconds,
    max_stale_s: organization.maxStaleSeconds ?? null,
    refuse_when_denied: organization.refuseWhenDenied,
    anonymous_pulls: organization.anonymousPulls,
    frozen: organization.frozen,
    passes_too_large: organization.passesTooLarge,
    allowed_repositories: organization.allowedRepositories,
    denied_repositories: organization.deniedRepositories,
    mirror_host: organization.mirrorHost ?? null,
    ca_certificate: organization.caPem ?? null,
  }
}
