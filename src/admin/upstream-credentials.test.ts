import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { UpstreamConfig } from '../oci/registry.ts'
import { type OperatorsCredential, withOperatorsCredential } from './upstream-credentials.ts'

const CREDENTIAL: OperatorsCredential = {
  kind: 'file',
  registry: 'quay.io',
  username: 'robot',
  passwordFile: '/run/secrets/quay',
  insecure: false,
  organizationCa: false,
}
const OWN = { kind: 'password', username: 'ann', password: 'theirs' } as const
const UPSTREAM: UpstreamConfig = { scheme: 'https', host: 'quay.io', caPem: undefined, credentials: OWN }

test('at the registry that it is for, the operator’s password goes before the organization’s own', () => {
  const { credentials } = withOperatorsCredential(CREDENTIAL, UPSTREAM)
  assert.deepEqual(credentials, { kind: 'file', username: 'robot', path: '/run/secrets/quay' })
  const { passwordFile: _, ...shared } = CREDENTIAL as Extract<OperatorsCredential, { kind: 'file' }>
  const command = { ...shared, kind: 'command', passwordCommand: ['aws', 'ecr'] } as const
  assert.deepEqual(withOperatorsCredential(command, UPSTREAM).credentials, {
    ...{ kind: 'command', username: 'robot', command: ['aws', 'ecr'] },
  })
  assert.equal(withOperatorsCredential(undefined, UPSTREAM), UPSTREAM)
})

test('Docker Hub is one registry, whichever way it is written', () => {
  const hub = withOperatorsCredential(
    { ...CREDENTIAL, registry: 'docker.io' },
    { ...UPSTREAM, host: 'registry-1.docker.io' },
  )
  assert.equal(hub.credentials.kind, 'file')
})

for (const host of ['quay.io:8443', 'quay.io:443', 'quay.io.evil.example', 'cdn.quay.io', 'evil.example']) {
  test(`an administrator who points the organization at ${host} is not sent quay.io’s password`, () => {
    const upstream = { ...UPSTREAM, host }
    assert.equal(withOperatorsCredential(CREDENTIAL, upstream), upstream)
  })
}

test('an administrator who sets "insecure" does not make the password readable on the way: it is withheld', () => {
  const { credentials } = withOperatorsCredential(CREDENTIAL, { ...UPSTREAM, scheme: 'http' })
  assert.ok(credentials.kind === 'withheld')
  assert.match(
    credentials.problem,
    /quay\.io over plain HTTP: unset "insecure".* "insecure: true" .*UPSTREAM_CREDENTIALS/,
  )
  assert.doesNotMatch(JSON.stringify(credentials), /robot|secrets|theirs/)
})

test('nor one who brings a certificate of their own, by which anybody could be quay.io', () => {
  const { credentials } = withOperatorsCredential(CREDENTIAL, { ...UPSTREAM, caPem: 'PEM' })
  assert.ok(credentials.kind === 'withheld')
  assert.match(credentials.problem, /remove "ca_certificate".* "organization_ca: true" .*UPSTREAM_CREDENTIALS/)
})

test('what the operator’s own entry allows is done, and no more', () => {
  const plain = { ...UPSTREAM, scheme: 'http' } as const
  const own = { ...UPSTREAM, caPem: 'PEM' }
  const kindOf = (changes: Partial<OperatorsCredential>, upstream: UpstreamConfig) =>
    withOperatorsCredential({ ...CREDENTIAL, ...changes } as OperatorsCredential, upstream).credentials.kind
  assert.equal(kindOf({ insecure: true }, plain), 'file')
  assert.equal(kindOf({ organizationCa: true }, own), 'file')
  assert.equal(kindOf({ insecure: true }, own), 'withheld')
  assert.equal(kindOf({ organizationCa: true }, plain), 'withheld')
})
