/** Robots of organizations and of users. Source: quay-behaviour.md 1.6; the messages and statuses are Quay's. */
import { KiB } from '../base/units.ts'
import { deleteAccount } from '../metadata/accounts.ts'
import { addLogEntry, type EventMetadata, type LogKind } from '../metadata/log-entries.ts'
import { NameTakenError } from '../metadata/names.ts'
import type { Db } from '../metadata/open.ts'
import { listGrantedRepositories, listRepositoryNames } from '../metadata/repository-permissions.ts'
import { findRobot, insertRobot, listRobots, listTeamNames, type Robot, type RobotOwner } from '../metadata/robots.ts'
import { invalidRequest, unauthorized } from './admin-error.ts'
import { type Caller, requireAccount } from './caller.ts'
import { changePeople } from './organization-people.ts'
import type { Organizations } from './organizations.ts'
import { type Page, type PageQuery, readPage } from './page.ts'
import type { Rights } from './rights.ts'
import { makeRobotCredentials, type RobotCredentials } from './robot-credentials.ts'
import { formatRobotName, isRobotShortName, ROBOT_SHORT_NAME_GRAMMAR } from './robot-name.ts'
import type { RobotTokens } from './robot-tokens.ts'
import {
  type GrantView,
  type ListedRobotView,
  type RobotView,
  viewGrant,
  viewListedRobot,
  viewRobot,
} from './robot-view.ts'
import { scopesGive } from './scopes.ts'
import type { AdminContext } from './settings.ts'
import { afterIdOf } from './teams.ts'

export const ROBOT_LIMITS = {
  /** Quay's. */
  descriptionCharactersMax: 255,
  metadataCharactersMax: 16 * KiB,
  /** Names of repositories in one page of a list of robots. */
  repositoriesMax: 10_000,
} as const

/** Who asks; undefined `organization`: for their own robots. */
export type RobotCall = { caller: Caller; address: string; organization: string | undefined }

export type RobotFields = { description?: string | undefined; unstructured_metadata?: unknown }

type OwnedRobots = { owner: RobotOwner; name: string; seesTokens: boolean; seesGrants: boolean }
type RobotChange = {
  tx: Db
  owner: RobotOwner
  ownerName: string
  nowMs: number
  log: (kind: LogKind, metadata: EventMetadata) => Promise<void>
}

export class Robots {
  readonly #context: AdminContext
  readonly #organizations: Organizations
  readonly #rights: Rights
  readonly #tokens: RobotTokens

  constructor(context: AdminContext, organizations: Organizations, rights: Rights, tokens: RobotTokens) {
    this.#context = context
    this.#organizations = organizations
    this.#rights = rights
    this.#tokens = tokens
  }

  /**
   * In the order of their names (Quay: of their last use). Members see names only, administrators tokens too.
   * Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND.
   */
  async list(
    call: RobotCall,
    query: PageQuery & { wantsTokens: boolean; wantsPermissions: boolean },
  ): Promise<Page<ListedRobotView>> {
    const { db } = this.#context.metadata
    const { owner, seesTokens, seesGrants } = await this.#listed(call)
    const page = await readPage(
      query,
      (asked) => listRobots(db, owner, asked),
      (robot) => robot.username,
    )
    const grants = query.wantsPermissions && seesGrants ? await this.#grantsOf(owner, page.entries) : undefined
    const entries = page.entries.map((robot) =>
      viewListedRobot(robot, this.#factsOf(robot, query.wantsTokens && seesTokens), {
        teams: grants?.teams.get(robot.id) ?? [],
        repositories: grants?.repositories.get(robot.id) ?? [],
      }),
    )
    return { entries, next: page.next }
  }

  /** Errors: as `list`; INVALID_REQUEST when there is none (Quay's 400). */
  async get(call: RobotCall, short: string): Promise<RobotView> {
    const seen = await this.#seen(call)
    const robot = await this.#find(seen.owner, seen.name, short)
    return viewRobot(robot, this.#factsOf(robot, seen.seesTokens), true)
  }

  /** Errors: as `list`; AdminError INVALID_REQUEST for a bad or taken name, and for metadata that is too large. */
  async create(call: RobotCall, short: string, fields: RobotFields): Promise<RobotView> {
    const unstructuredMetadata = JSON.stringify(fields.unstructured_metadata ?? {})
    const { metadataCharactersMax } = ROBOT_LIMITS
    if (unstructuredMetadata.length > metadataCharactersMax) {
      throw invalidRequest(`unstructured_metadata: more than ${metadataCharactersMax} characters of JSON`)
    }
    const description = fields.description ?? ''
    const { robot, token } = await this.#change(call, async ({ tx, owner, ownerName, nowMs, log }) => {
      if (!isRobotShortName(short)) {
        throw invalidRequest(`The name for the robot is invalid: expected ${ROBOT_SHORT_NAME_GRAMMAR}`)
      }
      const username = formatRobotName(ownerName, short)
      const made = await insertRobot(tx, { owner, username, description, unstructuredMetadata, nowMs })
      await log('create_robot', { robot: short, description })
      return { robot: made, token: await this.#tokens.renew(tx, made.id) }
    }).catch((error: unknown) => {
      throw error instanceof NameTakenError ? invalidRequest(`Existing robot with name: ${error.takenName}`) : error
    })
    return viewRobot(robot, { lastUsedAtMs: undefined, token }, true)
  }

  /** Errors: as `get`. */
  async delete(call: RobotCall, short: string): Promise<void> {
    await this.#change(call, async ({ tx, owner, ownerName, log }) => {
      const robot = await this.#find(owner, ownerName, short, tx)
      await deleteAccount(tx, robot.id)
      await log('delete_robot', { robot: short })
    })
  }

  /** The former token is no good from now on, nor are registry tokens made with it. Errors: as `get`. */
  async regenerate(call: RobotCall, short: string): Promise<RobotView> {
    const { robot, token } = await this.#change(call, async ({ tx, owner, ownerName, log }) => {
      const found = await this.#find(owner, ownerName, short, tx)
      await log('regenerate_robot_token', { robot: short })
      return { robot: found, token: await this.#tokens.renew(tx, found.id) }
    })
    return viewRobot(robot, { lastUsedAtMs: this.#tokens.lastUsedAtMs(robot), token }, false)
  }

  /** What it may do in which repositories. Errors: as `get`. */
  async permissions(call: RobotCall, short: string, query: PageQuery): Promise<Page<GrantView>> {
    const { db } = this.#context.metadata
    const seen = await this.#seen(call)
    const { id } = await this.#find(seen.owner, seen.name, short)
    const page = await readPage(
      query,
      ({ after, limit }) => listGrantedRepositories(db, { kind: 'account', id }, { afterId: afterIdOf(after), limit }),
      (grant) => String(grant.permissionId),
    )
    return { entries: page.entries.map(viewGrant), next: page.next }
  }

  /** Its name and token in the form of every client. Errors: as `get`; INSUFFICIENT_SCOPE for who sees no tokens. */
  async credentials(call: RobotCall, short: string): Promise<RobotCredentials> {
    const seen = await this.#seen(call)
    if (!seen.seesTokens) throw unauthorized()
    const robot = await this.#find(seen.owner, seen.name, short)
    return makeRobotCredentials({
      host: this.#context.settings.serverHostname,
      username: robot.username,
      token: this.#tokens.reveal(robot),
    })
  }

  async #grantsOf(owner: RobotOwner, robots: readonly Robot[]) {
    const { db } = this.#context.metadata
    const ids = robots.map((robot) => robot.id)
    return {
      // A user's robot can be in no team.
      teams: owner.kind === 'organization' ? await listTeamNames(db, owner.id, ids) : new Map<number, string[]>(),
      repositories: await listRepositoryNames(db, undefined, ids, ROBOT_LIMITS.repositoriesMax),
    }
  }

  #factsOf(robot: Robot, hasToken: boolean) {
    return { lastUsedAtMs: this.#tokens.lastUsedAtMs(robot), token: hasToken ? this.#tokens.reveal(robot) : undefined }
  }

  async #find(owner: RobotOwner, ownerName: string, short: string, db: Db = this.#context.metadata.db): Promise<Robot> {
    const robot = isRobotShortName(short) ? await findRobot(db, owner, formatRobotName(ownerName, short)) : undefined
    if (robot === undefined) throw invalidRequest('Could not find robot with specified username')
    return robot
  }

  /** Of an organization, by its members; one's own. */
  async #listed(call: RobotCall): Promise<OwnedRobots> {
    const { account, scopes } = requireAccount(call.caller)
    if (call.organization === undefined) {
      if (!scopesGive(scopes, 'administerUser')) throw unauthorized()
      const owner: RobotOwner = { kind: 'account', id: account.id }
      return { owner, name: account.username, seesTokens: true, seesGrants: true }
    }
    const organization = await this.#organizations.find(call.organization)
    const { isAdmin, isMember, maySeeAll } = await this.#rights.standing(call.caller, organization)
    if (!isMember && !maySeeAll) throw unauthorized()
    const owner: RobotOwner = { kind: 'organization', id: organization.id }
    return { owner, name: organization.name, seesTokens: isAdmin, seesGrants: isAdmin || maySeeAll }
  }

  /** A single robot, by those who see what it may do. */
  async #seen(call: RobotCall): Promise<OwnedRobots> {
    const listed = await this.#listed(call)
    if (!listed.seesGrants) throw unauthorized()
    return listed
  }

  async #change<Result>(call: RobotCall, work: (change: RobotChange) => Promise<Result>): Promise<Result> {
    const { organization } = call
    if (organization !== undefined) {
      return changePeople(this.#context, this.#organizations, { ...call, organization }, (change) =>
        work({
          ...change,
          owner: { kind: 'organization', id: change.organization.id },
          ownerName: change.organization.name,
        }),
      )
    }
    const by = requireAccount(call.caller)
    if (!scopesGive(by.scopes, 'administerUser')) throw unauthorized()
    const { id: accountId, username: ownerName } = by.account
    const result = await this.#context.metadata.transaction((tx) => {
      const nowMs = this.#context.clock()
      const about = { organizationId: undefined, nowMs, accountId, address: call.address }
      const log = (kind: LogKind, metadata: EventMetadata) =>
        addLogEntry(tx, { ...about, kind, metadata: { ...metadata, namespace: ownerName } })
      return work({ tx, owner: { kind: 'account', id: accountId }, ownerName, nowMs, log })
    })
    this.#context.epoch.advance()
    return result
  }
}
