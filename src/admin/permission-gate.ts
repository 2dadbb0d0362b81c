/** Asks the permission table for requests of the API, before their handlers: who calls, and what is it about? */
import type { Account } from '../metadata/accounts.ts'
import { findOrganization, type Organization } from '../metadata/organizations.ts'
import { findRepositoryRoles } from '../metadata/repository-permissions.ts'
import { findTeam, isTeamMember } from '../metadata/teams.ts'
import { isOrganizationName, parseRepositoryName } from '../oci/repository-name.ts'
import { notFound, unauthorized } from './admin-error.ts'
import { type Caller, requireAccount } from './caller.ts'
import { findStoredRepository } from './found-repository.ts'
import { type Asked, isForEverybody, mayDo } from './permission-decision.ts'
import { RULES, type Rule, STANDING_OF_ROLE, type Standing } from './permission-rules.ts'
import type { Rights } from './rights.ts'
import type { AdminContext } from './settings.ts'
import { isUsername } from './username.ts'

/** What the path of a request names. */
export type RequestParams = Readonly<Record<string, string | undefined>>

export class PermissionGate {
  readonly #context: AdminContext
  readonly #rights: Rights

  constructor(context: AdminContext, rights: Rights) {
    this.#context = context
    this.#rights = rights
  }

  /**
   * An organization's name is no secret, so one that does not exist is said to be absent; whether a team or repository
   * exists is told to those only who may know. Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND.
   */
  async require(caller: Caller, asked: Asked, params: RequestParams): Promise<void> {
    if (caller.kind === 'anonymous' && isForEverybody(asked.rule)) return
    const { account, scopes } = requireAccount(caller)
    const standings = await this.#standings(account, RULES[asked.rule], params)
    if (mayDo(standings, scopes, asked)) return
    const isHidden = RULES[asked.rule].about === 'repository' && !mayDo(standings, undefined, SEE_REPOSITORY)
    throw isHidden ? notFound('repository') : unauthorized()
  }

  async #standings(account: Account, { about, may }: Rule, params: RequestParams): Promise<readonly Standing[]> {
    if (about === 'nothing') return this.#rights.standingsOf(account)
    const name = params['organization'] ?? ''
    if (account.username === name && may.self !== undefined) return ['self']
    const { db } = this.#context.metadata
    const organization = isOrganizationName(name) ? await findOrganization(db, name) : undefined
    if (organization === undefined) throw notFound('organization')
    const standings = await this.#rights.standingsIn(account, organization)
    if (about === 'team' && (await this.#isInTeam(account, organization, params))) standings.push('teamMember')
    if (about === 'repository') standings.push(...(await this.#repositoryStandings(account, organization, params)))
    return standings
  }

  async #isInTeam(account: Account, organization: Organization, params: RequestParams): Promise<boolean> {
    const { db } = this.#context.metadata
    const name = params['team'] ?? ''
    // Nothing else may reach the database: PostgreSQL has no NUL.
    const team = isUsername(name) ? await findTeam(db, organization.id, name) : undefined
    return team !== undefined && (await isTeamMember(db, team.id, account.id))
  }

  async #repositoryStandings(
    account: Account,
    organization: Organization,
    params: RequestParams,
  ): Promise<readonly Standing[]> {
    const { db } = this.#context.metadata
    const name = parseRepositoryName(params['repository'] ?? '')
    const repository = name && (await findStoredRepository(db, organization, name))
    if (repository === undefined) return []
    return (await findRepositoryRoles(db, repository.id, account.id)).map((role) => STANDING_OF_ROLE[role])
  }
}

const SEE_REPOSITORY: Asked = { rule: 'repository.see', effect: 'reads' }
