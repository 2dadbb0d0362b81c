import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mayDo } from './permission-decision.ts'
import { RULES, type Rule, type RuleName, type Standing } from './permission-rules.ts'
import { API_OPERATIONS, operationOf } from './permission-table.ts'
import { SCOPES } from './scopes.ts'

const rules = Object.entries(RULES) as [RuleName, Rule][]

test('who reads everything changes nothing, whatever else they are, but what is their own', () => {
  const standings = ['user', 'admin', 'superuser', 'readonlySuperuser'] as const
  const rule = 'organization.administer'
  assert.equal(mayDo(standings, undefined, { rule, effect: 'reads' }), true)
  assert.equal(mayDo(standings, undefined, { rule, effect: 'writes' }), false)
  assert.equal(mayDo(standings.toReversed(), undefined, { rule, effect: 'writes' }), false)
  assert.equal(mayDo(standings, undefined, { rule: 'user.administer', effect: 'own' }), true)
})

test('two scopes give what each of them gives, and together only what needs both', () => {
  for (const [rule, { may }] of rules) {
    for (const standing of Object.keys(may) as Standing[]) {
      const gives = (...scopes: (typeof SCOPES)[number][]) =>
        mayDo([standing], new Set(scopes), { rule, effect: 'reads' })
      const isJoint = (may[standing]?.length ?? 0) > 1
      for (const one of SCOPES) {
        for (const other of SCOPES) {
          const each = gives(one) || gives(other)
          if (isJoint) assert.ok(gives(one, other) || !each)
          else assert.equal(gives(one, other), each, `${rule} ${standing} ${one} ${other}`)
        }
      }
      assert.equal(gives(...SCOPES), true)
    }
  }
})

test('a token without scopes gives what needs none', () => {
  for (const [rule, { may }] of rules) {
    for (const [standing, powers] of Object.entries(may) as [Standing, readonly string[]][]) {
      assert.equal(mayDo([standing], new Set(), { rule, effect: 'reads' }), powers.length === 0)
    }
  }
})

test('a route without a row, or that says something else than its row, is an error at the start', () => {
  const route = { method: 'GET', path: '/superuser/users/', access: 'required' } as const
  assert.equal(operationOf(route).rule, 'superuser.read')
  assert.throws(() => operationOf({ ...route, path: '/superuser/secrets' }), /no row/)
  assert.throws(() => operationOf({ ...route, access: 'optional' }), /permission table/)
  assert.throws(() => operationOf({ ...route, freshLogin: true }), /permission table/)
  const routes = API_OPERATIONS.map(({ method, path }) => `${method} ${path}`)
  assert.equal(new Set(routes).size, routes.length)
})
