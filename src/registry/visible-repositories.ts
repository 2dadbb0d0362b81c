/** The catalog: the repositories of the organizations that somebody may see, a page at a time. */
import type { Db } from '../metadata/open.ts'
import { findOrganization, listOrganizations, type Organization } from '../metadata/organizations.ts'
import { listRepositories } from '../metadata/repositories.ts'

/** Organizations that are looked at together. */
const organizationsPerStep = 100

/** Names with their organization, in the order of organization and name. `maySee` is asked once an organization. */
export async function listVisibleRepositories(
  db: Db,
  maySee: (organization: string) => Promise<boolean>,
  options: { after?: string; limit: number },
): Promise<{ names: string[]; isComplete: boolean }> {
  const names: string[] = []
  const [first, ...rest] = (options.after ?? '').split('/')
  // One more than asked for tells whether there are more.
  const namesMax = options.limit + 1
  let after = rest.join('/')
  let organizations = await firstOrganizations(db, first)
  while (organizations.length > 0 && names.length < namesMax) {
    for (const organization of organizations) {
      if (names.length >= namesMax) break
      const from = organization.name === first ? after : ''
      if (!(await maySee(organization.name))) continue
      const page = { organizationIds: [organization.id], limit: namesMax - names.length }
      const rows = await listRepositories(db, { ...page, after: { organizationId: organization.id, name: from } })
      names.push(...rows.map((row) => `${organization.name}/${row.name}`))
    }
    after = ''
    const last = organizations.at(-1)?.name ?? ''
    organizations = await listOrganizations(db, { after: last, limit: organizationsPerStep })
  }
  return { names: names.slice(0, options.limit), isComplete: names.length <= options.limit }
}

/** The organization in which the page before ended, or else the first ones. */
async function firstOrganizations(db: Db, name: string | undefined): Promise<Organization[]> {
  if (name === undefined || name === '') return listOrganizations(db, { limit: organizationsPerStep })
  const organization = await findOrganization(db, name)
  return organization ? [organization] : listOrganizations(db, { after: name, limit: organizationsPerStep })
}
