/** As `examples.ts`, for teams, robots, members, and permissions of repositories. */
import { type Account, createAccount, findAccount } from '../../src/metadata/accounts.ts'
import { insertPrototype } from '../../src/metadata/prototypes.ts'
import { setRepositoryPermission } from '../../src/metadata/repository-permissions.ts'
import { insertRobot, type RobotOwner } from '../../src/metadata/robots.ts'
import { addTeamMember, createTeam } from '../../src/metadata/teams.ts'
import type { Asking, Example } from './example.ts'
import { ORGANIZATION, ROOT, type World } from './world.ts'

export const PEOPLE_EXAMPLES: Readonly<Record<string, Example>> = {
  updateOrganizationTeam: { make: async ({ world }) => ({ team: world.freshName() }), body: { role: 'member' } },
  deleteOrganizationTeam: { make: team },
  getOrganizationTeamMembers: { params: { team: 'owners' } },
  updateOrganizationTeamMember: { make: async (asking) => ({ ...(await team(asking)), member: ROOT }) },
  deleteOrganizationTeamMember: { make: teamMember },
  getOrganizationTeamPermissions: { params: { team: 'owners' } },
  getOrganizationMember: { params: { member: ROOT } },
  removeOrganizationMember: { make: teamMember },
  createOrganizationPrototypePermission: {
    make: forget,
    body: { role: 'read', delegate: { name: ROOT, kind: 'user' } },
  },
  updateOrganizationPrototypePermission: { make: prototype, body: { role: 'write' } },
  deleteOrganizationPrototypePermission: { make: prototype },
  ...robotExamples('Org', ({ world }) => ({ kind: 'organization', id: idOf(world) })),
  ...robotExamples('User', async ({ world, person }) => {
    const account = person === 'anonymous' ? await rootOf(world) : await world.enroll(person)
    return { kind: 'account', id: account.id }
  }),
  getUserTransitivePermission: { make: grantToUser },
  getUserPermissions: { make: grantToUser },
  changeUserPermissions: { params: { grantee: ROOT }, body: { role: 'read' } },
  deleteUserPermissions: { make: grantToUser },
  getTeamPermissions: { make: grantToTeam },
  changeTeamPermissions: {
    make: async (asking) => ({ grantee: (await team(asking)).team }),
    body: { role: 'read' },
  },
  deleteTeamPermissions: { make: grantToTeam },
  changeRepoVisibility: { body: { visibility: 'private' } },
  changeOrganization: { make: named, body: ({ world }) => ({ name: world.freshName() }) },
  deleteOrganization: { make: named },
}

function robotExamples(
  kind: string,
  ownerOf: (asking: Asking) => RobotOwner | Promise<RobotOwner>,
): Readonly<Record<string, Example>> {
  const make = async (asking: Asking) => {
    const { world, person } = asking
    const owner = await ownerOf(asking)
    const short = world.freshName()
    const account = person === 'anonymous' ? undefined : await world.enroll(person)
    const ownerName = owner.kind === 'organization' ? ORGANIZATION : (account?.username ?? ROOT)
    await insertRobot(world.api.metadata.db, {
      ...{ owner, username: `${ownerName}+${short}`, description: '', unstructuredMetadata: '{}' },
      nowMs: world.api.time.nowMs,
    })
    return { robot: short }
  }
  return {
    [`get${kind}Robot`]: { make },
    [`create${kind}Robot`]: { make: async ({ world }) => ({ robot: world.freshName() }), body: {} },
    [`delete${kind}Robot`]: { make },
    [`regenerate${kind}RobotToken`]: { make },
    [`get${kind}RobotPermissions`]: { make },
    [`get${kind}RobotCredentials`]: { make },
  }
}

async function team({ world }: Asking) {
  const name = world.freshName()
  const fields = { organizationId: idOf(world), name, role: 'member', description: '' } as const
  const { id } = await createTeam(world.api.metadata.db, { ...fields, nowMs: world.api.time.nowMs })
  return { team: name, id: String(id) }
}

async function teamMember(asking: Asking) {
  const { db } = asking.world.api.metadata
  const made = await team(asking)
  const member = asking.world.freshName()
  const nowMs = asking.world.api.time.nowMs
  const { id } = await createAccount(db, { username: member, passwordHash: undefined, isSuperuser: false, nowMs })
  await addTeamMember(db, Number(made.id), id)
  return { ...made, member }
}

async function prototype(asking: Asking) {
  const { world } = asking
  const { id } = await team(asking)
  const uuid = crypto.randomUUID()
  await insertPrototype(world.api.metadata.db, {
    ...{ uuid, organizationId: idOf(world), role: 'read', activatingAccountId: undefined },
    ...{ delegate: { kind: 'team', id: Number(id) }, nowMs: world.api.time.nowMs },
  })
  return { prototype: uuid }
}

/** The same twice is refused. */
async function forget({ world }: Asking) {
  await world.api.metadata.db.deleteFrom('prototype').execute()
  return {}
}

async function grantToUser({ world }: Asking) {
  const grantee = { kind: 'account', id: (await rootOf(world)).id } as const
  await grant(world, grantee)
  return { grantee: ROOT }
}

async function grantToTeam(asking: Asking) {
  const made = await team(asking)
  await grant(asking.world, { kind: 'team', id: Number(made.id) })
  return { grantee: made.team }
}

async function grant(world: World, grantee: Parameters<typeof setRepositoryPermission>[1]['grantee']): Promise<void> {
  const repositoryId = world.repository?.id ?? 0
  const fields = { repositoryId, grantee, role: 'read', nowMs: world.api.time.nowMs } as const
  await setRepositoryPermission(world.api.metadata.db, fields)
}

async function named({ world }: Asking) {
  return { name: (await world.makeOrganization()).organization }
}

async function rootOf(world: World): Promise<Account> {
  const root = await findAccount(world.api.metadata.db, ROOT)
  if (root === undefined) throw new Error('there is no root')
  return root
}

function idOf(world: World): number {
  return world.organization?.id ?? 0
}
