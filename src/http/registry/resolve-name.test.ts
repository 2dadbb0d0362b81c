import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FoundOrganization, RegistryDirectory } from '../../registry/directory.ts'
import { resolveName } from './resolve-name.ts'

const hub = { name: 'hub' } as FoundOrganization
const root = { name: 'root' } as FoundOrganization
const directory = {
  find: async (name: string) => [hub, root].find((found) => found.name === name),
  findMirror: async (host: string) => (host === 'docker.io' ? 'hub' : undefined),
  isUpstreamOf: async (organization: string, host: string) => organization === 'hub' && host === 'docker.io',
} as unknown as RegistryDirectory

async function resolve(name: string, ns?: string, rootOrganization?: string): Promise<string> {
  const resolved = await resolveName(directory, rootOrganization, { name, ns })
  const { organization, found, namespace } = resolved
  return `${organization}:${resolved.name}${found === undefined ? ' absent' : ''}${namespace ? ` of ${namespace}` : ''}`
}

test('the first component is the organization, whether or not there is one', async () => {
  assert.equal(await resolve('hub/library/alpine'), 'hub:library/alpine')
  assert.equal(await resolve('nothing/library/alpine'), 'nothing:library/alpine absent')
})

test('ns selects the mirror of a host, in any case of letters', async () => {
  assert.equal(await resolve('library/alpine', 'Docker.IO'), 'hub:library/alpine of docker.io')
  assert.equal(await resolve('alpine', 'docker.io'), 'hub:alpine of docker.io')
  assert.equal(await resolve('root/app', 'docker.io'), 'hub:root/app of docker.io')
})

test('the prefix form holds when it names an organization of that upstream', async () => {
  assert.equal(await resolve('hub/library/alpine', 'docker.io'), 'hub:library/alpine')
})

test('an ns that nobody mirrors, or that is no host, is not known', async () => {
  for (const ns of ['quay.io', '', 'a b', 'a\r\nb', 'x'.repeat(300), 'docker.io/x', '__proto__']) {
    await assert.rejects(resolve('hub/app', ns), { case: 'NAME_UNKNOWN' }, ns)
  }
})

test('the root organization answers what names none', async () => {
  assert.equal(await resolve('library/alpine', undefined, 'root'), 'root:library/alpine')
  assert.equal(await resolve('alpine', undefined, 'root'), 'root:alpine')
  assert.equal(await resolve('hub/alpine', undefined, 'root'), 'hub:alpine')
  await assert.rejects(resolve('alpine'), { case: 'NAME_UNKNOWN' })
})

test('255 characters are for the upstream’s part', async () => {
  const long = 'a'.repeat(255)
  assert.equal(await resolve(`hub/${long}`), `hub:${long}`)
  await assert.rejects(resolve(`x/${long}`, undefined, 'root'), { case: 'NAME_INVALID' })
  await assert.rejects(resolve(`x/${long}`, 'docker.io'), { case: 'NAME_INVALID' })
})
