import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ApiUnderTest, PASSWORD, startApi } from '../../test/api/start-api.ts'
import { runProgram } from './program.ts'

/** The API itself, listening, so that what the command says and what the server takes cannot drift apart. */
async function startServer(t: TestContext): Promise<{ api: ApiUnderTest; url: string }> {
  const api = await startApi(t)
  await api.initialize()
  await api.createOrganization('hub')
  await api.fastify.listen({ host: '127.0.0.1', port: 0 })
  return { api, url: `http://127.0.0.1:${(api.fastify.server.address() as AddressInfo).port}` }
}

async function setQuota(url: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const ran = { out: '', err: '' }
  const command = ['organization', 'set-quota', ...args, '--server', url, '--user', 'admin']
  const code = await runProgram(command, {
    version: '1.2.3',
    serve: () => assert.fail('serve was not asked for'),
    terminal: {
      env: { ENTREPOT_PASSWORD: PASSWORD },
      writeOut: (text) => {
        ran.out += text
      },
      writeError: (text) => {
        ran.err += text
      },
      isWatched: false,
      readSecret: async () => undefined,
      readAnswer: async () => undefined,
      onInterrupt: () => () => undefined,
      close: () => undefined,
    },
  })
  return { code, ...ran }
}

async function quotasOf(api: ApiUnderTest): Promise<{ limit_bytes: number; limits: { type: string }[] }[]> {
  return (await api.send({ method: 'GET', path: '/api/v1/organization/hub/quota', as: 'admin' })).json()
}

test('a quota is set, changed and removed, and running it again changes nothing', async (t) => {
  const { api, url } = await startServer(t)
  for (const _ of ['first', 'again']) {
    const ran = await setQuota(url, 'hub', '10 GiB', '--warn', '80', '--reject', '95')
    assert.equal(ran.code, 0, ran.err)
    assert.equal(ran.out, 'hub may store 10.0 GiB, Warning at 80 %, Reject at 95 %.\n')
  }
  const changes = api.changedLimits.length
  assert.equal(changes, 3)
  const changed = await setQuota(url, 'hub', '--warn', '50', '--json')
  const { quota } = JSON.parse(changed.out)
  assert.deepEqual(
    quota.limits.map(({ type, limit_percent }: { type: string; limit_percent: number }) => [type, limit_percent]),
    [
      ['Reject', 95],
      ['Warning', 50],
    ],
  )
  await setQuota(url, 'hub', '150MB')
  const [after] = await quotasOf(api)
  assert.deepEqual([after?.limit_bytes, after?.limits.length], [150_000_000, 2])
  for (const _ of ['first', 'again']) assert.equal((await setQuota(url, 'hub', '--none')).code, 0)
  assert.deepEqual(await quotasOf(api), [])
})

test('percentages need a quota, and one above its limit is told so', async (t) => {
  const { api, url } = await startServer(t)
  const early = await setQuota(url, 'hub', '--warn', '80')
  assert.equal(early.code, 1)
  assert.match(early.err, /hub has no quota yet: give a size too/)
  await api.metadata.db
    .updateTable('usage')
    .set({ charge_bytes: 5 * 2 ** 30 })
    .execute()
  assert.match((await setQuota(url, 'hub', '1 GiB')).out, /It is 4\.0 GiB above its limit/)
})

const WRONG: readonly string[][] = [
  ['hub'],
  ['hub', '0'],
  ['hub', '-1'],
  ['hub', '0.1 KiB'],
  ['hub', '10 furlongs'],
  ['hub', '9007199254740992'],
  ['hub', '1GiB', '--warn', '0'],
  ['hub', '1GiB', '--reject', '101'],
  ['hub', '1GiB', '--warn', '1.5'],
  ['hub', '1GiB', '--none'],
  ['hub', '--none', '--warn', '80'],
  ['../user', '1GiB'],
]

test('what cannot be is refused without asking the server', async () => {
  for (const args of WRONG) {
    const ran = await setQuota('http://127.0.0.1:1', ...args)
    assert.notEqual(ran.code, 0, args.join(' '))
    assert.doesNotMatch(ran.err, /cannot reach/, args.join(' '))
  }
})
