/** What the API tells of robots and of what they may do. Fields: Quay's. */
import type { GrantedRepository, RepositoryRole } from '../metadata/repository-permissions.ts'
import type { Robot } from '../metadata/robots.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { formatDate } from './tag-view.ts'

/** In a list. */
export type ListedRobotView = {
  name: string
  created: string
  last_accessed: string | null
  teams: { name: string; avatar: Avatar }[]
  repositories: readonly string[]
  description: string
  token?: string
}

/** By itself. */
export type RobotView = {
  name: string
  created: string
  last_accessed: string | null
  description: string
  token?: string
  unstructured_metadata?: unknown
}

export type GrantView = { repository: { name: string; is_public: boolean }; role: RepositoryRole }

/** `lastUsedAtMs` and `token`: as the caller may know them. */
export type RobotFacts = { lastUsedAtMs: number | undefined; token: string | undefined }

export function viewRobot(robot: Robot, facts: RobotFacts, hasMetadata: boolean): RobotView {
  return {
    ...viewTimes(robot, facts),
    description: robot.description,
    ...(facts.token !== undefined && { token: facts.token }),
    ...(hasMetadata && { unstructured_metadata: JSON.parse(robot.unstructuredMetadata) }),
  }
}

export function viewListedRobot(
  robot: Robot,
  facts: RobotFacts,
  granted: { teams: readonly string[]; repositories: readonly string[] },
): ListedRobotView {
  return {
    ...viewTimes(robot, facts),
    teams: granted.teams.map((name) => ({ name, avatar: avatarOf(name, 'team') })),
    repositories: granted.repositories,
    description: robot.description,
    ...(facts.token !== undefined && { token: facts.token }),
  }
}

/** The repository without its organization (Quay). */
export function viewGrant({ name, isPublic, role }: GrantedRepository): GrantView {
  return { repository: { name, is_public: isPublic }, role }
}

function viewTimes(robot: Robot, { lastUsedAtMs }: RobotFacts) {
  return {
    name: robot.username,
    created: formatDate(robot.createdAtMs),
    last_accessed: lastUsedAtMs === undefined ? null : formatDate(lastUsedAtMs),
  }
}
