import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mayDo } from '../../src/admin/permission-decision.ts'
import { PEOPLE, type Person, type Standing } from '../../src/admin/permission-rules.ts'
import { REGISTRY_OPERATIONS } from '../../src/admin/permission-table.ts'
import { SCOPES, type Scope } from '../../src/admin/scopes.ts'
import { updateOrganization } from '../../src/metadata/organizations.ts'
import { setRepositoryVisibility } from '../../src/metadata/repositories.ts'
import { blobDigest, manifestDigest } from '../protocol/serve-registry.ts'
import { ORGANIZATION, REPOSITORY, startWorld, type World } from './world.ts'

const LIMITED = 'superuser without full access'
const people = (Object.keys(PEOPLE) as Person[]).filter((person) => person !== LIMITED)
const NAME = `${ORGANIZATION}/${REPOSITORY}`
const OPERATIONS = Object.entries(REGISTRY_OPERATIONS).flatMap(([kind, rows]) => rows.map((row) => ({ ...row, kind })))
type Operation = (typeof OPERATIONS)[number]

function pathOf({ path }: Operation): string {
  return path
    .replace('<name>', NAME)
    .replace('<reference>', manifestDigest)
    .replace('<digest>', path.includes('blobs') ? blobDigest : manifestDigest)
    .replace('<upload>', '1')
}

/** With what is sent to every door, or with a registry token that was given for it. */
async function statusOf(world: World, operation: Operation, authorization: string | undefined): Promise<number> {
  const headers = authorization === undefined ? {} : { authorization }
  if (operation.kind !== 'token' || operation.method === 'GET') {
    return (await world.ask(operation.method, pathOf(operation), { headers })).status
  }
  const [username = '', password = ''] = Buffer.from((authorization ?? '').replace('Basic ', ''), 'base64')
    .toString()
    .split(/:(.*)/s)
  const body = new URLSearchParams({ grant_type: 'password', username, password }).toString()
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const { status } = await world.ask('POST', '/v2/auth', { headers: form, body })
  return status === 400 ? 401 : status // Without credentials the form is not even complete.
}

async function exchange(world: World, authorization: string | undefined): Promise<string> {
  const headers = authorization === undefined ? {} : { authorization }
  const scopes = `scope=repository:${NAME}:pull&scope=registry:catalog:*`
  const answer = await world.ask('GET', `/v2/auth?${scopes}`, { headers })
  assert.equal(answer.status, 200)
  return `Bearer ${JSON.parse(answer.text).token}`
}

async function differences(
  world: World,
  person: Person,
  scopes: readonly Scope[] = SCOPES,
  more: readonly Standing[] = [],
): Promise<string[]> {
  const found: string[] = []
  const basic = await world.authorizeRegistry(person, scopes)
  for (const operation of OPERATIONS) {
    const limit = person === 'anonymous' || person.startsWith('robot') ? undefined : new Set(scopes)
    const isOpen = mayDo([...PEOPLE[person], ...more], limit, { rule: operation.rule, effect: 'reads' })
    const doors = [await statusOf(world, operation, basic)]
    // A token of nobody is for pulling what is open to everyone.
    const isForToken = operation.rule === 'repository.pull' || (operation.kind === 'catalog' && basic !== undefined)
    if (isForToken) doors.push(await statusOf(world, operation, await exchange(world, basic)))
    const refusals = operation.rule === 'nobody' ? [405] : [401, 403]
    for (const [door, status] of doors.entries()) {
      if (isOpen ? status === 200 : refusals.includes(status)) continue
      const how = door === 0 ? 'Basic' : 'Bearer'
      found.push(`${person} (${scopes.length} ${scopes[0]}) ${how} ${operation.method} ${operation.path}: ${status}`)
    }
  }
  return found
}

test('everyone may do at the registry what the table says, with credentials and with tokens for them', async (t) => {
  const world = await startWorld(t, people)
  for (const person of people) assert.deepEqual(await differences(world, person), [])
})

test('an access token opens the registry as far as its scope and its owner go', async (t) => {
  const world = await startWorld(t, people)
  for (const person of ['member', 'superuser', 'other user', 'user with *read*'] as const) {
    for (const scope of SCOPES) assert.deepEqual(await differences(world, person, [scope]), [])
  }
})

test('superusers without full access pull from no organization', async (t) => {
  const world = await startWorld(t, [LIMITED], { hasSuperusersFullAccess: false })
  assert.deepEqual(await differences(world, LIMITED), [])
})

test('what is open is open to everyone', async (t) => {
  const world = await startWorld(t, people)
  const { db } = world.api.metadata
  const strangers = ['anonymous', 'other user', 'robot without team'] as const
  await setRepositoryVisibility(db, world.repository?.id ?? 0, true)
  world.api.admin.epoch.advance()
  for (const person of strangers) assert.deepEqual(await differences(world, person, SCOPES, ['guest']), [])
  await setRepositoryVisibility(db, world.repository?.id ?? 0, false)
  world.api.admin.epoch.advance()
  for (const person of strangers) assert.deepEqual(await differences(world, person), [])
  await updateOrganization(db, world.organization?.id ?? 0, { anonymousPulls: true })
  world.api.admin.epoch.advance()
  for (const person of strangers) assert.deepEqual(await differences(world, person, SCOPES, ['guest']), [])
})
