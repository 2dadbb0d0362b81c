/** What must be so whatever the table says: the tests over HTTP take the table's word for who may. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mayDo } from './permission-decision.ts'
import { PEOPLE, type Person, standingsAt } from './permission-rules.ts'
import { API_OPERATIONS, type ApiOperation, REGISTRY_OPERATIONS } from './permission-table.ts'
import type { Scope } from './scopes.ts'

const people = Object.keys(PEOPLE) as Person[]
const superusers = ['superuser', 'superuser without full access']

function whoMay(operation: ApiOperation, scopes?: readonly Scope[]): Person[] {
  const limit = scopes && new Set(scopes)
  return people.filter((person) => mayDo(standingsAt('/api/v1', person), limit, operation))
}

const below = (path: string) => API_OPERATIONS.filter((operation) => operation.path.startsWith(path))
const changing = (path: string) => below(path).filter(({ method }) => method !== 'GET')

test('nobody does without signing in but what begins an account or a session, and a look at an organization', () => {
  const open = API_OPERATIONS.filter((operation) => whoMay(operation).includes('anonymous')).map(({ id }) => id)
  const known = ['createNewUser', 'errorType', 'getOrganization', 'initializeUser', 'logout', 'signinUser']
  assert.deepEqual(open.toSorted(), known)
})

test('only superusers are let in to what is theirs; who reads everything changes none of it', () => {
  assert.ok(below('/superuser').length > 20)
  for (const operation of below('/superuser')) {
    const others = whoMay(operation).filter((person) => !superusers.includes(person))
    const isRead = operation.method === 'GET'
    assert.ok(
      others.every((person) => isRead && person === 'read-only superuser'),
      operation.id,
    )
  }
})

test('an organization is changed by its administrators and by superusers with full access', () => {
  assert.ok(changing('/organization/').length > 20)
  for (const operation of changing('/organization/')) {
    const isQuota = operation.path.includes('/quota')
    assert.deepEqual(whoMay(operation), isQuota ? ['superuser'] : ['admin', 'superuser'], operation.id)
  }
})

test('nothing in an organization is shown to strangers, and in a repository only to who has a permission there', () => {
  for (const operation of [...below('/organization/:organization/'), ...below('/repository/')]) {
    const seen = whoMay(operation)
    assert.ok(!seen.includes('other user') && !seen.includes('superuser without full access'), operation.id)
    if (operation.path.startsWith('/organization')) assert.ok(!seen.some((person) => person.includes(' with *')))
  }
})

test('members and readers of a repository change nothing in it', () => {
  for (const operation of changing('/repository/')) {
    const changers = ['admin', 'superuser', 'user with *write*', 'user with *admin*']
    assert.ok(
      whoMay(operation).every((person) => changers.includes(person)),
      operation.id,
    )
    if (/permissions|visibility|pin$/.test(operation.path)) {
      assert.ok(!whoMay(operation).includes('user with *write*'), operation.id)
    }
  }
})

test('a robot does nothing by the API, and scopes to read change nothing', () => {
  for (const operation of API_OPERATIONS) {
    const isOpen = ['open', 'anyone', 'signedIn'].includes(operation.rule)
    if (isOpen) continue
    assert.ok(!whoMay(operation).some((person) => person.startsWith('robot')), operation.id)
    if (operation.method !== 'GET') assert.deepEqual(whoMay(operation, ['repo:read', 'user:read']), [], operation.id)
  }
})

test('nobody pushes', () => {
  for (const { rule } of REGISTRY_OPERATIONS.push) assert.equal(rule, 'nobody')
})
