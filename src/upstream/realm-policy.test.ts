import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mayAskRealm, mayCarryCredentials } from './realm-policy.ts'

const REALM_HOSTS = ['auth.example.net', 'auth.example.org:8443']
const ROWS: [upstream: string, realm: string, mayCarry: boolean, why: string][] = [
  ['https://quay.io', 'https://quay.io/v2/auth', true, 'the same host'],
  ['https://registry.example.com:5000', 'https://registry.example.com:5001/t', true, 'the same host on another port'],
  ['https://registry-1.docker.io', 'https://auth.docker.io/token', true, 'the same registrable domain'],
  ['https://registry.example.co.uk', 'https://auth.example.co.uk/t', true, 'the same domain under a long suffix'],
  ['https://registry.example.co.uk', 'https://evil.co.uk/t', false, 'only the public suffix is the same'],
  ['https://alice.github.io', 'https://mallory.github.io/t', false, 'a private suffix: strangers'],
  ['https://quay.io', 'https://evil.example/t', false, 'another domain'],
  ['https://quay.io', 'https://quay.io.evil.example/t', false, 'only the beginning is the same'],
  ['https://quay.io', 'https://evilquay.io/t', false, 'only the end is the same'],
  ['https://quay.io', 'http://quay.io/t', false, 'plain HTTP'],
  ['https://quay.io', 'https://auth.example.net/t', true, 'named by the operator'],
  ['https://quay.io', 'http://auth.example.net/t', false, 'named, but plain HTTP'],
  ['https://quay.io', 'https://auth.example.org:8443/t', true, 'named with its port'],
  ['https://quay.io', 'https://auth.example.org/t', false, 'named with another port'],
  ['https://192.0.2.1', 'https://192.0.2.1:444/t', true, 'the same address'],
  ['https://192.0.2.1', 'https://192.0.2.2/t', false, 'another address'],
  ['https://[2001:db8::1]', 'https://[2001:db8::1]:5001/t', true, 'the same IPv6 address'],
  ['https://registry', 'https://registry:444/t', true, 'the same name of one label'],
  ['https://registry', 'https://auth/t', false, 'another name of one label'],
  ['https://quay.io', 'https://user:x@quay.io/t', false, 'with credentials of its own'],
  ['http://registry.example.com', 'http://registry.example.com:5001/t', true, 'insecure: plain HTTP on the same host'],
  ['http://registry.example.com', 'http://auth.example.com/t', false, 'insecure: plain HTTP on another host'],
  ['http://registry.example.com', 'https://auth.example.com/t', true, 'insecure: https under the same domain'],
  ['https://Quay.io.', 'https://quay.io/t', true, 'the same host with the dot of the root'],
]

for (const [upstream, realm, expected, why] of ROWS) {
  test(`credentials of ${upstream} ${expected ? 'may' : 'must not'} go to ${realm}: ${why}`, () => {
    const question = { upstream: new URL(upstream), realm: new URL(realm), realmHosts: REALM_HOSTS }
    assert.equal(mayCarryCredentials(question), expected)
  })
}

test('a registry behind TLS does not send even anonymous questions to plain HTTP', () => {
  const realm = new URL('http://quay.io/t')
  assert.equal(mayAskRealm({ realm, upstream: new URL('https://quay.io') }), false)
  assert.equal(mayAskRealm({ realm, upstream: new URL('http://registry') }), true)
  assert.equal(mayAskRealm({ realm: new URL('ftp://quay.io/t'), upstream: new URL('http://registry') }), false)
})
