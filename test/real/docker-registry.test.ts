import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sha256 } from '../fakes/content.ts'
import { skipUnless } from './debian-packages.ts'
import { startDockerRegistry } from './docker-registry.ts'
import { RegistryWriter } from './registry-writer.ts'
import { startTokenService } from './token-service.ts'

const login = { username: 'ada', password: 'a difficult one' }
const blob = new Uint8Array(Buffer.from('the bytes of a blob'))
const skip = skipUnless(['docker-registry', 'apache2-utils'])

test('an open registry keeps its content and its address when it goes down and comes up', { skip }, async (t) => {
  const registry = await startDockerRegistry()
  t.after(() => registry.remove())
  const digest = await new RegistryWriter(registry.url).putBlob('some/thing', blob)
  assert.equal(digest, sha256(blob))
  await registry.stop()
  await assert.rejects(fetch(registry.url))
  await registry.start()
  await registry.forgetRequests()
  const answer = await fetch(`${registry.url}/v2/some/thing/blobs/${digest}`)
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), Buffer.from(blob))
  assert.deepEqual(await registry.requests(), [{ method: 'GET', path: `/v2/some/thing/blobs/${digest}`, status: 200 }])
})

test('a registry with htpasswd asks for the password', { skip }, async (t) => {
  const registry = await startDockerRegistry({ auth: 'htpasswd', login })
  t.after(() => registry.remove())
  const refused = await fetch(`${registry.url}/v2/`)
  assert.match(refused.headers.get('www-authenticate') ?? '', /^Basic /)
  await new RegistryWriter(registry.url, login).putBlob('some/thing', blob)
  await assert.rejects(new RegistryWriter(registry.url, { ...login, password: 'wrong' }).putBlob('some/thing', blob))
})

test('a registry with token authentication trusts what our token service signs', { skip }, async (t) => {
  const tokens = await startTokenService({ users: [login] })
  t.after(() => tokens.stop())
  const registry = await startDockerRegistry({ auth: 'token', token: tokens })
  t.after(() => registry.remove())
  const refused = await fetch(`${registry.url}/v2/`)
  assert.match(refused.headers.get('www-authenticate') ?? '', /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token"/)
  await new RegistryWriter(registry.url, login).putBlob('some/thing', blob)
  assert.equal(tokens.requestCount(), 1)
  await assert.rejects(new RegistryWriter(registry.url, { ...login, password: 'wrong' }).putBlob('some/thing', blob))
})
