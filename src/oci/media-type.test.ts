import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  bareMediaType,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  DOCKER_SCHEMA1,
  DOCKER_SCHEMA1_SIGNED,
  isSchema1,
  OCI_INDEX,
  OCI_MANIFEST,
  UPSTREAM_ACCEPT,
} from './media-type.ts'

test('parameters, case and spaces are no part of a media type', () => {
  assert.equal(bareMediaType(' Application/JSON ; charset=utf-8; q=1'), 'application/json')
  assert.equal(bareMediaType(OCI_INDEX), OCI_INDEX)
  assert.equal(bareMediaType(''), '')
  assert.equal(bareMediaType(';'), '')
})

test('an upstream is always asked for everything that is cached, and never for schema 1 first', () => {
  const types = UPSTREAM_ACCEPT.split(', ')
  assert.deepEqual(types, [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, '*/*;q=0.1'])
})

test('schema 1 is known in both of its forms', () => {
  assert.deepEqual([DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED].map(isSchema1), [true, true])
  assert.deepEqual([OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].map(isSchema1), [false, false, false, false])
})
