/** Default permissions of an organization. Source: quay-behaviour.md 1.6, Quay's endpoints/api/prototype.py. */
import { randomUUID } from 'node:crypto'
import { findAccount } from '../metadata/accounts.ts'
import type { Db } from '../metadata/open.ts'
import {
  countPrototypes,
  deletePrototype,
  findPrototype,
  insertPrototype,
  listPrototypes,
  type Prototype,
  updatePrototype,
} from '../metadata/prototypes.ts'
import type { Grantee, RepositoryRole } from '../metadata/repository-permissions.ts'
import { listTeamNames } from '../metadata/robots.ts'
import { findTeam } from '../metadata/teams.ts'
import { invalidRequest, notFound, unauthorized } from './admin-error.ts'
import { type Avatar, avatarOf } from './avatar.ts'
import { requireAccount } from './caller.ts'
import { changePeople, type OrganizationCall } from './organization-people.ts'
import type { Organizations } from './organizations.ts'
import type { Rights } from './rights.ts'
import type { AdminContext } from './settings.ts'
import { isMemberName } from './teams.ts'
import { isUsername } from './username.ts'

/** Of one organization; Quay answers them in one list. */
export const PROTOTYPE_LIMITS = { prototypesMax: 200 } as const

export type NewPrototype = {
  role: RepositoryRole
  delegate: { name: string; kind: 'user' | 'team' }
  activating_user?: { name: string } | null | undefined
}

type PrototypeUserView = { name: string; is_robot: boolean; kind: 'user'; is_org_member: boolean; avatar: Avatar }

export type PrototypeView = {
  activating_user: PrototypeUserView | null
  delegate: PrototypeUserView | { name: string; kind: 'team'; avatar: Avatar }
  role: RepositoryRole
  id: string
}

export class Prototypes {
  readonly #context: AdminContext
  readonly #organizations: Organizations
  readonly #rights: Rights

  constructor(context: AdminContext, organizations: Organizations, rights: Rights) {
    this.#context = context
    this.#organizations = organizations
    this.#rights = rights
  }

  /** For administrators, and who reads everything. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND. */
  async list(call: OrganizationCall): Promise<PrototypeView[]> {
    const { db } = this.#context.metadata
    requireAccount(call.caller)
    const organization = await this.#organizations.find(call.organization)
    const { isAdmin, maySeeAll } = await this.#rights.standing(call.caller, organization)
    if (!isAdmin && !maySeeAll) throw unauthorized()
    return viewPrototypes(
      db,
      organization.id,
      await listPrototypes(db, organization.id, PROTOTYPE_LIMITS.prototypesMax),
    )
  }

  /** Errors: as `list`; AdminError INVALID_REQUEST for whom there is not, and at the maximum. */
  async create(call: OrganizationCall, fields: NewPrototype): Promise<PrototypeView> {
    return changePeople(this.#context, this.#organizations, call, async ({ tx, organization, by, log }) => {
      const { id: organizationId } = organization
      if ((await countPrototypes(tx, organizationId)) >= PROTOTYPE_LIMITS.prototypesMax) {
        throw invalidRequest(`an organization has at most ${PROTOTYPE_LIMITS.prototypesMax} default permissions`)
      }
      const activatingName = fields.activating_user?.name
      const activating = activatingName === undefined ? undefined : await findUser(tx, activatingName)
      if (activatingName !== undefined && activating === undefined) throw invalidRequest('Unknown activating user')
      const delegate = await findDelegate(tx, organizationId, fields.delegate)
      if (delegate === undefined) throw invalidRequest('Missing delegate user or team')
      const uuid = randomUUID()
      await insertPrototype(tx, {
        ...{ uuid, organizationId, role: fields.role, delegate },
        activatingAccountId: activating?.id,
      })
      const prototype = await get(tx, organizationId, uuid)
      await log('create_prototype_permission', describe(prototype, by.account.username))
      return viewOne(tx, organizationId, prototype)
    })
  }

  /** Errors: as `list`. */
  async update(call: OrganizationCall, uuid: string, role: RepositoryRole): Promise<PrototypeView> {
    return changePeople(this.#context, this.#organizations, call, async ({ tx, organization, by, log }) => {
      const { id: organizationId } = organization
      const before = await get(tx, organizationId, uuid)
      await updatePrototype(tx, { organizationId, uuid }, role)
      const about = { ...describe({ ...before, role }, by.account.username), original_role: before.role }
      await log('modify_prototype_permission', about)
      return viewOne(tx, organizationId, { ...before, role })
    })
  }

  /** Errors: as `list`. */
  async delete(call: OrganizationCall, uuid: string): Promise<void> {
    await changePeople(this.#context, this.#organizations, call, async ({ tx, organization, by, log }) => {
      const prototype = await get(tx, organization.id, uuid)
      await deletePrototype(tx, { organizationId: organization.id, uuid })
      await log('delete_prototype_permission', describe(prototype, by.account.username))
    })
  }
}

/** Errors: AdminError NOT_FOUND. */
async function get(db: Db, organizationId: number, uuid: string): Promise<Prototype> {
  const prototype = /^[0-9a-f-]{36}$/.test(uuid) ? await findPrototype(db, organizationId, uuid) : undefined
  if (prototype === undefined) throw notFound('prototype')
  return prototype
}

async function findUser(db: Db, name: string) {
  return isMemberName(name) ? findAccount(db, name) : undefined
}

async function findDelegate(
  db: Db,
  organizationId: number,
  { kind, name }: NewPrototype['delegate'],
): Promise<Grantee | undefined> {
  if (kind === 'user') {
    const account = await findUser(db, name)
    return account && { kind: 'account', id: account.id }
  }
  const team = isUsername(name) ? await findTeam(db, organizationId, name) : undefined
  return team && { kind: 'team', id: team.id }
}

async function viewOne(db: Db, organizationId: number, prototype: Prototype): Promise<PrototypeView> {
  const [view] = await viewPrototypes(db, organizationId, [prototype])
  if (view === undefined) throw new Error('a default permission was lost on its way')
  return view
}

async function viewPrototypes(
  db: Db,
  organizationId: number,
  prototypes: readonly Prototype[],
): Promise<PrototypeView[]> {
  const ids = prototypes.flatMap(({ delegate, activating }) => [
    ...(delegate.kind === 'team' ? [] : [delegate.id]),
    ...(activating === undefined ? [] : [activating.id]),
  ])
  const teams = await listTeamNames(db, organizationId, [...new Set(ids)])
  const viewUser = ({ kind, id, name }: { kind: 'user' | 'robot'; id: number; name: string }): PrototypeUserView => {
    const isRobot = kind === 'robot'
    return {
      name,
      is_robot: isRobot,
      kind: 'user',
      is_org_member: isRobot || teams.has(id),
      avatar: avatarOf(name, kind),
    }
  }
  return prototypes.map(({ uuid, role, delegate, activating }) => {
    const { kind, id, name } = delegate
    return {
      activating_user: activating === undefined ? null : viewUser(activating),
      delegate: kind === 'team' ? { name, kind, avatar: avatarOf(name, 'team') } : viewUser({ kind, id, name }),
      role,
      id: uuid,
    }
  })
}

function describe(
  { uuid, role, delegate, activating }: Prototype,
  username: string,
): Readonly<Record<string, unknown>> {
  const to = delegate.kind === 'team' ? { delegate_team: delegate.name } : { delegate_user: delegate.name }
  return { prototypeid: uuid, username, activating_username: activating?.name ?? null, role, ...to }
}
