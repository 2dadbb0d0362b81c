/** Teams, robots, members, permissions of repositories and default permissions. */
import assert from 'node:assert/strict'
import { createAccount, deleteAccount, findAccountById, listAccounts } from '../../src/metadata/accounts.ts'
import { listCollaborators, listMembers, removeMember } from '../../src/metadata/members.ts'
import { NameTakenError } from '../../src/metadata/names.ts'
import type { Db, Metadata } from '../../src/metadata/open.ts'
import {
  collectOrganizationStep,
  createOrganization,
  findOrganization,
  lockOrganization,
  markOrganizationDeleted,
  type Organization,
  renameOrganization,
} from '../../src/metadata/organizations.ts'
import { applyPrototypes, deletePrototype, insertPrototype, listPrototypes } from '../../src/metadata/prototypes.ts'
import {
  deleteRepositoryPermission,
  findRepositoryPermission,
  findRepositoryRoles,
  type Grantee,
  listAccountPermissions,
  listGrantedRepositories,
  listRepositoryNames,
  listTeamPermissions,
  setRepositoryPermission,
} from '../../src/metadata/repository-permissions.ts'
import {
  findRobot,
  findRobotIdByToken,
  insertRobot,
  isOwnerLive,
  listRobots,
  listTeamNames,
  type RobotOwner,
  setRobotToken,
  touchRobots,
} from '../../src/metadata/robots.ts'
import {
  addTeamMember,
  countOfTeams,
  createTeam,
  deleteTeam,
  findTeam,
  hasAdministrator,
  isTeamMember,
  listTeamMembers,
  removeTeamMember,
  updateTeam,
} from '../../src/metadata/teams.ts'
import {
  freshDigest,
  freshName,
  type MetadataCase,
  NOW_MS,
  newOrganization,
  newRepository,
  tenTimes,
} from './metadata-case.ts'

export const PEOPLE_CASES: readonly MetadataCase[] = [
  {
    title: 'a robot belongs to its owner, is found by its token, and is no user',
    async check({ db }) {
      const organization = await newOrganization(db)
      const owner: RobotOwner = { kind: 'organization', id: organization.id }
      const robot = await newRobot(db, organization, 'bot')
      const username = `${organization.name}+bot`
      const { id } = robot
      assert.deepEqual(robot, {
        ...{ id, username, description: 'pulls', unstructuredMetadata: '{"a":1}', tokenEncrypted: undefined },
        ...{ createdAtMs: NOW_MS, lastUsedAtMs: undefined },
      })
      const tokenSha256 = freshDigest().slice(7)
      await setRobotToken(db, id, { tokenSha256, tokenEncrypted: 'sealed' })
      assert.equal(await findRobotIdByToken(db, tokenSha256), id)
      assert.equal(await findRobotIdByToken(db, freshDigest().slice(7)), undefined)
      assert.deepEqual(await findRobot(db, owner, username), { ...robot, tokenEncrypted: 'sealed' })
      const { id: otherId } = await newOrganization(db)
      for (const other of [otherId, -1]) {
        assert.equal(await findRobot(db, { kind: 'organization', id: other }, username), undefined)
      }
      assert.equal(await findRobot(db, { kind: 'account', id: organization.id }, username), undefined)
      const account = await findAccountById(db, id)
      assert.equal(account?.kind, 'robot')
      assert.equal(account?.tokenSha256, tokenSha256)
      assert.equal(account?.ownerOrganizationId, organization.id)
      const before = { after: `${organization.name}+bos`, limit: 1 }
      assert.notEqual((await listAccounts(db, before))[0]?.username, username)
    },
  },
  {
    title: 'robots are listed by name a page at a time, and of ten that are made at once under a name one is',
    async check({ db }) {
      const organization = await newOrganization(db)
      const owner: RobotOwner = { kind: 'organization', id: organization.id }
      for (const name of ['c', 'a', 'b']) await newRobot(db, organization, name)
      const names = async (page: { after?: string; limit: number }) =>
        (await listRobots(db, owner, page)).map(({ username }) => username.slice(organization.name.length))
      assert.deepEqual(await names({ limit: 2 }), ['+a', '+b'])
      assert.deepEqual(await names({ after: `${organization.name}+b`, limit: 2 }), ['+c'])
      const made = await tenTimes(() => newRobot(db, organization, 'same').catch((error: unknown) => error))
      assert.equal(made.filter((result) => result instanceof NameTakenError).length, 9)
    },
  },
  {
    title: 'the last use of a robot never goes back',
    async check({ db }) {
      const organization = await newOrganization(db)
      const [one, two] = [await newRobot(db, organization, 'one'), await newRobot(db, organization, 'two')]
      await touchRobots(db, [
        [one.id, NOW_MS + 5],
        [two.id, NOW_MS + 6],
      ])
      await touchRobots(db, new Map([[one.id, NOW_MS + 3]]))
      const robots = await listRobots(db, { kind: 'organization', id: organization.id }, { limit: 9 })
      assert.deepEqual(
        robots.map((robot) => robot.lastUsedAtMs),
        [NOW_MS + 5, NOW_MS + 6],
      )
    },
  },
  {
    title: 'a robot lives as long as its owner, and a deleted organization does not hold the names of its robots',
    async check(metadata) {
      const { db } = metadata
      const organization = await newOrganization(db)
      const robot = await newRobot(db, organization, 'bot')
      await setRobotToken(db, robot.id, { tokenSha256: freshDigest().slice(7), tokenEncrypted: 'sealed' })
      const isLive = async (id: number) => {
        const account = await findAccountById(db, id)
        return account !== undefined && isOwnerLive(db, account)
      }
      assert.equal(await isLive(robot.id), true)
      const team = await newTeam(db, organization, 'pullers')
      await addTeamMember(db, team.id, robot.id)
      const elsewhere = await newRepository(metadata)
      await grant(db, elsewhere.id, { kind: 'account', id: robot.id }, 'read')
      const own = await newRepository(metadata, organization)
      await grant(db, own.id, { kind: 'team', id: team.id }, 'read')
      const fields = { organizationId: organization.id, role: 'read' as const, activatingAccountId: robot.id }
      await insertPrototype(db, { ...fields, uuid: freshName(), delegate: { kind: 'team', id: team.id } })
      await markOrganizationDeleted(db, organization.id, NOW_MS)
      assert.equal(await isLive(robot.id), false)
      assert.equal(await lockOrganization(db, organization.id), false)
      const again = await metadata.transaction(async (tx) => {
        const { id } = await createAgain(tx, organization.name)
        return insertRobot(tx, robotFields({ kind: 'organization', id }, `${organization.name}+bot`))
      })
      assert.notEqual(again.id, robot.id)
      for (let step = 0; !(await collectOrganizationStep(db, organization.id, 2, NOW_MS)); step++) {
        assert.ok(step < 50, 'collecting does not end')
      }
      assert.equal(await findAccountById(db, robot.id), undefined)
      assert.equal(await isLive(again.id), true)
    },
  },
  {
    title: 'a renamed organization takes its robots along, and its old name is free',
    async check(metadata) {
      const { db } = metadata
      const [organization, other] = [await newOrganization(db), await newOrganization(db)]
      await newRobot(db, organization, 'bot')
      const rename = (name: string) => metadata.transaction((tx) => renameOrganization(tx, organization, name))
      await assert.rejects(rename(other.name), NameTakenError)
      const name = freshName()
      await rename(name)
      assert.equal((await findOrganization(db, name))?.id, organization.id)
      assert.equal(await findOrganization(db, organization.name), undefined)
      const robots = await listRobots(db, { kind: 'organization', id: organization.id }, { limit: 9 })
      assert.deepEqual(
        robots.map(({ username }) => username),
        [`${name}+bot`],
      )
      const { id } = await createAgain(db, organization.name)
      await newRobot(db, { ...organization, id }, 'bot')
    },
  },
  {
    title: 'a team changes, lists its members by name, counts, and goes with what it could do',
    async check(metadata) {
      const { db } = metadata
      const organization = await newOrganization(db)
      const team = await newTeam(db, organization, 'team')
      await updateTeam(db, team.id, {})
      await updateTeam(db, team.id, { role: 'creator', description: 'new' })
      assert.deepEqual(await findTeam(db, organization.id, 'team'), { ...team, role: 'creator', description: 'new' })
      assert.equal(await findTeam(db, organization.id, 'Team'), undefined)
      const user = await newUser(db)
      const robot = await newRobot(db, organization, 'bot')
      for (const { id } of [user, robot]) await addTeamMember(db, team.id, id)
      const all = await listTeamMembers(db, team.id, { limit: 9 })
      assert.deepEqual(all.map(({ username }) => username).toSorted(), [robot.username, user.username].toSorted())
      assert.deepEqual(await listTeamMembers(db, team.id, { after: all[0]?.username ?? '', limit: 9 }), all.slice(1))
      assert.equal(all.find(({ accountId }) => accountId === robot.id)?.kind, 'robot')
      const repository = await newRepository(metadata, organization)
      await grant(db, repository.id, { kind: 'team', id: team.id }, 'write')
      assert.deepEqual((await countOfTeams(db, organization.id)).get(team.id), { members: 2, repositories: 1 })
      assert.deepEqual((await listTeamNames(db, organization.id, [robot.id, user.id])).get(robot.id), ['team'])
      assert.deepEqual(
        [await removeTeamMember(db, team.id, user.id), await removeTeamMember(db, team.id, user.id)],
        [true, false],
      )
      assert.deepEqual(
        [await isTeamMember(db, team.id, user.id), await isTeamMember(db, team.id, robot.id)],
        [false, true],
      )
      const fields = { organizationId: organization.id, role: 'read' as const, activatingAccountId: undefined }
      await insertPrototype(db, { ...fields, uuid: freshName(), delegate: { kind: 'team', id: team.id } })
      await metadata.transaction((tx) => deleteTeam(tx, team.id))
      assert.equal(await findTeam(db, organization.id, 'team'), undefined)
      assert.deepEqual(await listPrototypes(db, organization.id, 9), [])
    },
  },
  {
    title: 'only a user who is enabled administers an organization',
    async check({ db }) {
      const organization = await newOrganization(db)
      const owners = await newTeam(db, organization, 'owners', 'admin')
      const robot = await newRobot(db, organization, 'bot')
      const user = await newUser(db)
      const seen = [await hasAdministrator(db, organization.id)]
      await addTeamMember(db, owners.id, robot.id)
      seen.push(await hasAdministrator(db, organization.id))
      await addTeamMember(db, owners.id, user.id)
      seen.push(await hasAdministrator(db, organization.id))
      await db.updateTable('account').set({ is_enabled: 0 }).where('id', '=', user.id).execute()
      seen.push(await hasAdministrator(db, organization.id))
      assert.deepEqual(seen, [false, false, true, false])
    },
  },
  {
    title: 'a permission is one per repository and grantee, and roles come from accounts and teams alike',
    async check(metadata) {
      const { db } = metadata
      const organization = await newOrganization(db)
      const [one, two] = [await newRepository(metadata, organization), await newRepository(metadata, organization)]
      const user = await newUser(db)
      const team = await newTeam(db, organization, 'team')
      await addTeamMember(db, team.id, user.id)
      const account = { kind: 'account', id: user.id } as const
      await tenTimes((turn) => grant(db, one.id, account, turn % 2 === 0 ? 'read' : 'write'))
      await grant(db, one.id, account, 'read')
      await grant(db, one.id, { kind: 'team', id: team.id }, 'admin')
      assert.deepEqual(await findRepositoryRoles(db, one.id, user.id), ['admin', 'read'])
      assert.deepEqual(await findRepositoryRoles(db, two.id, user.id), [])
      assert.equal(await findRepositoryPermission(db, one.id, account), 'read')
      assert.equal(await findRepositoryPermission(db, two.id, account), undefined)
      assert.deepEqual(await listAccountPermissions(db, one.id, { limit: 9 }), [
        { accountId: user.id, username: user.username, kind: 'user', role: 'read' },
      ])
      assert.deepEqual(await listAccountPermissions(db, one.id, { after: user.username, limit: 9 }), [])
      assert.deepEqual(await listTeamPermissions(db, one.id, { limit: 9 }), [{ name: 'team', role: 'admin' }])
      await grant(db, two.id, account, 'write')
      const granted = await listGrantedRepositories(db, account, { limit: 1 })
      const { permissionId = 0 } = granted[0] ?? {}
      assert.deepEqual(granted, [
        { permissionId, organizationName: organization.name, name: one.name, isPublic: false, role: 'read' },
      ])
      const rest = await listGrantedRepositories(db, account, { afterId: permissionId, limit: 9 })
      assert.deepEqual(
        rest.map(({ name, role }) => [name, role]),
        [[two.name, 'write']],
      )
      const names = [one.name, two.name].toSorted()
      assert.deepEqual((await listRepositoryNames(db, organization.id, [user.id], 9)).get(user.id)?.toSorted(), names)
      assert.deepEqual(await deleteRepositoryPermission(db, one.id, account), true)
      assert.deepEqual(await deleteRepositoryPermission(db, one.id, account), false)
      assert.deepEqual(await findRepositoryRoles(db, one.id, user.id), ['admin'])
    },
  },
  {
    title: 'members are in teams, collaborators only have permissions, and both leave with all they had',
    async check(metadata) {
      const { db } = metadata
      const organization = await newOrganization(db)
      const repository = await newRepository(metadata, organization)
      const [member, collaborator] = [await newUser(db), await newUser(db)]
      const robot = await newRobot(db, organization, 'bot')
      const teams = [await newTeam(db, organization, 'b'), await newTeam(db, organization, 'a')]
      for (const team of teams) for (const { id } of [member, robot]) await addTeamMember(db, team.id, id)
      for (const { id } of [member, collaborator, robot]) {
        await grant(db, repository.id, { kind: 'account', id }, 'read')
      }
      const view = ({ id, username }: { id: number; username: string }) => ({ accountId: id, username })
      assert.deepEqual(await listMembers(db, organization.id, { limit: 9 }), [view(member)])
      assert.deepEqual(await listMembers(db, organization.id, { after: member.username, limit: 9 }), [])
      assert.deepEqual(await listCollaborators(db, organization.id, { limit: 9 }), [view(collaborator)])
      assert.deepEqual(await removeMember(db, organization.id, member.id), ['b', 'a'])
      assert.deepEqual(await listMembers(db, organization.id, { limit: 9 }), [])
      assert.deepEqual(await findRepositoryRoles(db, repository.id, member.id), [])
      assert.deepEqual(await listCollaborators(db, organization.id, { limit: 9 }), [view(collaborator)])
    },
  },
  {
    title: 'default permissions are given to what an account creates, and to nobody after they are gone',
    async check(metadata) {
      const { db } = metadata
      const organization = await newOrganization(db)
      const [creator, other, delegate] = [await newUser(db), await newUser(db), await newUser(db)]
      const team = await newTeam(db, organization, 'team')
      const uuids = [freshName(), freshName()]
      const fields = { organizationId: organization.id, role: 'write' as const }
      const delegated = { kind: 'account', id: delegate.id } as const
      const add = (uuid: string, grantee: Grantee, activatingAccountId: number | undefined) =>
        insertPrototype(db, { ...fields, uuid, delegate: grantee, activatingAccountId })
      await add(uuids[0] ?? '', delegated, undefined)
      await add(uuids[1] ?? '', { kind: 'team', id: team.id }, creator.id)
      assert.deepEqual(
        (await listPrototypes(db, organization.id, 9)).map(({ delegate: to, activating }) => [
          to.name,
          activating?.name,
        ]),
        [
          [delegate.username, undefined],
          ['team', creator.username],
        ],
      )
      for (const { id: creatorId } of [creator, other]) {
        const { id, organizationId } = await newRepository(metadata, organization)
        await metadata.transaction((tx) => applyPrototypes(tx, { id, organizationId, creatorId, nowMs: NOW_MS }))
        assert.equal(await findRepositoryPermission(db, id, delegated), 'write')
        const expected = creatorId === creator.id ? 'write' : undefined
        assert.equal(await findRepositoryPermission(db, id, { kind: 'team', id: team.id }), expected)
      }
      const { id: otherOrganizationId } = await newOrganization(db)
      assert.equal(await deletePrototype(db, { organizationId: otherOrganizationId, uuid: uuids[0] ?? '' }), false)
      assert.equal(await deletePrototype(db, { organizationId: organization.id, uuid: uuids[0] ?? '' }), true)
      assert.equal((await listPrototypes(db, organization.id, 9)).length, 1)
    },
  },
  {
    title: 'a user goes with their robots, memberships and permissions',
    async check(metadata) {
      const { db } = metadata
      const user = await newUser(db)
      const owner = { kind: 'account', id: user.id } as const
      const robot = await insertRobot(db, robotFields(owner, `${user.username}+bot`))
      const organization = await newOrganization(db)
      const team = await newTeam(db, organization, 'team')
      const repository = await newRepository(metadata, organization)
      const fields = { organizationId: organization.id, role: 'read' as const }
      for (const { id } of [user, robot]) {
        await addTeamMember(db, team.id, id)
        await grant(db, repository.id, { kind: 'account', id }, 'read')
        const delegate = { kind: 'account', id } as const
        await insertPrototype(db, { ...fields, uuid: freshName(), delegate, activatingAccountId: user.id })
      }
      assert.equal(await metadata.transaction((tx) => deleteAccount(tx, user.id)), true)
      assert.equal(await metadata.transaction((tx) => deleteAccount(tx, user.id)), false)
      for (const { id } of [user, robot]) assert.equal(await findAccountById(db, id), undefined)
      assert.deepEqual(await listTeamMembers(db, team.id, { limit: 9 }), [])
    },
  },
]

function newUser(db: Db) {
  return createAccount(db, { username: freshName(), passwordHash: undefined, isSuperuser: false, nowMs: NOW_MS })
}

function newTeam(db: Db, organization: Organization, name: string, role: 'admin' | 'member' = 'member') {
  return createTeam(db, { organizationId: organization.id, name, role, nowMs: NOW_MS })
}

function newRobot(db: Db, organization: Organization, name: string) {
  return insertRobot(db, robotFields({ kind: 'organization', id: organization.id }, `${organization.name}+${name}`))
}

function robotFields(owner: RobotOwner, username: string) {
  return { owner, username, description: 'pulls', unstructuredMetadata: '{"a":1}', nowMs: NOW_MS }
}

function grant(db: Db, repositoryId: number, grantee: Grantee, role: 'read' | 'write' | 'admin') {
  return setRepositoryPermission(db, { repositoryId, grantee, role, nowMs: NOW_MS })
}

function createAgain(db: Metadata['db'], name: string) {
  return createOrganization(db, { name, nowMs: NOW_MS, tagExpirationSeconds: 1 })
}
