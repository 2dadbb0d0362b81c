import assert from 'node:assert/strict'
import { test } from 'node:test'
import { routeOf } from './route.ts'

test('the registry has /v2 and /<org>/v2, but not the token service', () => {
  for (const url of [
    '/v2',
    '/v2/',
    '/v2/?ns=x',
    '/v2/a/b/manifests/v1',
    '/org/v2/',
    '/org/v2',
    '/v2/auth/x/manifests/v1',
  ]) {
    assert.equal(routeOf(url), 'registry', url)
  }
  for (const url of [
    '/v2/auth',
    '/v2/auth/',
    '/v2/auth?service=x',
    '/',
    '/v2x',
    '/api/v1/user',
    '/api/v2/',
    '/a/b/v2/',
  ]) {
    assert.equal(routeOf(url), 'api', url)
  }
})

test('what is not a path is malformed', () => {
  for (const url of ['*', 'http://elsewhere.example/v2/', '', 'v2/']) assert.equal(routeOf(url), 'malformed', url)
})
