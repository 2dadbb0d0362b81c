import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RegistryError } from '../errors.ts'
import { mapRepositoryName } from './upstream-repository.ts'

const hub = { namespace: undefined, isDockerHub: true }

test('an official image of Docker Hub is one repository, whichever way it is written', () => {
  assert.deepEqual(mapRepositoryName(hub, 'nginx'), { stored: 'library/nginx', upstream: 'library/nginx' })
  assert.deepEqual(mapRepositoryName(hub, 'library/nginx'), { stored: 'library/nginx', upstream: 'library/nginx' })
})

test("with a namespace a one-component name is that namespace's, also on Docker Hub", () => {
  const names = mapRepositoryName({ namespace: 'bitnami', isDockerHub: true }, 'nginx')
  assert.deepEqual(names, { stored: 'nginx', upstream: 'bitnami/nginx' })
})

test('elsewhere names are passed on as they are', () => {
  const names = mapRepositoryName({ namespace: undefined, isDockerHub: false }, 'nginx')
  assert.deepEqual(names, { stored: 'nginx', upstream: 'nginx' })
})

test('the limit of 255 characters holds for the name upstream', () => {
  const long = 'a'.repeat(250)
  assert.equal(mapRepositoryName({ namespace: undefined, isDockerHub: false }, long).upstream, long)
  assert.throws(
    () => mapRepositoryName({ namespace: 'team/one', isDockerHub: false }, long),
    (error) => error instanceof RegistryError && error.code === 'NAME_INVALID',
  )
})
