/** Changing an organization's people: teams, members, robots and default permissions, one change after the other. */
import { addLogEntry, type EventMetadata, type LogKind } from '../metadata/log-entries.ts'
import type { Db } from '../metadata/open.ts'
import { lockOrganization, type Organization } from '../metadata/organizations.ts'
import { hasAdministrator } from '../metadata/teams.ts'
import { invalidRequest, notFound } from './admin-error.ts'
import type { AccountCaller, Caller } from './caller.ts'
import type { Organizations } from './organizations.ts'
import type { AdminContext } from './settings.ts'

/** Who asks, and for which organization. */
export type OrganizationCall = { caller: Caller; address: string; organization: string }

export type PeopleChange = {
  tx: Db
  organization: Organization
  by: AccountCaller
  nowMs: number
  log: (kind: LogKind, metadata: EventMetadata) => Promise<void>
}

/**
 * Change an organization's people as one of its administrators, under its lock; then forget what was known of rights.
 * Errors: AdminError INVALID_TOKEN, INSUFFICIENT_SCOPE, NOT_FOUND; those of `work`.
 */
export async function changePeople<Result>(
  context: AdminContext,
  organizations: Organizations,
  call: OrganizationCall,
  work: (change: PeopleChange) => Promise<Result>,
): Promise<Result> {
  const { organization, administrator: by } = await organizations.administered(call.caller, call.organization)
  const result = await context.metadata.transaction(async (tx) => {
    if (!(await lockOrganization(tx, organization.id))) throw notFound('organization')
    const nowMs = context.clock()
    const { id: accountId } = by.account
    const log = (kind: LogKind, metadata: EventMetadata) =>
      addLogEntry(tx, { organizationId: organization.id, kind, nowMs, accountId, address: call.address, metadata })
    return work({ tx, organization, by, nowMs, log })
  })
  context.epoch.advance()
  return result
}

/**
 * Do what may take the last administrator away, or refuse it: nobody could then change the organization any more.
 * Errors: AdminError INVALID_REQUEST.
 */
export async function keepAdministrator<Result>(
  { tx, organization }: Pick<PeopleChange, 'tx' | 'organization'>,
  work: () => Promise<Result>,
): Promise<Result> {
  const hadOne = await hasAdministrator(tx, organization.id)
  const result = await work()
  if (!hadOne || (await hasAdministrator(tx, organization.id))) return result
  throw invalidRequest(
    `the organization ${organization.name} would be left without an administrator: ` +
      'put another user into a team with the role admin first',
  )
}
