/** The policy of an organization: frozen, allowed and denied repositories. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { image } from '../fakes/content.ts'
import { assertRefused, assertServed } from './assert-answer.ts'
import { eventually } from './eventually.ts'
import { type Entrepot, startEntrepot } from './start-entrepot.ts'

let entrepot: Entrepot
before(async () => {
  entrepot = await startEntrepot()
})
after(() => entrepot.stop())

const v1 = image({ seed: 'v1' })
const v2 = image({ seed: 'v2' })

test('frozen: only what is cached is served, and the upstream is not asked', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1, v2 } })
  const [first = '', second = ''] = [v1, v2].map((content) => `app/blobs/${content.layers[0]?.digest}`)
  await cache.get('app/manifests/v1')
  await cache.get(first)
  await eventually(async () =>
    assertServed(await cache.get(first), { outcome: 'hit', bytes: v1.layers[0]?.bytes ?? v1.bytes }),
  )
  await cache.upstream.transcript.until(({ entries }) => entries.length === 3 && entries.every((entry) => entry.isOver))
  await cache.setPolicy({ frozen: true })
  cache.upstream.transcript.take()
  assert.ok((await cache.get('app/manifests/v1')).body.equals(v1.bytes))
  assert.ok((await cache.get(first)).body.equals(v1.layers[0]?.bytes ?? v1.bytes))
  for (const path of ['app/manifests/v2', `app/manifests/${v2.digest}`, second, 'other/manifests/v1']) {
    const answer = await cache.get(path)
    assert.ok(answer.status === 403 || answer.status === 404, `${path}: ${answer.status}`)
    assert.ok([403, 404].includes((await cache.head(path)).status))
  }
  assert.deepEqual(JSON.parse((await cache.get('app/tags/list')).body.toString()).tags, ['v1'])
  assert.deepEqual(cache.upstream.transcript.take(), [])
  await cache.setPolicy({ frozen: false })
  assertServed(await cache.get('app/manifests/v2'), { outcome: 'miss', bytes: v2.bytes })
})

test('denied and not allowed repositories are refused before the upstream is asked, naming the rule', async (t) => {
  const policy = { allowed_repositories: ['team/*', 'base'], denied_repositories: ['team/secret*'] }
  const repositories = { 'team/web': { v1 }, base: { v1 }, 'team/secret-1': { v1 }, other: { v1 } }
  const cache = await entrepot.cache(t, repositories, { policy })
  for (const allowed of ['team/web', 'base']) {
    assertServed(await cache.get(`${allowed}/manifests/v1`), { outcome: 'miss', bytes: v1.bytes })
  }
  cache.upstream.transcript.take()
  for (const end of [
    'manifests/v1',
    `manifests/${v1.digest}`,
    `blobs/${v1.layers[0]?.digest}`,
    'tags/list',
    `referrers/${v1.digest}`,
  ]) {
    assertRefused(await cache.get(`team/secret-1/${end}`), 403, 'DENIED', /team\/secret\*/)
    assertRefused(await cache.get(`other/${end}`), 403, 'DENIED', /allowed_repositories|allowed repositories/)
    assert.equal((await cache.head(`other/${end}`)).status, 403)
  }
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('a rule that is added later holds for what is cached too', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } }, { policy: { revalidate_after_s: 3600 } })
  await cache.get('app/manifests/v1')
  await cache.setPolicy({ denied_repositories: ['app'] })
  assertRefused(await cache.get('app/manifests/v1'), 403, 'DENIED')
  assertRefused(await cache.get(`app/manifests/${v1.digest}`), 403, 'DENIED')
})

test('when the proxy configuration is deleted, what is cached is served and misses are 404', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1, v2 } })
  await cache.get('app/manifests/v1')
  await cache.removeUpstream()
  cache.upstream.transcript.take()
  assert.ok((await cache.get('app/manifests/v1')).body.equals(v1.bytes))
  assert.equal((await cache.get('app/manifests/v2')).status, 404)
  assert.deepEqual(cache.upstream.transcript.take(), [])
})

test('another upstream makes the old content invisible at once', async (t) => {
  const cache = await entrepot.cache(t, { app: { v1 } }, { policy: { revalidate_after_s: 3600 } })
  const other = await entrepot.cache(t, { app: { v1: v2 } })
  await cache.get('app/manifests/v1')
  await cache.setUpstream(other.upstream)
  assertRefused(await cache.get(`app/manifests/${v1.digest}`), 404, 'MANIFEST_UNKNOWN')
  assertServed(await cache.get('app/manifests/v1'), { outcome: 'miss', bytes: v2.bytes })
})
