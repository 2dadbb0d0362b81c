/** Who may do what, as data: what a caller can be (standings), and for each rule which of them it lets through. */
import type { Power } from './scopes.ts'

/** What a caller is, each by itself: somebody usually is several at once. */
export const STANDINGS = {
  anonymous: 'nobody is signed in',
  user: 'any user who is signed in',
  self: 'the user whose name stands where an organization’s could',
  member: 'a user in a team of the organization with the role *member*',
  creator: 'a user in a team with the role *creator*',
  admin: 'a user in a team with the role *admin*',
  quotaAdmin: 'an *admin*, when `FEATURE_ORGANIZATION_ADMINS_EDIT_QUOTA` is on',
  teamMember: 'a user in the team that the request names',
  robot: 'any robot',
  teamRobot: 'a robot in a team of the organization',
  repositoryReader: 'who has the permission *read* in the repository, by themselves or by a team',
  repositoryWriter: 'the same with *write*',
  repositoryAdmin: 'the same with *admin*',
  guest: 'anyone, where the organization allows anonymous pulls or the repository is public',
  superuser: 'a superuser, while `FEATURE_SUPERUSERS_FULL_ACCESS` is on',
  limitedSuperuser: 'a superuser, while it is off',
  readonlySuperuser: 'listed in `GLOBAL_READONLY_SUPER_USERS`',
} as const

export type Standing = keyof typeof STANDINGS

/** What a permission in a repository makes of its holder. */
export const STANDING_OF_ROLE = {
  read: 'repositoryReader',
  write: 'repositoryWriter',
  admin: 'repositoryAdmin',
} as const satisfies Record<string, Standing>

/** What a standing is about: it must be looked at before the rule can be asked. */
export type Subject = 'nothing' | 'organization' | 'team' | 'repository'

/** `may`: the powers that a token's scopes must all give, for each standing that is enough. */
export type Rule = {
  about: Subject
  sentence: string
  may: Readonly<Partial<Record<Standing, readonly Power[]>>>
}

const anyScope: readonly Power[] = []
const member = { member: ['beMember'], creator: ['beMember'], admin: ['beMember'] } as const
const everything = { superuser: ['superuser'] } as const
const reading = { readonlySuperuser: ['superuser'] } as const

export const RULES = {
  open: {
    about: 'nothing',
    sentence: 'Everybody; credentials are not looked at.',
    may: { anonymous: anyScope, user: anyScope, robot: anyScope },
  },
  anyone: {
    about: 'nothing',
    sentence: 'Everybody; credentials that are sent must be good.',
    may: { anonymous: anyScope, user: anyScope },
  },
  signedIn: { about: 'nothing', sentence: 'Every user.', may: { user: anyScope } },
  'user.read': { about: 'nothing', sentence: 'Users, what is their own.', may: { user: ['readUser'] } },
  'user.administer': { about: 'nothing', sentence: 'Users, what is their own.', may: { user: ['administerUser'] } },
  'user.appTokens': {
    about: 'nothing',
    sentence: 'Users, what is their own; a token that makes tokens must give what they give.',
    may: { user: ['administerUser', 'pull'] },
  },
  'organization.create': { about: 'nothing', sentence: 'Every user.', may: { user: ['createOrganizations'] } },
  'organization.belong': {
    about: 'organization',
    sentence: 'Members, of whatever role.',
    may: { ...member, ...everything },
  },
  'organization.member': {
    about: 'organization',
    sentence: 'Members, and who reads everything.',
    may: { ...member, ...everything, ...reading },
  },
  'namespace.member': {
    about: 'organization',
    sentence: 'As `organization.member`; a user’s own name is a namespace too (Quay).',
    may: { self: anyScope, ...member, ...everything, ...reading },
  },
  'organization.audit': {
    about: 'organization',
    sentence: 'Administrators, and who reads everything.',
    may: { admin: ['administerOrganizations'], ...everything, ...reading },
  },
  'organization.administer': {
    about: 'organization',
    sentence: 'Administrators.',
    may: { admin: ['administerOrganizations'], ...everything },
  },
  'organization.editQuota': {
    about: 'organization',
    sentence: 'Superusers with full access; administrators when the operator lets them.',
    may: { quotaAdmin: ['administerOrganizations'], ...everything },
  },
  'team.see': {
    about: 'team',
    sentence: 'Administrators, the team’s own members, and who reads everything.',
    may: {
      admin: ['administerOrganizations'],
      teamMember: ['administerOrganizations'],
      ...everything,
      ...reading,
    },
  },
  'repository.see': {
    about: 'repository',
    sentence: 'Members, who has a permission in the repository, and who reads everything.',
    may: {
      ...{ member: ['pull'], creator: ['pull'], admin: ['pull'] },
      ...{ repositoryReader: ['pull'], repositoryWriter: ['pull'], repositoryAdmin: ['pull'] },
      ...everything,
      ...reading,
    },
  },
  'repository.write': {
    about: 'repository',
    sentence: 'Administrators of the organization, and who has *write* or *admin* in the repository.',
    may: {
      admin: ['writeRepositories'],
      repositoryWriter: ['writeRepositories'],
      repositoryAdmin: ['writeRepositories'],
      ...everything,
    },
  },
  'repository.administer': {
    about: 'repository',
    sentence: 'Administrators of the organization, and who has *admin* in the repository.',
    may: { admin: ['administerRepositories'], repositoryAdmin: ['administerRepositories'], ...everything },
  },
  'repository.audit': {
    about: 'repository',
    sentence: 'As `repository.administer`, and who reads everything.',
    may: {
      ...{ admin: ['administerRepositories'], repositoryAdmin: ['administerRepositories'] },
      ...everything,
      ...reading,
    },
  },
  'superuser.read': {
    about: 'nothing',
    sentence: 'Superusers, with full access or without, and who reads everything.',
    may: { ...everything, limitedSuperuser: ['superuser'], ...reading },
  },
  superuser: {
    about: 'nothing',
    sentence: 'Superusers, with full access or without.',
    may: { ...everything, limitedSuperuser: ['superuser'] },
  },
  'registry.anyone': {
    about: 'nothing',
    sentence: 'Everybody; credentials that are sent must be good.',
    may: { anonymous: anyScope, user: anyScope, robot: anyScope },
  },
  'registry.signedIn': {
    about: 'nothing',
    sentence: 'Every user and robot.',
    may: { user: anyScope, robot: anyScope },
  },
  'registry.list': {
    about: 'nothing',
    sentence: 'Every user and robot; they see what they may pull.',
    may: { user: ['pull'], robot: ['pull'] },
  },
  'repository.pull': {
    about: 'repository',
    sentence:
      'Members and robots in teams; who has a permission in the repository; everyone where that is allowed; and who ' +
      'reads everything.',
    may: {
      ...{ member: ['pull'], creator: ['pull'], admin: ['pull'], teamRobot: ['pull'], guest: ['pull'] },
      ...{ repositoryReader: ['pull'], repositoryWriter: ['pull'], repositoryAdmin: ['pull'] },
      ...{ superuser: ['pull'], readonlySuperuser: ['pull'] },
    },
  },
  nobody: { about: 'nothing', sentence: 'Nobody: a cache of another registry takes no pushes.', may: {} },
} as const satisfies Record<string, Rule>

export type RuleName = keyof typeof RULES

/**
 * The people of the documentation and of the test, and what each of them is in an organization that is not open. The
 * last have a permission in the repository that a request is about.
 */
export const PEOPLE = {
  anonymous: ['anonymous'],
  'other user': ['user'],
  member: ['user', 'member'],
  creator: ['user', 'creator'],
  admin: ['user', 'admin'],
  'robot without team': ['robot'],
  'robot in a team': ['robot', 'teamRobot'],
  superuser: ['user', 'superuser'],
  'superuser without full access': ['user', 'limitedSuperuser'],
  'read-only superuser': ['user', 'readonlySuperuser'],
  'user with *read*': ['user', 'repositoryReader'],
  'user with *write*': ['user', 'repositoryWriter'],
  'user with *admin*': ['user', 'repositoryAdmin'],
  'robot with *read*': ['robot', 'repositoryReader'],
} as const satisfies Record<string, readonly Standing[]>

export type Person = keyof typeof PEOPLE

/** A robot signs in to the registry only: for the API it is nobody who could be let through. */
export function standingsAt(door: '/api/v1' | '/v2', person: Person): readonly Standing[] {
  const standings: readonly Standing[] = PEOPLE[person]
  return door === '/api/v1' && standings.includes('robot') ? ['robot'] : standings
}
