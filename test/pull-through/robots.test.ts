/** DESIGN part 6 at the door of the registry: robots that pull, and rights that end while they do. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { blob, image } from '../fakes/content.ts'
import type { TestLife } from '../fakes/fake-upstream.ts'
import { Valve } from '../fakes/gate.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import type { Cache } from './cache.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const layer = blob('layer', 4 * 1024 * 1024)
const v1 = image({ seed: 'v1', layers: [layer] })
const v2 = image({ seed: 'v2' })

type PullingRobot = { cache: Cache; robot: Cache; path: string; name: string; bearer: () => Promise<string> }

/** A robot without any right. */
async function startRobot(life: TestLife, options: Parameters<Entrepot['cache']>[2] = {}): Promise<PullingRobot> {
  const cache = await entrepot.cache(life, { app: { v1, v2 }, other: { v1 } }, options)
  const path = `/api/v1/organization/${cache.organization}`
  const made = await entrepot.must('PUT', `${path}/robots/bot`, {})
  const { name, token } = JSON.parse(made.body.toString())
  const robot = cache.as({ username: name, password: token })
  const bearer = async () => {
    const scope = `repository:${cache.organization}/app:pull`
    const answer = await robot.client.get(`/v2/auth?scope=${scope}`)
    return `Bearer ${JSON.parse(answer.body.toString()).token}`
  }
  return { cache, robot, path, name, bearer }
}

async function join({ path, name }: PullingRobot): Promise<void> {
  await entrepot.must('PUT', `${path}/team/owners/members/${encodeURIComponent(name)}`, {})
}

function grant({ cache, name }: PullingRobot, repository: string) {
  const path = `/api/v1/repository/${cache.organization}/${repository}/permissions/user/${encodeURIComponent(name)}`
  return entrepot.must('PUT', path, { role: 'read' })
}

test('a robot in a team pulls through like a member, with its token and by Bearer', async (t) => {
  const pulling = await startRobot(t)
  assertRefused(await pulling.robot.get('app/manifests/v1'), 403, 'DENIED')
  await join(pulling)
  assertServed(await pulling.robot.get('app/manifests/v1'), { outcome: 'miss', bytes: v1.bytes })
  const authorization = await pulling.bearer()
  assertServed(await pulling.cache.send('app/manifests/v2', { authorization }), { outcome: 'miss', bytes: v2.bytes })
})

test('a permission opens one repository, hot and cold, and no other', async (t) => {
  const pulling = await startRobot(t)
  const { cache, robot } = pulling
  for (const name of ['app', 'other']) await cache.get(`${name}/manifests/v1`)
  assertRefused(await robot.get('app/manifests/v1'), 403, 'DENIED')
  await grant(pulling, 'app')
  for (let pull = 0; pull < 3; pull++) {
    assertServed(await robot.get('app/manifests/v1'), { outcome: 'revalidated', bytes: v1.bytes })
    assertServed(await robot.get(`app/manifests/${v1.digest}`), { bytes: v1.bytes })
  }
  assertServed(await robot.get('app/manifests/v2'), { outcome: 'miss', bytes: v2.bytes })
  assertRefused(await robot.get('other/manifests/v1'), 403, 'DENIED')
  assertRefused(await robot.get(`other/manifests/${v1.digest}`), 403, 'DENIED')
})

test('whoever loses a right in the middle of a pull ends that transfer and gets no other', async (t) => {
  const endings: [string, (pulling: PullingRobot) => Promise<unknown>][] = [
    ['removed from the team', ({ path, name }) => remove(`${path}/team/owners/members/${encodeURIComponent(name)}`)],
    ['a new token', ({ path }) => entrepot.must('POST', `${path}/robots/bot/regenerate`, {})],
    ['the robot is deleted', ({ path }) => remove(`${path}/robots/bot`)],
    ['the organization is deleted', ({ path }) => remove(path)],
  ]
  for (const [title, end] of endings) {
    const pulling = await startRobot(t)
    const { cache, robot } = pulling
    await join(pulling)
    const authorization = await pulling.bearer()
    assertServed(await cache.send('app/manifests/v1', { authorization }), { bytes: v1.bytes })
    const valve = new Valve()
    cache.upstream.quirk('GET */blobs/*', { valve })
    valve.allow(100_000)
    const running = await cache.open(`app/blobs/${layer.digest}`, { authorization })
    await running.read(1)
    await end(pulling)
    for (const path of ['app/manifests/v1', `app/manifests/${v1.digest}`, `app/blobs/${layer.digest}`]) {
      for (const answer of [await cache.send(path, { authorization }), await robot.get(path)]) {
        assert.ok([401, 403, 404].includes(answer.status), `${title}: ${path}: ${answer.status}`)
        assert.equal(answer.body.includes(layer.bytes.subarray(0, 100)), false)
      }
    }
    valve.open()
    await running.rest()
  }
})

test('a renamed organization is pulled under its new name at once, from what is kept, and not under the old', async (t) => {
  const pulling = await startRobot(t)
  const { cache, path } = pulling
  await join(pulling)
  assertServed(await pulling.robot.get('app/manifests/v1'), { outcome: 'miss', bytes: v1.bytes })
  const authorization = await pulling.bearer()
  const name = `renamed-${cache.organization}`
  await entrepot.must('PUT', `/api/v1/superuser/organizations/${cache.organization}`, { name })
  await cache.upstream.refuse()
  const { robots } = JSON.parse(
    (await entrepot.api('GET', `${path.replace(cache.organization, name)}/robots`)).body.toString(),
  )
  const login = { username: robots[0].name, password: robots[0].token }
  assert.equal(login.username, `${name}+bot`)
  const answer = await entrepot.client(login).get(`/v2/${name}/app/manifests/v1`)
  assertServed(answer, { outcome: 'stale', bytes: v1.bytes })
  for (const refused of [
    await cache.send('app/manifests/v1', { authorization }),
    await pulling.robot.get('app/manifests/v1'),
    await cache.get('app/manifests/v1'),
  ]) {
    assert.ok([401, 403, 404].includes(refused.status), String(refused.status))
  }
  await entrepot.must('POST', '/api/v1/organization/', { name: cache.organization })
})

async function remove(path: string): Promise<void> {
  assert.equal((await entrepot.api('DELETE', path)).status, 204, path)
}
