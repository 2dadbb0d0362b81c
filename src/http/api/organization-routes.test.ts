import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generate } from 'selfsigned'
import { type ApiUnderTest, startApi } from '../../../test/api/start-api.ts'
import { addTeamMember, createTeam } from '../../metadata/teams.ts'

const path = '/api/v1/organization/cache'

async function startWithOrganization(t: Parameters<typeof startApi>[0]): Promise<ApiUnderTest> {
  const api = await startApi(t)
  await api.initialize()
  for (const username of ['owner', 'member', 'other', 'auditor']) await api.createUser(username)
  await api.createOrganization('cache', 'owner')
  await join(api, 'cache', 'member')
  return api
}

async function join(api: ApiUnderTest, organization: string, username: string): Promise<void> {
  const { db } = api.metadata
  const org = await api.admin.organizations.find(organization)
  const account = await db.selectFrom('account').select('id').where('username', '=', username).executeTakeFirstOrThrow()
  const team = await createTeam(db, { organizationId: org.id, name: `of-${username}`, role: 'member', nowMs: 0 })
  await addTeamMember(db, team.id, account.id)
  api.admin.epoch.advance()
}

test('an organization is created with and without the slash, and its creator owns it', async (t) => {
  const api = await startApi(t)
  await api.initialize()
  await api.createUser('ann')
  for (const [index, url] of ['/api/v1/organization/', '/api/v1/organization'].entries()) {
    const body = { name: `org${index}`, email: 'org@example.com', unknown: 1 }
    const answer = await api.send({ method: 'POST', path: url, as: 'ann', body })
    assert.equal(answer.statusCode, 201)
    assert.equal(answer.body, '"Created"')
  }
  const view = (await api.send({ method: 'GET', path: '/api/v1/organization/org1/', as: 'ann' })).json()
  assert.equal(view.is_admin, true)
  assert.equal(view.email, 'org@example.com')
  assert.deepEqual(view.ordered_teams, ['owners'])
  assert.equal(view.teams.owners.role, 'admin')
  const me = (await api.send({ method: 'GET', path: '/api/v1/user/', as: 'ann' })).json()
  assert.deepEqual(
    me.organizations.map(({ name, is_org_admin }: { name: string; is_org_admin: boolean }) => [name, is_org_admin]),
    [
      ['org0', true],
      ['org1', true],
    ],
  )
  assert.deepEqual(api.changedOrganizations, ['org0', 'org1'])
})

test('a name is taken by an organization or a user, or is none', async (t) => {
  const api = await startWithOrganization(t)
  const create = (name: unknown, as = 'owner') =>
    api.send({ method: 'POST', path: '/api/v1/organization/', as, body: { name } })
  for (const name of ['cache', 'admin']) {
    const answer = await create(name)
    assert.equal(answer.statusCode, 400)
    assert.equal(answer.json().detail, 'A user or organization with this name already exists')
  }
  for (const name of [
    'x',
    'v2',
    'api',
    'Cache',
    'a/b',
    '../etc',
    'a\0',
    'ä'.repeat(3),
    'a'.repeat(256),
    7,
    null,
    undefined,
  ]) {
    const answer = await create(name)
    assert.equal(answer.statusCode, 400, String(name))
    assert.match(answer.json().detail, /^name: /)
  }
  const both = await Promise.all([create('twin'), create('twin', 'other')])
  assert.deepEqual(both.map(({ statusCode }) => statusCode).sort(), [201, 400])
  const email = await api.send({
    method: 'POST',
    path: '/api/v1/organization/',
    as: 'owner',
    body: { name: 'mail', email: 'no' },
  })
  assert.match(email.json().detail, /^email: /)
})

test('who may not create an organization is told so', async (t) => {
  const api = await startWithOrganization(t)
  const request = { method: 'POST', path: '/api/v1/organization/', body: { name: 'new' } } as const
  assert.equal((await api.send(request)).statusCode, 401)
  assert.equal((await api.send({ ...request, as: 'auditor' })).statusCode, 403)
})

test('the view of an organization grows from visitor to member to administrator', async (t) => {
  const api = await startWithOrganization(t)
  const keysFor = async (as?: string) => {
    const answer = await api.send({ method: 'GET', path, ...(as === undefined ? {} : { as }) })
    assert.equal(answer.statusCode, 200)
    return Object.keys(answer.json())
  }
  const visitor = ['name', 'email', 'avatar', 'is_admin', 'is_member']
  assert.deepEqual(await keysFor(), visitor)
  assert.deepEqual(await keysFor('other'), visitor)
  assert.deepEqual(await keysFor('member'), [...visitor, 'teams', 'ordered_teams', 'quotas', 'quota_report'])
  const all = await keysFor('owner')
  for (const key of [
    'tag_expiration_s',
    'invoice_email',
    'is_free_account',
    'frozen',
    'mirror_host',
    'ca_certificate',
  ]) {
    assert.ok(all.includes(key), key)
  }
  assert.deepEqual(await keysFor('admin'), all)
  assert.deepEqual(await keysFor('auditor'), all)
  assert.equal((await api.send({ method: 'GET', path: '/api/v1/organization/none' })).statusCode, 404)
  assert.equal((await api.send({ method: 'GET', path, as: 'Bearer wrong' })).statusCode, 401)
})

test('without full access a superuser is a visitor elsewhere', async (t) => {
  const api = await startApi(t, { hasSuperusersFullAccess: false, superUsers: ['ann'] })
  await api.initialize()
  for (const username of ['ann', 'owner']) await api.createUser(username)
  await api.createOrganization('cache', 'owner')
  for (const as of ['admin', 'ann']) {
    assert.equal((await api.send({ method: 'GET', path, as })).json().is_member, false)
    assert.equal((await api.send({ method: 'DELETE', path, as })).statusCode, 403)
  }
})

test('an administrator changes the policy, and only what was sent changes', async (t) => {
  const api = await startWithOrganization(t)
  const policy = {
    email: 'new@example.com',
    tag_expiration_s: 86_400,
    revalidate_after_s: 60,
    max_stale_s: 3600,
    refuse_when_denied: true,
    anonymous_pulls: true,
    frozen: true,
    passes_too_large: true,
    allowed_repositories: ['library/*', '**/debian'],
    denied_repositories: ['evil/**'],
  }
  const answer = await api.send({ method: 'PUT', path, as: 'owner', body: policy })
  assert.equal(answer.statusCode, 200)
  for (const [key, value] of Object.entries(policy)) assert.deepEqual(answer.json()[key], value, key)
  const second = await api.send({ method: 'PUT', path, as: 'owner', body: { max_stale_s: null, frozen: false } })
  assert.equal(second.json().max_stale_s, null)
  assert.equal(second.json().frozen, false)
  assert.equal(second.json().revalidate_after_s, 60)
  assert.equal((await api.send({ method: 'PUT', path, as: 'owner', body: {} })).statusCode, 200)
})

const REFUSED: readonly [string, unknown][] = [
  ['tag_expiration_s', 86_401],
  ['tag_expiration_s', '86400'],
  ['revalidate_after_s', -1],
  ['revalidate_after_s', 1.5],
  ['max_stale_s', 2 ** 31],
  ['frozen', 'yes'],
  ['anonymous_pulls', null],
  ['passes_too_large', 1],
  ['allowed_repositories', 'library'],
  ['allowed_repositories', ['{a,b}{a,b}']],
  ['denied_repositories', ['*'.repeat(20)]],
  ['denied_repositories', Array.from({ length: 101 }, () => 'a')],
  ['mirror_host', 'https://docker.io'],
  ['mirror_host', 'docker.io/library'],
  ['ca_certificate', 'nonsense'],
  ['ca_certificate', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'],
  ['email', 'a\r\nb@c'],
]

test('a field that cannot be is 400 and named, and nothing changes', async (t) => {
  const api = await startWithOrganization(t)
  const before = (await api.send({ method: 'GET', path, as: 'admin' })).json()
  for (const [field, value] of REFUSED) {
    const answer = await api.send({ method: 'PUT', path, as: 'admin', body: { frozen: true, [field]: value } })
    assert.equal(answer.statusCode, 400, `${field} ${JSON.stringify(value)}`)
    assert.ok(answer.json().detail.startsWith(field), answer.json().detail)
    assert.equal(answer.json().error_type, 'invalid_request')
  }
  assert.deepEqual((await api.send({ method: 'GET', path, as: 'admin' })).json(), before)
})

test('where the Time Machine window cannot be changed, only another one is refused', async (t) => {
  const api = await startApi(t, { canChangeTagExpiration: false })
  await api.initialize()
  await api.createOrganization('cache')
  const put = (tag_expiration_s: number) =>
    api.send({ method: 'PUT', path, as: 'admin', body: { tag_expiration_s, frozen: true } })
  const refused = await put(86_400)
  assert.equal(refused.statusCode, 400)
  assert.match(refused.json().detail, /^tag_expiration_s: /)
  assert.equal((await put(1_209_600)).json().frozen, true)
})

test('a certificate is kept, the key that came with it is refused', async (t) => {
  const api = await startWithOrganization(t)
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'ca.test' }])
  const put = (ca_certificate: string | null) =>
    api.send({ method: 'PUT', path, as: 'owner', body: { ca_certificate } })
  const leaked = await put(cert + key)
  assert.equal(leaked.statusCode, 400)
  assert.ok(!leaked.body.includes(key.slice(100, 140)))
  const kept = await put(`# our CA\n${cert}\n${cert}`)
  assert.equal(kept.json().ca_certificate.match(/BEGIN CERTIFICATE/g).length, 2)
  assert.ok(!kept.json().ca_certificate.includes('our CA'))
  assert.equal((await put(null)).json().ca_certificate, null)
})

test('only a superuser makes an organization the mirror of a host, one per host', async (t) => {
  const api = await startWithOrganization(t)
  await api.createOrganization('second')
  const put = (as: string, name: string, mirror_host: string | null) =>
    api.send({ method: 'PUT', path: `/api/v1/organization/${name}`, as, body: { mirror_host } })
  assert.equal((await put('owner', 'cache', 'docker.io')).statusCode, 403)
  const made = await put('admin', 'cache', 'docker.io')
  assert.equal(made.json().mirror_host, 'registry-1.docker.io')
  const taken = await put('admin', 'second', 'index.docker.io')
  assert.equal(taken.statusCode, 400)
  assert.match(taken.json().detail, /^mirror_host: /)
  assert.equal((await put('owner', 'cache', 'docker.io')).statusCode, 200) // Unchanged.
  assert.equal((await put('admin', 'cache', null)).json().mirror_host, null)
  assert.equal((await put('admin', 'second', 'docker.io')).statusCode, 200)
})

test('a mirror has no namespace, whichever was set first', async (t) => {
  const api = await startWithOrganization(t)
  const proxycache = `${path}/proxycache`
  const narrow = { upstream_registry: 'quay.io/team' }
  await api.send({ method: 'POST', path: proxycache, as: 'owner', body: narrow })
  const body = { mirror_host: 'quay.io' }
  assert.match((await api.send({ method: 'PUT', path, as: 'admin', body })).json().detail, /^mirror_host: /)
  await api.send({ method: 'DELETE', path: proxycache, as: 'owner' })
  assert.equal((await api.send({ method: 'PUT', path, as: 'admin', body })).statusCode, 200)
  const refused = await api.send({ method: 'POST', path: proxycache, as: 'owner', body: narrow })
  assert.equal(refused.statusCode, 400)
  assert.match(refused.json().detail, /^upstream_registry: /)
})

test('a deleted organization is gone at once and its name is free', async (t) => {
  const api = await startWithOrganization(t)
  for (const [as, status] of [
    [undefined, 401],
    ['other', 403],
    ['member', 403],
    ['auditor', 403],
    ['owner', 204],
    ['owner', 404],
  ] as const) {
    const answer = await api.send({ method: 'DELETE', path, ...(as === undefined ? {} : { as }) })
    assert.equal(answer.statusCode, status, String(as))
  }
  assert.equal((await api.send({ method: 'GET', path, as: 'owner' })).statusCode, 404)
  assert.equal((await api.send({ method: 'GET', path: '/api/v1/user/', as: 'owner' })).json().organizations.length, 0)
  assert.equal(
    (await api.send({ method: 'POST', path: '/api/v1/organization/', as: 'other', body: { name: 'cache' } }))
      .statusCode,
    201,
  )
  const again = (await api.send({ method: 'GET', path, as: 'owner' })).json()
  assert.equal(again.is_member, false)
})

test('a token does what its scopes say, and no more', async (t) => {
  const api = await startWithOrganization(t)
  const { db } = api.metadata
  const idOf = async (username: string) =>
    (await db.selectFrom('account').select('id').where('username', '=', username).executeTakeFirstOrThrow()).id
  const tokenOf = async (username: string, scope: 'org:admin' | 'super:user' | 'repo:read' | 'repo:create') =>
    `Bearer ${await api.admin.accessTokens.create(db, { accountId: await idOf(username), title: 't', scopes: [scope] })}`
  const standing = async (as: string) => {
    const { is_admin, is_member } = (await api.send({ method: 'GET', path, as })).json()
    return [is_admin, is_member]
  }
  assert.deepEqual(await standing(await tokenOf('owner', 'org:admin')), [true, true])
  assert.deepEqual(await standing(await tokenOf('owner', 'repo:create')), [false, true])
  assert.deepEqual(await standing(await tokenOf('owner', 'repo:read')), [false, false])
  assert.deepEqual(await standing(await tokenOf('other', 'org:admin')), [false, false])
  assert.deepEqual(await standing(await tokenOf('admin', 'org:admin')), [false, false])
  assert.deepEqual(await standing(await tokenOf('admin', 'super:user')), [true, true])
  const body = { username: 'eve' }
  const create = async (as: string) =>
    (await api.send({ method: 'POST', path: '/api/v1/superuser/users/', as, body })).statusCode
  assert.equal(await create(await tokenOf('admin', 'org:admin')), 403)
  assert.equal(await create(await tokenOf('owner', 'super:user')), 403)
  assert.equal(await create(await tokenOf('admin', 'super:user')), 200)
})

test('an access token ends at its time', async (t) => {
  const api = await startWithOrganization(t)
  const expiresAtMs = api.time.nowMs + 1000
  const token = await api.admin.accessTokens.create(api.metadata.db, {
    accountId: 1,
    title: 't',
    scopes: ['user:read'],
    expiresAtMs,
  })
  const me = async () => (await api.send({ method: 'GET', path: '/api/v1/user/', as: `Bearer ${token}` })).statusCode
  assert.equal(await me(), 200)
  api.time.nowMs = expiresAtMs
  assert.equal(await me(), 401)
})
