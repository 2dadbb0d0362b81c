import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PASSWORD, startApi } from '../../test/api/start-api.ts'
import { runProgram } from './program.ts'
import type { Terminal } from './terminal.ts'

async function show(server: string, args: readonly string[]) {
  const ran = { out: '', err: '' }
  const terminal: Terminal = {
    env: { ENTREPOT_PASSWORD: PASSWORD },
    writeOut: (text) => {
      ran.out += text
    },
    writeError: (text) => {
      ran.err += text
    },
    readSecret: async () => undefined,
    isWatched: false,
    readAnswer: async () => undefined,
    onInterrupt: () => () => undefined,
    close: () => undefined,
  }
  const all = ['organization', 'show', ...args, '--user', 'admin', '--server', server]
  const code = await runProgram(all, { version: '0', serve: () => assert.fail(), terminal })
  return { code, ...ran }
}

test('an organization is shown with upstream, quota, charge and rules, for people and for programs', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  await api.createOrganization('hub')
  await api.createOrganization('bare')
  const upstream = {
    upstream_registry: 'quay.io/x',
    upstream_registry_username: 'u',
    upstream_registry_password: 'sekrit!!',
  }
  const send = async (method: 'POST' | 'PUT', path: string, body: object) => {
    const answer = await api.send({ method, path: `/api/v1/organization/hub${path}`, as: 'admin', body })
    assert.ok(answer.statusCode < 300, answer.body)
  }
  await send('POST', '/proxycache', { ...upstream, expiration_s: 3600 })
  await send('POST', '/quota', { limit_bytes: 1024 ** 3 })
  await send('PUT', '', { anonymous_pulls: true, denied_repositories: ['secret/*'] })
  const server = await api.fastify.listen({ host: '127.0.0.1', port: 0 })
  const table = await show(server, ['hub'])
  assert.equal(table.code, 0, table.err)
  for (const line of [
    /^hub$/m,
    /upstream +quay\.io\/x, with credentials$/m,
    /tags live +3600 s after the last pull$/m,
    /charge +0\.0 B$/m,
    /quota +1(\.0)? GiB/m,
    /anonymous pulls +yes$/m,
    /denied +secret\/\*$/m,
  ]) {
    assert.match(table.out, line)
  }
  const json = JSON.parse((await show(server, ['hub', '--json'])).out)
  assert.deepEqual(
    [json.name, json.proxycache.upstream_registry, json.quotas[0].limit_bytes],
    ['hub', 'quay.io/x', 1024 ** 3],
  )
  assert.doesNotMatch(table.out + JSON.stringify(json), /sekrit/)
  assert.match((await show(server, ['bare'])).out, /upstream +none$/m)
  const absent = await show(server, ['absent'])
  assert.equal(absent.code, 1)
  assert.match(absent.err, /cannot show absent/)
})
