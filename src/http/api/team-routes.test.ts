import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startWithRepository } from '../../../test/api/cached-repository.ts'
import type { ApiRequest, ApiUnderTest } from '../../../test/api/start-api.ts'
import { listLogEntries } from '../../metadata/log-entries.ts'

const teams = '/api/v1/organization/cache/team'

test('a team is made, changed and deleted, and each change is in the logs', async (t) => {
  const { api, organization } = await startWithRepository(t)
  const put = (body: unknown) => api.send({ method: 'PUT', path: `${teams}/ops`, as: 'owner', body })
  const made = await put({ role: 'member', description: 'pull' })
  assert.equal(made.statusCode, 200)
  const { avatar, ...rest } = made.json()
  assert.deepEqual(rest, { name: 'ops', description: 'pull', can_view: true, role: 'member', new_team: true })
  assert.equal(avatar.kind, 'team')
  const changed = (await put({ role: 'creator' })).json()
  assert.deepEqual([changed.role, changed.description, changed.new_team], ['creator', 'pull', false])
  const view = (await api.send({ method: 'GET', path: '/api/v1/organization/cache', as: 'owner' })).json()
  assert.deepEqual(view.ordered_teams, ['owners', 'pullers', 'ops'])
  assert.equal((await remove(api, `${teams}/ops`)).statusCode, 204)
  assert.equal((await remove(api, `${teams}/ops`)).statusCode, 400, 'Quay')
  const kinds = (await listLogEntries(api.metadata.db, organization.id, { limit: 9 })).map(({ kind }) => kind)
  assert.deepEqual(kinds.toReversed().slice(-3), ['org_create_team', 'org_set_team_role', 'org_delete_team'])
})

test('the name of a team is lower-case letters and digits, and nothing that looks like them', async (t) => {
  const { api } = await startWithRepository(t)
  for (const name of ['Ops', 'a', 'ops.', 'ops..x', 'оps', 'o%20s', 'a%00b', 'a'.repeat(256), 'ops%2Fx']) {
    const path = `${teams}/${name === 'оps' ? encodeURIComponent(name) : name}`
    const answer = await api.send({ method: 'PUT', path, as: 'owner', body: { role: 'member' } })
    assert.ok([400, 404].includes(answer.statusCode), `${name}: ${answer.statusCode}`)
  }
  for (const body of [{}, { role: 'owner' }, { role: 'admin', description: 'x'.repeat(5000) }]) {
    const answer = await api.send({ method: 'PUT', path: `${teams}/ops`, as: 'owner', body })
    assert.equal(answer.statusCode, 400)
    assert.match(answer.json().detail, /^(?:role|description): /)
  }
})

test('users and robots of the organization join and leave, nobody else', async (t) => {
  const { api } = await startWithRepository(t)
  for (const name of ['cache', 'theirs']) {
    const path = `/api/v1/organization/${name}/robots/bot`
    await api.send({ method: 'PUT', path, as: name === 'cache' ? 'owner' : 'other' })
  }
  const put = (member: string) =>
    api.send({ method: 'PUT', path: `${teams}/pullers/members/${encodeURIComponent(member)}`, as: 'owner' })
  const robot = await put('cache+bot')
  assert.equal(robot.statusCode, 200)
  const { avatar, ...view } = robot.json()
  assert.deepEqual(view, { name: 'cache+bot', kind: 'user', is_robot: true, invited: false })
  assert.equal(avatar.kind, 'robot')
  assert.equal((await put('other')).json().is_robot, false)
  for (const nobody of ['theirs+bot', 'cache+none', 'nobody', 'cache', 'Member', 'a\0b']) {
    assert.equal((await put(nobody)).statusCode, 400, nobody)
  }
  const list = async (query = '', as = 'owner') =>
    api.send({ method: 'GET', path: `${teams}/pullers/members${query}`, as })
  const all = (await list()).json()
  assert.deepEqual(
    all.members.map(({ name }: { name: string }) => name),
    ['cache+bot', 'member', 'other'],
  )
  assert.deepEqual([all.name, all.can_edit, all.next_page], ['pullers', true, undefined])
  const first = (await list('?limit=2')).json()
  const rest = (await list(`?limit=2&next_page=${first.next_page}`)).json()
  assert.deepEqual(
    rest.members.map(({ name }: { name: string }) => name),
    ['other'],
  )
  assert.equal((await list('', 'member')).json().can_edit, false)
  assert.equal((await remove(api, `${teams}/pullers/members/other`)).statusCode, 204)
  assert.equal((await remove(api, `${teams}/pullers/members/other`)).statusCode, 400, 'Quay')
  assert.equal((await remove(api, `${teams}/pullers/members/nobody`)).statusCode, 404)
  assert.equal((await list('', 'other')).statusCode, 403)
})

test('the last administrator is neither removed nor demoted, by whatever way', async (t) => {
  const { api } = await startWithRepository(t)
  const ways: ApiRequest[] = [
    { method: 'DELETE', path: `${teams}/owners/members/owner` },
    { method: 'DELETE', path: `${teams}/owners` },
    { method: 'PUT', path: `${teams}/owners`, body: { role: 'member' } },
    { method: 'DELETE', path: '/api/v1/organization/cache/members/owner' },
  ]
  await api.send({ method: 'PUT', path: '/api/v1/organization/cache/robots/bot', as: 'owner' })
  // A robot cannot administer.
  await api.send({ method: 'PUT', path: `${teams}/owners/members/cache%2Bbot`, as: 'owner' })
  for (const way of ways) {
    const answer = await api.send({ ...way, as: 'admin' })
    assert.equal(answer.statusCode, 400, `${way.method} ${way.path}`)
    assert.match(answer.json().detail, /left without an administrator/)
  }
  const add = { method: 'PUT', path: `${teams}/owners/members/member`, as: 'owner' } as const
  assert.equal((await api.send(add)).statusCode, 200)
  const both = await Promise.all(
    ['owner', 'member'].map((name) => remove(api, `${teams}/owners/members/${name}`, 'admin')),
  )
  assert.deepEqual(both.map(({ statusCode }) => statusCode).sort(), [204, 400])
})

test('a member does not make themselves an administrator, nor does one of another organization', async (t) => {
  const { api } = await startWithRepository(t)
  const tries: ApiRequest[] = [
    { method: 'PUT', path: `${teams}/owners/members/member` },
    { method: 'PUT', path: `${teams}/pullers`, body: { role: 'admin' } },
    { method: 'PUT', path: `${teams}/mine`, body: { role: 'admin' } },
    { method: 'DELETE', path: `${teams}/owners/members/owner` },
    { method: 'PUT', path: '/api/v1/organization/cache/robots/mine' },
    { method: 'DELETE', path: '/api/v1/organization/cache/members/owner' },
    { method: 'POST', path: '/api/v1/organization/cache/prototypes', body: prototypeFor('member') },
    { method: 'PUT', path: '/api/v1/repository/cache/app/web/permissions/user/member', body: { role: 'admin' } },
  ]
  for (const request of tries) {
    for (const as of ['member', 'other', 'auditor']) {
      const answer = await api.send({ ...request, as })
      assert.ok([403, 404].includes(answer.statusCode), `${as} ${request.path}: ${answer.statusCode}`)
    }
    assert.equal((await api.send(request)).statusCode, 401)
  }
})

test('members and collaborators are told apart, and a member leaves with all they had', async (t) => {
  const { api } = await startWithRepository(t)
  const base = '/api/v1/organization/cache'
  const grant = (name: string) =>
    api.send({
      ...{ method: 'PUT', path: `/api/v1/repository/cache/app/web/permissions/user/${name}`, as: 'owner' },
      body: { role: 'read' },
    })
  for (const name of ['member', 'other']) assert.equal((await grant(name)).statusCode, 200)
  const get = async (path: string, as = 'owner') => api.send({ method: 'GET', path: `${base}${path}`, as })
  const { members } = (await get('/members')).json()
  assert.deepEqual(
    members.map(({ name, kind, teams: of, repositories }: Record<string, unknown> & { teams: { name: string }[] }) => [
      ...[name, kind, of.map((team) => team.name), repositories],
    ]),
    [
      ['member', 'user', ['pullers'], ['app/web']],
      ['owner', 'user', ['owners'], []],
    ],
  )
  const { collaborators } = (await get('/collaborators')).json()
  assert.deepEqual(
    collaborators.map(({ name, repositories }: Record<string, unknown>) => [name, repositories]),
    [['other', ['app/web']]],
  )
  assert.equal((await get('/members/other')).statusCode, 404)
  assert.equal((await get('/members', 'member')).statusCode, 403)
  assert.equal((await get('/members', 'auditor')).statusCode, 200)
  assert.equal((await remove(api, `${base}/members/member`)).statusCode, 204)
  assert.equal((await get('/members/member')).statusCode, 404)
  const principal = await principalOf(api, 'member')
  assert.equal(await api.admin.permission.canPull(principal, 'cache', 'app/web'), false)
  assert.equal((await remove(api, `${base}/members/nobody`)).statusCode, 404)
})

test('default permissions are listed, changed and deleted, for whom there is', async (t) => {
  const { api } = await startWithRepository(t)
  const path = '/api/v1/organization/cache/prototypes'
  await api.send({
    method: 'PUT',
    path: '/api/v1/organization/theirs/team/foreign',
    as: 'other',
    body: { role: 'member' },
  })
  const create = (body: unknown) => api.send({ method: 'POST', path, as: 'owner', body })
  const made = await create({ ...prototypeFor('other'), activating_user: { name: 'owner' } })
  assert.equal(made.statusCode, 200)
  const { id, role, delegate, activating_user: activating } = made.json()
  assert.deepEqual([role, delegate.name, delegate.is_org_member], ['read', 'other', false])
  assert.deepEqual([activating.name, activating.is_org_member], ['owner', true])
  for (const bad of [
    prototypeFor('nobody'),
    { role: 'read', delegate: { name: 'foreign', kind: 'team' } },
    { role: 'read' },
  ]) {
    assert.equal((await create(bad)).statusCode, 400)
  }
  const update = (uuid: string, of = 'cache', as = 'owner') =>
    api.send({ method: 'PUT', path: `/api/v1/organization/${of}/prototypes/${uuid}`, as, body: { role: 'write' } })
  assert.equal((await update(id)).json().role, 'write')
  assert.equal((await update(id, 'theirs', 'other')).statusCode, 404, 'of another organization')
  assert.equal((await update('x')).statusCode, 404)
  const list = (await api.send({ method: 'GET', path, as: 'owner' })).json()
  assert.deepEqual(
    list.prototypes.map((prototype: { id: string }) => prototype.id),
    [id],
  )
  assert.equal((await remove(api, `${path}/${id}`)).statusCode, 204)
  assert.equal((await remove(api, `${path}/${id}`)).statusCode, 404)
})

function remove(api: ApiUnderTest, path: string, as = 'owner') {
  return api.send({ method: 'DELETE', path, as })
}

function prototypeFor(name: string) {
  return { role: 'read', delegate: { name, kind: 'user' } }
}

async function principalOf(api: ApiUnderTest, username: string) {
  const { id } = await api.metadata.db
    .selectFrom('account')
    .select('id')
    .where('username', '=', username)
    .executeTakeFirstOrThrow()
  return { kind: 'account', accountId: id, username } as const
}
