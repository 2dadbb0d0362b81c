import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { runProgram, type ServeOptions } from './program.ts'

type Seen = { request: string; authorization: string | undefined; setupToken: string | undefined; body: unknown }
type Answers = Record<string, [status: number, body: unknown]>
type Ran = { code: number; out: string; err: string }

/** A server that answers as the table says, 404 to the rest, and remembers what it was asked. */
async function startServer(t: TestContext, answers: Answers): Promise<{ url: string; seen: Seen[] }> {
  const seen: Seen[] = []
  const server = createServer(async (request, response) => {
    const path = `${request.method} ${request.url?.replace('/api/v1', '')}`
    seen.push({
      request: path,
      authorization: request.headers.authorization,
      setupToken: request.headers['x-entrepot-setup-token'] as string | undefined,
      body: await readJson(request),
    })
    const [status, body] = answers[path] ?? [404, { error_message: 'Not Found' }]
    response.writeHead(status, { location: 'http://elsewhere.example/' })
    response.end(typeof body === 'string' && body.startsWith('<') ? body : JSON.stringify(body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  t.after(() => server.closeAllConnections())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const text = Buffer.concat(await request.toArray()).toString()
  return text === '' ? undefined : JSON.parse(text)
}

async function run(
  args: readonly string[],
  options: {
    env?: Record<string, string>
    secrets?: string[]
    answer?: string
    serve?: (options: ServeOptions) => Promise<void>
  } = {},
): Promise<Ran> {
  const ran = { out: '', err: '' }
  const secrets = [...(options.secrets ?? [])]
  const code = await runProgram(args, {
    version: '1.2.3',
    serve: options.serve ?? (() => assert.fail('serve was not asked for')),
    terminal: {
      env: options.env ?? {},
      writeOut: (text) => {
        ran.out += text
      },
      writeError: (text) => {
        ran.err += text
      },
      readSecret: async () => secrets.shift(),
      isWatched: false,
      readAnswer: async () => options.answer,
      onInterrupt: () => () => undefined,
      close: () => undefined,
    },
  })
  return { code, ...ran }
}

const basic = (user: string, password: string) => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`

test('the first user is created, and the token is shown once', async (t) => {
  const server = await startServer(t, { 'POST /user/initialize': [200, { username: 'admin', access_token: 'tok' }] })
  const args = ['user', 'create', 'admin', '--email', 'a@b.c', '--server', server.url]
  const ran = await run(args, { secrets: ['hunter2hunter2'], env: { ENTREPOT_SETUP_TOKEN: 'once' } })
  assert.equal(ran.code, 0, ran.err)
  assert.match(ran.out, /API token \(shown only now\):\ntok\n/)
  assert.doesNotMatch(ran.out, /hunter2/)
  const body = { username: 'admin', email: 'a@b.c', password: 'hunter2hunter2', access_token: true }
  assert.deepEqual(server.seen, [
    { request: 'POST /user/initialize', authorization: undefined, setupToken: 'once', body },
  ])
})

test("the first user's token is written to a file only when asked, for its owner only", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'cli-'))
  t.after(() => rm(folder, { recursive: true }))
  const server = await startServer(t, { 'POST /user/initialize': [200, { access_token: 'tok' }] })
  const file = join(folder, 'token')
  const args = ['user', 'create', 'admin', '--save-token', file, '--json', '--server', server.url]
  const ran = await run(args, { env: { ENTREPOT_NEW_PASSWORD: 'pw' } })
  assert.deepEqual(JSON.parse(ran.out), { username: 'admin', superuser: true, token_file: file })
  assert.equal(await readFile(file, 'utf8'), 'tok\n')
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  const again = await run(args, { env: { ENTREPOT_NEW_PASSWORD: 'pw' } })
  assert.equal(JSON.parse(again.out).access_token, 'tok', 'a token that could not be saved is not lost')
})

test('another user is created by a superuser, after the server has refused a first one', async (t) => {
  const server = await startServer(t, {
    'POST /user/initialize': [400, { error_message: 'Cannot initialize user in a non-empty database' }],
    'POST /superuser/users/': [200, { username: 'alice' }],
  })
  const ran = await run(['user', 'create', 'alice', '--user', 'admin', '--server', server.url], {
    secrets: ['new password', 'admin password'],
  })
  assert.equal(ran.code, 0, ran.err)
  assert.deepEqual(
    server.seen.map(({ request, authorization }) => [request, authorization]),
    [
      ['POST /user/initialize', undefined],
      ['POST /superuser/users/', basic('admin', 'admin password')],
    ],
  )
  assert.deepEqual(server.seen[1]?.body, { username: 'alice', password: 'new password' })
})

test('who is not known is told what to do', async (t) => {
  const server = await startServer(t, {
    'POST /user/initialize': [400, { error_message: 'Cannot initialize user in a non-empty database' }],
    'POST /organization/': [401, { error_message: 'Requires authentication' }],
  })
  const user = await run(['user', 'create', 'alice', '--server', server.url], { secrets: ['pw'] })
  assert.equal(user.code, 1)
  assert.match(user.err, /non-empty database\n.*sign in as a superuser: --user NAME, or --token/)
  const organization = await run(['organization', 'create', 'hub', '--server', server.url])
  assert.equal(organization.code, 1)
  assert.match(organization.err, /cannot create organization hub: Requires authentication\n.*--token or ENTREPOT_TOKEN/)
})

test('a new upstream is tested, then set', async (t) => {
  const server = await startServer(t, {
    'GET /organization/hub/proxycache': [200, { upstream_registry: '', expiration_s: '', insecure: '' }],
    'POST /organization/hub/validateproxycache': [202, 'Valid'],
    'POST /organization/hub/proxycache': [201, 'Created'],
  })
  const args = ['organization', 'set-upstream', 'hub', 'docker.io', '--upstream-user', 'bot', '--expiration', '2w']
  const ran = await run([...args, '--server', server.url], {
    env: { ENTREPOT_TOKEN: 'tok', ENTREPOT_UPSTREAM_PASSWORD: 'sekrit' },
  })
  assert.equal(ran.code, 0, ran.err)
  assert.match(ran.out, /hub now caches docker.io \(signed in\)/)
  const body = {
    upstream_registry: 'docker.io',
    insecure: false,
    upstream_registry_username: 'bot',
    upstream_registry_password: 'sekrit',
    expiration_s: 1_209_600,
  }
  assert.deepEqual(
    server.seen.map(({ request, authorization, body: sent }) => [request, authorization, sent]),
    [
      ['GET /organization/hub/proxycache', 'Bearer tok', undefined],
      ['POST /organization/hub/validateproxycache', 'Bearer tok', body],
      ['POST /organization/hub/proxycache', 'Bearer tok', body],
    ],
  )
})

test('an upstream that refuses is not set', async (t) => {
  const server = await startServer(t, {
    'GET /organization/hub/proxycache': [200, { upstream_registry: '' }],
    'POST /organization/hub/validateproxycache': [400, { error_message: 'Failed login\u001b[2J to remote registry' }],
  })
  const args = ['organization', 'set-upstream', 'hub', 'quay.io', '--server', server.url]
  const ran = await run(args, { env: { ENTREPOT_TOKEN: 'tok' } })
  assert.equal(ran.code, 1)
  assert.match(ran.err, /cannot use quay.io: Failed login \[2J to remote registry/, 'nothing moves the cursor')
  assert.equal(server.seen.length, 2)
})

test('credentials stay with the same upstream, and never go along to another', async (t) => {
  const server = await startServer(t, {
    'GET /organization/hub/proxycache': [200, { upstream_registry: 'lab:5000', expiration_s: 1, insecure: true }],
    'PUT /organization/hub/proxycache': [200, 'Updated'],
  })
  const set = ['organization', 'set-upstream', 'hub']
  const rest = ['--no-test', '--server', server.url]
  await run([...set, 'lab:5000', '--expiration', '0', ...rest], { env: { ENTREPOT_TOKEN: 'tok' } })
  await run([...set, 'evil.example', ...rest], { env: { ENTREPOT_TOKEN: 'tok' } })
  const puts = server.seen.filter(({ request }) => request.startsWith('PUT')).map(({ body }) => body)
  assert.deepEqual(puts, [
    { upstream_registry: 'lab:5000', insecure: true, expiration_s: 0 },
    {
      upstream_registry: 'evil.example',
      insecure: false,
      upstream_registry_username: null,
      upstream_registry_password: null,
    },
  ])
})

test('an upstream is tested without being set', async (t) => {
  const server = await startServer(t, {
    'GET /organization/hub/proxycache': [200, { upstream_registry: 'quay.io', insecure: false }],
    'POST /organization/hub/validateproxycache': [202, 'Anonymous'],
  })
  const ran = await run(['upstream', 'test', 'hub', '--json', '--server', server.url, '--token', 'tok'])
  assert.equal(ran.code, 0, ran.err)
  assert.deepEqual(JSON.parse(ran.out), { upstream_registry: 'quay.io', test: 'anonymous' })
})

test('a name cannot leave its place in the path', async (t) => {
  const server = await startServer(t, {})
  for (const name of ['..', '../superuser/users?x=', 'a/b', 'A']) {
    assert.equal((await run(['upstream', 'test', name, '--server', server.url, '--token', 'tok'])).code, 2)
  }
  assert.deepEqual(server.seen, [])
})

test('the exit code tells wrong usage from a refusal and from a server that is not there', async (t) => {
  const html = await startServer(t, { 'POST /organization/': [200, '<html>'] })
  const moved = await startServer(t, { 'POST /organization/': [301, ''] })
  const create = (server: string) => ['organization', 'create', 'hub', '--token', 'tok', '--server', server]
  assert.equal((await run(['--help'])).code, 0)
  assert.equal((await run(['--version'])).out, '1.2.3\n')
  assert.equal((await run(['organisation'])).code, 2)
  assert.equal((await run(['organization', 'create'])).code, 2)
  assert.equal((await run(create('ftp://x'))).code, 2)
  assert.equal((await run(['organization', 'set-upstream', 'a', 'b', '--expiration', 'soon'])).code, 2)
  for (const server of [html.url, moved.url, 'http://127.0.0.1:1', 'http://no-such-host.invalid']) {
    const ran = await run(create(server))
    assert.equal(ran.code, 3, ran.err)
    assert.match(ran.err, /ENTREPOT_SERVER/)
  }
  const json = await run([...create('http://127.0.0.1:1'), '--json'])
  assert.match(JSON.parse(json.err).error.message, /cannot reach http:\/\/127.0.0.1:1/)
})

test('a configuration is checked, every mistake printed', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'cli-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'config.yaml')
  await writeFile(file, 'LOG_LEVEL: loud\nFEATURE_MAILING: true\nCOLOUR: red\n')
  const wrong = await run(['config', 'check', file], { env: { ENTREPOT_LOG_LEVEL: 'info' } })
  assert.equal(wrong.code, 1)
  assert.match(wrong.out, /^mistake: COLOUR.*\nmistake: LOG_LEVEL.*\nnotice: {2}FEATURE_MAILING.*\n$/)
  await writeFile(file, 'LOG_LEVEL: warn\n')
  assert.deepEqual(await run(['config', 'check', file]), { code: 0, out: 'The configuration can be used.\n', err: '' })
  assert.equal((await run(['config', 'check', join(folder, 'absent')])).code, 1)
  assert.match((await run(['config', 'check', folder])).out, /it is not a file/)
})

test('serve hands on its options', async () => {
  const asked: ServeOptions[] = []
  const serve = async (options: ServeOptions) => {
    asked.push({ ...options })
  }
  await run(['serve'], { serve })
  await run(['serve', '--test-clock', '/tmp/clock'], { serve })
  assert.deepEqual(asked, [{}, { testClock: '/tmp/clock' }])
})
