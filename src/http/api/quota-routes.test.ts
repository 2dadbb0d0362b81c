import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ApiUnderTest, startApi } from '../../../test/api/start-api.ts'
import { listLogEntries } from '../../metadata/log-entries.ts'
import { listNotifications } from '../../metadata/notifications.ts'
import { addTeamMember, createTeam } from '../../metadata/teams.ts'

const path = '/api/v1/organization/cache/quota'
const superuserPath = '/api/v1/superuser/organization/cache/quota'
const GiB = 2 ** 30

type Settings = Parameters<typeof startApi>[1]
type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

async function startWithOrganization(
  t: Parameters<typeof startApi>[0],
  settings: Settings = {},
): Promise<ApiUnderTest> {
  const api = await startApi(t, { superUsers: ['ann'], ...settings })
  await api.initialize()
  for (const username of ['ann', 'owner', 'member', 'other', 'auditor']) await api.createUser(username)
  await api.createOrganization('cache', 'owner')
  const { db } = api.metadata
  const { id: organizationId } = await api.admin.organizations.find('cache')
  const row = db.selectFrom('account').select('id').where('username', '=', 'member')
  const team = await createTeam(db, { organizationId, name: 'readers', role: 'member', nowMs: 0 })
  await addTeamMember(db, team.id, (await row.executeTakeFirstOrThrow()).id)
  api.admin.epoch.advance()
  return api
}

async function idOf(api: ApiUnderTest): Promise<number> {
  return (await api.admin.organizations.find('cache')).id
}

async function setCharge(api: ApiUnderTest, bytes: number): Promise<void> {
  const id = await idOf(api)
  await api.metadata.db.updateTable('usage').set({ charge_bytes: bytes }).where('organization_id', '=', id).execute()
}

function ask(api: ApiUnderTest, method: Method, url: string, body?: unknown, as: string | undefined = 'admin') {
  const sent = body === undefined ? {} : { body }
  return api.send({ method, path: url, ...sent, ...(as === 'nobody' ? {} : { as }) })
}

/** A quota of 10 GiB with a Warning at 80 %, and where both are. */
async function withQuota(api: ApiUnderTest): Promise<{ quota: string; limit: string }> {
  assert.equal((await ask(api, 'POST', path, { limit: '10 GiB' })).statusCode, 201)
  const quota = `${path}/${(await ask(api, 'GET', path)).json()[0].id}`
  assert.equal((await ask(api, 'POST', `${quota}/limit`, { type: 'Warning', threshold_percent: 80 })).statusCode, 201)
  return { quota, limit: `${quota}/limit/${(await ask(api, 'GET', `${quota}/limit`)).json()[0].id}` }
}

test("a quota is set, read, changed and deleted with Quay's statuses and bodies", async (t) => {
  const api = await startWithOrganization(t)
  assert.deepEqual((await ask(api, 'GET', path)).json(), [])
  const made = await ask(api, 'POST', path, { limit_bytes: 150_000_000, unknown: 1 })
  assert.deepEqual([made.statusCode, made.body], [201, '"Created"'])
  const [view] = (await ask(api, 'GET', path, undefined, 'member')).json()
  assert.deepEqual(view, {
    id: view.id,
    limit_bytes: 150_000_000,
    limit: '143.1 MiB',
    default_config: false,
    default_config_exists: false,
    limits: [],
    over_bytes: 0,
  })
  const again = await ask(api, 'POST', path, { limit: '1 GiB' })
  assert.deepEqual([again.statusCode, again.json().detail], [400, "Organization quota for 'cache' already exists"])
  const quota = `${path}/${view.id}`
  assert.deepEqual((await ask(api, 'GET', quota)).json(), view)
  const changed = await ask(api, 'PUT', quota, { limit: '10 GiB' })
  assert.deepEqual([changed.statusCode, changed.json().limit_bytes, changed.json().limit], [200, 10 * GiB, '10.0 GiB'])
  assert.equal((await ask(api, 'PUT', quota, {})).json().limit_bytes, 10 * GiB)
  const gone = await ask(api, 'DELETE', quota)
  assert.deepEqual([gone.statusCode, gone.body], [204, ''])
  for (const method of ['GET', 'DELETE'] as const) assert.equal((await ask(api, method, quota)).statusCode, 404)
  assert.equal((await ask(api, 'PUT', quota, { limit: '1 GiB' })).statusCode, 404)
  const id = await idOf(api)
  assert.deepEqual(api.changedLimits, [id, id, id])
})

test("limits of a quota are set, read, changed and deleted with Quay's statuses and bodies", async (t) => {
  const api = await startWithOrganization(t)
  const { quota, limit } = await withQuota(api)
  const id = Number(limit.split('/').at(-1))
  const view = { id, type: 'Warning', limit_percent: 80 }
  assert.deepEqual((await ask(api, 'GET', `${quota}/limit`, undefined, 'member')).json(), [view])
  assert.deepEqual((await ask(api, 'GET', limit, undefined, 'member')).json(), view)
  const same = await ask(api, 'POST', `${quota}/limit`, { type: 'Warning', threshold_percent: 80 })
  assert.deepEqual([same.statusCode, same.json().detail], [400, 'Quota limit already exists'])
  const reject = await ask(api, 'POST', `${quota}/limit`, { type: 'Reject', threshold_percent: 80 })
  assert.equal(reject.body, '"Created"')
  const twin = await ask(api, 'PUT', limit, { type: 'Reject' })
  assert.deepEqual([twin.statusCode, twin.json().detail], [400, 'Quota limit already exists'])
  const changed = await ask(api, 'PUT', limit, { threshold_percent: 90 })
  assert.equal(changed.statusCode, 200)
  assert.deepEqual(changed.json().limits[0], { ...view, limit_percent: 90 })
  assert.equal((await ask(api, 'DELETE', limit)).statusCode, 204)
  for (const method of ['GET', 'DELETE'] as const) assert.equal((await ask(api, method, limit)).statusCode, 404)
  assert.equal((await ask(api, 'PUT', limit, {})).statusCode, 404)
  assert.equal((await ask(api, 'GET', quota)).json().limits.length, 1)
})

const EVERYONE = ['nobody', 'other', 'member', 'owner', 'auditor', 'ann', 'admin']

async function statuses(api: ApiUnderTest, method: Method, url: string, body?: unknown): Promise<number[]> {
  const answers: number[] = []
  for (const as of EVERYONE) answers.push((await ask(api, method, url, body, as)).statusCode)
  return answers
}

test('members read a quota, superusers change it', async (t) => {
  const api = await startWithOrganization(t)
  const { quota, limit } = await withQuota(api)
  const reads = [401, 403, 200, 200, 200, 200, 200]
  for (const url of [path, quota, `${quota}/limit`, limit])
    assert.deepEqual(await statuses(api, 'GET', url), reads, url)
  const writes = [401, 403, 403, 403, 403, 200, 200]
  assert.deepEqual(await statuses(api, 'PUT', quota, { limit: '1 GiB' }), writes)
  assert.deepEqual(await statuses(api, 'PUT', limit, { threshold_percent: 7 }), writes)
  const refused = [401, 403, 403, 403, 403, 400, 400]
  assert.deepEqual(await statuses(api, 'POST', path, { limit: '1 GiB' }), refused)
  assert.deepEqual(await statuses(api, 'POST', `${quota}/limit`, { type: 'Warning', threshold_percent: 7 }), refused)
  for (const url of [limit, quota])
    assert.deepEqual(await statuses(api, 'DELETE', url), [401, 403, 403, 403, 403, 204, 404])
  const reader = [401, 403, 403, 403, 200, 200, 200]
  assert.deepEqual(await statuses(api, 'GET', superuserPath), reader)
  assert.deepEqual(await statuses(api, 'POST', superuserPath, { limit: '1 GiB' }), [401, 403, 403, 403, 403, 201, 400])
  assert.equal((await ask(api, 'GET', '/api/v1/organization/none/quota')).statusCode, 404)
  assert.equal((await ask(api, 'POST', '/api/v1/superuser/organization/none/quota', { limit: '1 B' })).statusCode, 404)
})

test('without full access superusers set quotas at their own door only', async (t) => {
  const api = await startWithOrganization(t, { hasSuperusersFullAccess: false })
  assert.deepEqual(await statuses(api, 'GET', path), [401, 403, 200, 200, 200, 403, 403])
  assert.deepEqual(await statuses(api, 'POST', path, { limit: '1 GiB' }), [401, 403, 403, 403, 403, 403, 403])
  assert.deepEqual(await statuses(api, 'POST', superuserPath, { limit: '1 GiB' }), [401, 403, 403, 403, 403, 201, 400])
  const url = `${superuserPath}/${(await ask(api, 'GET', superuserPath)).json()[0].id}`
  assert.deepEqual(await statuses(api, 'PUT', url, { limit: '2 GiB' }), [401, 403, 403, 403, 403, 200, 200])
  assert.deepEqual(await statuses(api, 'DELETE', url), [401, 403, 403, 403, 403, 204, 404])
})

test('administrators of an organization set its quota where the operator allows it, and no other', async (t) => {
  const api = await startWithOrganization(t, { mayOrganizationAdminsEditQuota: true })
  await api.createOrganization('another')
  assert.deepEqual(await statuses(api, 'POST', path, { limit: '1 GiB' }), [401, 403, 403, 201, 403, 400, 400])
  const id = (await ask(api, 'GET', path)).json()[0].id
  const elsewhere = '/api/v1/organization/another/quota'
  assert.equal((await ask(api, 'POST', elsewhere, { limit: '1 GiB' }, 'owner')).statusCode, 403)
  await ask(api, 'POST', elsewhere, { limit: '1 GiB' })
  const theirs = (await ask(api, 'GET', elsewhere)).json()[0].id
  for (const method of ['GET', 'DELETE'] as const) {
    assert.equal((await ask(api, method, `${path}/${theirs}`, undefined, 'owner')).statusCode, 404)
    assert.equal((await ask(api, method, `${elsewhere}/${id}`, undefined, 'owner')).statusCode, 403)
  }
  assert.equal((await ask(api, 'PUT', `${path}/${theirs}`, { limit: '1 B' }, 'owner')).statusCode, 404)
  assert.equal((await ask(api, 'GET', `${elsewhere}/${theirs}`)).json().limit_bytes, GiB)
})

test('a token without the scope of superusers changes no quota', async (t) => {
  const api = await startApi(t)
  const token = await api.initialize()
  await api.createOrganization('cache')
  const as = `Bearer ${token}`
  assert.equal((await ask(api, 'POST', path, { limit: '1 GiB' }, as)).statusCode, 201)
  await api.metadata.db.updateTable('access_token').set({ scope: 'org:admin repo:admin user:admin' }).execute()
  api.admin.epoch.advance()
  const [{ id }] = (await ask(api, 'GET', path, undefined, as)).json()
  assert.equal((await ask(api, 'DELETE', `${path}/${id}`, undefined, as)).statusCode, 403)
  assert.equal((await ask(api, 'GET', superuserPath, undefined, as)).statusCode, 403)
})

const REFUSED_QUOTAS: readonly [string, unknown][] = [
  ['limit_bytes', {}],
  ['limit_bytes', { limit_bytes: 0 }],
  ['limit_bytes', { limit_bytes: -1 }],
  ['limit_bytes', { limit_bytes: 1.5 }],
  ['limit_bytes', { limit_bytes: 2 ** 53 }],
  ['limit_bytes', { limit_bytes: 1e300 }],
  ['limit_bytes', { limit_bytes: '1000' }],
  ['limit_bytes', { limit_bytes: null }],
  ['limit_bytes', { limit_bytes: true }],
  ['limit_bytes', { limit_bytes: [1] }],
  ['limit_bytes', { limit_bytes: 1000, limit: '1 GiB' }],
  ['limit', { limit: '' }],
  ['limit', { limit: '0 GiB' }],
  ['limit', { limit: '-1 GiB' }],
  ['limit', { limit: '10' }],
  ['limit', { limit: '10 furlongs' }],
  ['limit', { limit: '10 gib' }],
  ['limit', { limit: '0.1 KiB' }],
  ['limit', { limit: '1e3 GiB' }],
  ['limit', { limit: '8 PiB' }],
  ['limit', { limit: 10 }],
  ['limit', { limit: '1'.repeat(1000) }],
  ['body', '10 GiB'],
  ['body', []],
]

const REFUSED_LIMITS: readonly [string, unknown][] = [
  ['type', { threshold_percent: 80 }],
  ['type', { type: 'warning', threshold_percent: 80 }],
  ['type', { type: 'Other', threshold_percent: 80 }],
  ['type', { type: null, threshold_percent: 80 }],
  ['threshold_percent', { type: 'Reject' }],
  ['threshold_percent', { type: 'Reject', limit_percent: 80 }],
  ...[0, 101, -1, 50.5, '80', null, 2 ** 60].map((percent): [string, unknown] => [
    'threshold_percent',
    { type: 'Reject', threshold_percent: percent },
  ]),
]

test('what no quota can be is 400, names the field, and changes nothing', async (t) => {
  const api = await startWithOrganization(t)
  const refuse = async (method: Method, url: string, rows: readonly [string, unknown][]) => {
    for (const [field, body] of rows) {
      const answer = await ask(api, method, url, body)
      const shown = `${method} ${JSON.stringify(body).slice(0, 80)}`
      assert.equal(answer.statusCode, 400, shown)
      assert.match(answer.json().detail, new RegExp(`^${field}: `), shown)
      if (field.startsWith('limit') && method === 'POST') assert.match(answer.json().detail, /10 GiB|not both/, shown)
    }
  }
  await refuse('POST', path, REFUSED_QUOTAS)
  assert.deepEqual((await ask(api, 'GET', path)).json(), [])
  const { quota, limit } = await withQuota(api)
  const before = (await ask(api, 'GET', quota)).json()
  const told = api.changedLimits.length
  await refuse('PUT', quota, REFUSED_QUOTAS.slice(1))
  await refuse('POST', `${quota}/limit`, REFUSED_LIMITS)
  await refuse(
    'PUT',
    limit,
    REFUSED_LIMITS.filter(([, body]) => Object.values(body as object).includes(null)),
  )
  for (const id of ['0', '-1', '1e9', '9'.repeat(40), 'x', "1' or 1=1", '%00', '01']) {
    assert.equal((await ask(api, 'GET', `${path}/${id}`)).statusCode, 404, id)
    assert.equal((await ask(api, 'DELETE', `${quota}/limit/${id}`)).statusCode, 404, id)
  }
  assert.deepEqual((await ask(api, 'GET', quota)).json(), before)
  assert.equal(api.changedLimits.length, told)
})

test('every change is written down with who made it and from where', async (t) => {
  const api = await startWithOrganization(t)
  const { quota, limit } = await withQuota(api)
  await ask(api, 'PUT', limit, { type: 'Reject' })
  await ask(api, 'PUT', limit, {})
  await ask(api, 'DELETE', limit)
  await ask(api, 'PUT', quota, { limit: '1 GiB' })
  await ask(api, 'DELETE', quota.replace(path, superuserPath))
  const entries = await listLogEntries(api.metadata.db, await idOf(api), { limit: 100 })
  const namespace = 'cache'
  assert.deepEqual(
    entries.toReversed().map(({ kind, metadata }) => [kind, metadata]),
    [
      ['org_create_quota', { namespace, limit_bytes: 10 * GiB }],
      ['org_create_quota_limit', { namespace, type: 'Warning', threshold_percent: 80 }],
      [
        'org_change_quota_limit',
        {
          namespace,
          type: 'Reject',
          threshold_percent: 80,
          previous_type: 'Warning',
          previous_threshold_percent: 80,
        },
      ],
      ['org_delete_quota_limit', { namespace, type: 'Reject', threshold_percent: 80 }],
      ['org_change_quota', { namespace, limit_bytes: GiB, previous_limit_bytes: 10 * GiB }],
      ['org_delete_quota', { namespace, limit_bytes: GiB }],
    ],
  )
  for (const { accountId, address } of entries) {
    assert.ok(accountId !== undefined)
    assert.equal(address, '127.0.0.1')
  }
})

test('views say what is charged and by how much it is over, and a threshold set below it is told at once', async (t) => {
  const api = await startWithOrganization(t)
  const { quota } = await withQuota(api)
  await setCharge(api, 9 * GiB)
  await ask(api, 'POST', `${quota}/limit`, { type: 'Reject', threshold_percent: 50 })
  assert.equal((await ask(api, 'GET', quota)).json().over_bytes, 4 * GiB)
  const seen = await ask(api, 'GET', '/api/v1/organization/cache', undefined, 'member')
  const { quotas, quota_report: report } = seen.json()
  assert.deepEqual(report, {
    quota_bytes: 9 * GiB,
    configured_quota: 10 * GiB,
    running_backfill: 'complete',
    backfill_status: 'complete',
    over_bytes: 4 * GiB,
  })
  assert.deepEqual(Object.keys(quotas[0]), ['id', 'limit_bytes', 'limits'])
  const stranger = (await ask(api, 'GET', '/api/v1/organization/cache', undefined, 'other')).json()
  assert.ok(!('quotas' in stranger) && !('quota_report' in stranger))
  const notifications = await listNotifications(api.metadata.db, await idOf(api), 10)
  assert.deepEqual(
    notifications.map(({ kind, metadata: { threshold_percent } }) => [kind, threshold_percent]),
    [['quota_warning', 80]],
  )
})

test("without a quota the system's default is shown, and is nobody's to change", async (t) => {
  const api = await startWithOrganization(t, { systemRejectBytes: GiB })
  await setCharge(api, GiB + 1)
  const expected = {
    id: null,
    limit_bytes: GiB,
    limit: '1.0 GiB',
    default_config: true,
    default_config_exists: true,
    limits: [],
    over_bytes: 1,
  }
  assert.deepEqual((await ask(api, 'GET', path)).json(), [expected])
  assert.equal((await ask(api, 'GET', `${path}/null`)).statusCode, 404)
  assert.equal((await ask(api, 'DELETE', `${path}/null`)).statusCode, 404)
  const organization = (await ask(api, 'GET', '/api/v1/organization/cache')).json()
  assert.equal(organization.quota_report.configured_quota, GiB)
  await ask(api, 'POST', path, { limit: '5 GiB' })
  const [own] = (await ask(api, 'GET', path)).json()
  assert.deepEqual([own.default_config, own.default_config_exists, own.limit_bytes], [false, true, 5 * GiB])
})

test('with quotas off their paths are unknown, and views have nothing of them', async (t) => {
  const api = await startWithOrganization(t, { hasQuotaManagement: false, systemRejectBytes: 1 })
  for (const url of [path, superuserPath, '/api/v1/user/quota', '/api/v1/superuser/registrysize/']) {
    assert.equal((await ask(api, 'GET', url)).statusCode, 404, url)
    assert.equal((await ask(api, 'POST', url, { limit: '1 GiB' })).statusCode, 404, url)
  }
  const view = (await ask(api, 'GET', '/api/v1/organization/cache')).json()
  assert.ok(!('quotas' in view) && !('quota_report' in view))
})

test('where quotas cannot be edited they can still be read', async (t) => {
  const api = await startWithOrganization(t, { canEditQuota: false })
  assert.equal((await ask(api, 'GET', path)).statusCode, 200)
  const refused = await ask(api, 'POST', path, { limit: '1 GiB' })
  assert.deepEqual([refused.statusCode, refused.headers['allow']], [405, 'GET, HEAD'])
  assert.equal((await ask(api, 'POST', superuserPath, { limit: '1 GiB' })).statusCode, 405)
})

test('users hold no storage, so they have no quota and can be given none', async (t) => {
  const api = await startWithOrganization(t)
  const own = await ask(api, 'GET', '/api/v1/user/quota', undefined, 'other')
  assert.deepEqual([own.statusCode, own.json()], [200, []])
  assert.equal((await ask(api, 'GET', '/api/v1/user/quota', undefined, 'nobody')).statusCode, 401)
  for (const url of ['/user/quota/1', '/user/quota/1/limit', '/user/quota/1/limit/1']) {
    assert.equal((await ask(api, 'GET', `/api/v1${url}`, undefined, 'other')).statusCode, 404)
  }
  const users = '/api/v1/superuser/users'
  assert.deepEqual(await statuses(api, 'GET', `${users}/other/quota`), [401, 403, 403, 403, 200, 200, 200])
  assert.deepEqual((await ask(api, 'GET', `${users}/other/quota`)).json(), [])
  const given = await ask(api, 'POST', `${users}/other/quota`, { limit: '1 GiB' })
  assert.equal(given.statusCode, 400)
  assert.match(given.json().detail, /^only organizations hold storage/)
  assert.equal((await ask(api, 'POST', `${users}/other/quota`, {}, 'auditor')).statusCode, 403)
  assert.equal((await ask(api, 'POST', `${users}/nobody-here/quota`, { limit: '1 GiB' })).statusCode, 404)
  assert.equal((await ask(api, 'GET', `${users}/nobody-here/quota`)).statusCode, 404)
  assert.equal((await ask(api, 'PUT', `${users}/other/quota/1`, { limit: '1 GiB' })).statusCode, 404)
})

test('superusers are told the size of the whole store', async (t) => {
  const api = await startWithOrganization(t)
  await api.metadata.db.updateTable('store_usage').set({ blob_bytes: 12_345 }).execute()
  const url = '/api/v1/superuser/registrysize/'
  const size = { size_bytes: 12_345, last_ran: api.time.nowMs, queued: false, running: false }
  assert.deepEqual((await ask(api, 'GET', url)).json(), size)
  assert.deepEqual(await statuses(api, 'GET', url), [401, 403, 403, 403, 200, 200, 200])
  assert.deepEqual(await statuses(api, 'POST', url), [401, 403, 403, 403, 403, 201, 201])
})

test('of two who set a quota at once one is told that there is one', async (t) => {
  const api = await startWithOrganization(t)
  const answers = await Promise.all([1, 2].map((size) => ask(api, 'POST', path, { limit_bytes: size })))
  assert.deepEqual(answers.map(({ statusCode }) => statusCode).sort(), [201, 400])
})
