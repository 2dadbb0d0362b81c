import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PEOPLE, type Person } from '../../src/admin/permission-rules.ts'
import { API_OPERATIONS } from '../../src/admin/permission-table.ts'
import { SCOPES, type Scope } from '../../src/admin/scopes.ts'
import { listApiRoutes } from '../../src/http/api/register-api.ts'
import { type Cell, tryCell } from './api-cells.ts'
import { startWorld, type World } from './world.ts'

const LIMITED = 'superuser without full access'
const people = (Object.keys(PEOPLE) as Person[]).filter((person) => person !== LIMITED)

async function differences(world: World, cells: readonly Cell[]): Promise<string[]> {
  const found: string[] = []
  for (const cell of cells) {
    const difference = await tryCell(world, cell)
    if (difference !== undefined) found.push(difference)
  }
  return found
}

const cellsOf = (person: Person, scopes?: readonly Scope[]): Cell[] =>
  API_OPERATIONS.map((operation) => ({ person, operation, ...(scopes !== undefined && { scopes }) }))

test('the table has a row for every route, and a route for every row', async (t) => {
  const { api } = await startWorld(t, [])
  const routes = listApiRoutes(api.admin).map(({ method, path }) => `${method} ${path.replace(/\/$/, '')}`)
  assert.deepEqual(routes.toSorted(), API_OPERATIONS.map(({ method, path }) => `${method} ${path}`).toSorted())
  assert.equal(new Set(API_OPERATIONS.map(({ id }) => id)).size, API_OPERATIONS.length)
})

test('everyone may do by the API what the table says, and nothing else', async (t) => {
  const world = await startWorld(t, people)
  assert.deepEqual(
    await differences(
      world,
      people.flatMap((person) => cellsOf(person)),
    ),
    [],
  )
})

test('superusers without full access administer no organization', async (t) => {
  const world = await startWorld(t, [LIMITED], { hasSuperusersFullAccess: false })
  assert.deepEqual(await differences(world, cellsOf(LIMITED)), [])
})

test('a token does what its scope gives and its owner may, and nothing else', async (t) => {
  const owners: Person[] = ['admin', 'superuser', 'read-only superuser', 'user with *admin*']
  const world = await startWorld(t, owners)
  const cells = owners.flatMap((person) => SCOPES.flatMap((scope) => cellsOf(person, [scope])))
  assert.deepEqual(await differences(world, cells), [])
})

test('administrators set quotas when the operator lets them', async (t) => {
  const world = await startWorld(t, ['admin', 'member'], { mayOrganizationAdminsEditQuota: true })
  const operations = API_OPERATIONS.filter(({ rule }) => rule === 'organization.editQuota')
  const more = { admin: ['quotaAdmin'], member: [] } as const
  const cells = (['admin', 'member'] as const).flatMap((person) =>
    operations.map((operation) => ({ person, operation, more: more[person] })),
  )
  assert.equal(cells.length, 12)
  assert.deepEqual(await differences(world, cells), [])
})
