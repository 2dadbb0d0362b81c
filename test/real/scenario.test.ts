/** DESIGN part 1, steps 2 and 4 to 8: a quota of 150 MB, real images of 40 to 70 MB, real clients, days that pass. */
import assert from 'node:assert/strict'
import { access } from 'node:fs/promises'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import Sqlite from 'better-sqlite3'
import { TestClock } from '../pull-through/test-clock.ts'
import { assertArrived } from './arrival.ts'
import type { Client } from './client.ts'
import { startContainerd } from './containerd.ts'
import { type DebianPackage, skipUnless } from './debian-packages.ts'
import { type DockerRegistry, startDockerRegistry } from './docker-registry.ts'
import { startDockerd } from './dockerd.ts'
import { type PushedImage, pushSizedImage } from './images.ts'
import { startPodman } from './podman.ts'
import { RegistryWriter } from './registry-writer.ts'
import { type RunningEntrepot, startEntrepot } from './start-entrepot.ts'
import { makeTemporaryFolder } from './temporary-folder.ts'

const MB = 1_000_000
const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const QUOTA = '150 MB'
const REPOSITORY = 'projectquay/quay'
/** Tag to bytes of its own layer; the last is larger than the quota. */
const SIZES = { '3.7.9': 60 * MB, '3.6.2': 40 * MB, '3.5.1': 70 * MB, huge: 151 * MB }
type TagName = keyof typeof SIZES

/** Those that ask by HEAD and then by digest. */
const OTHERS: readonly { name: string; packages: readonly DebianPackage[]; start: () => Promise<Client> }[] = [
  { name: 'docker', packages: ['docker.io', 'runc'], start: startDockerd },
  { name: 'ctr', packages: ['containerd', 'runc'], start: startContainerd },
]

const skip = skipUnless(['docker-registry', 'busybox-static', 'podman', 'conmon', 'runc', 'util-linux'], {
  asRoot: true,
})

describe('the scenario with a quota', { skip }, () => {
  let registry: DockerRegistry
  let entrepot: RunningEntrepot
  let clock: TestClock
  let podman: Client
  const images = new Map<TagName, PushedImage>()
  const stops: (() => Promise<void>)[] = []

  before(async () => {
    registry = await startDockerRegistry()
    stops.push(() => registry.remove())
    const writer = new RegistryWriter(registry.url)
    for (const [tag, layerBytes] of Object.entries(SIZES)) {
      images.set(tag as TagName, await pushSizedImage(writer, { repository: REPOSITORY, tag, layerBytes }))
    }
    const folder = await makeTemporaryFolder('clock')
    stops.push(() => folder.remove())
    clock = new TestClock(path.join(folder.path, 'clock'))
    await clock.write()
    entrepot = await startEntrepot({ testClockFile: clock.file, settings: { GARBAGE_COLLECTION_FREQUENCY: 1 } })
    stops.push(() => entrepot.stop())
    podman = await startPodman()
    stops.push(() => podman.stop())
  })

  after(async () => {
    for (const stop of stops.reverse()) await stop()
  })

  const imageOf = (tag: TagName): PushedImage => {
    const image = images.get(tag)
    assert.ok(image)
    return image
  }

  /** The next pull is a minute later. */
  const pull = async (client: Client, organization: string, tag: TagName): Promise<void> => {
    const { host, login } = entrepot
    const pulled = await client.pull({ host, repository: `${organization}/${REPOSITORY}`, reference: tag, login })
    assertArrived(pulled, imageOf(tag), 'own')
    await clock.advance(MINUTE_MS)
  }

  const listTags = async (organization: string): Promise<string[]> => {
    const listed = await entrepot.api('GET', `/repository/${organization}/${REPOSITORY}/tag/?onlyActiveTags=true`)
    assert.ok(typeof listed === 'object' && listed !== null && 'tags' in listed && Array.isArray(listed.tags))
    return listed.tags.map((tag: { name: string }) => tag.name).sort()
  }

  const makeOrganization = async (name: string): Promise<void> => {
    await entrepot.createOrganization(name, { upstream: registry.host })
    await entrepot.api('POST', `/organization/${name}/quota`, { limit: QUOTA })
  }

  /** What the database file says of the organization. */
  const rowsOf = (sql: string, organization: string): Record<string, unknown>[] => {
    const db = new Sqlite(path.join(entrepot.dataFolder, 'entrepot.db'), { readonly: true })
    try {
      const id = db
        .prepare<[string], { id: number }>('select id from organization where name = ?')
        .get(organization)?.id
      return db.prepare<[number | undefined], Record<string, unknown>>(sql).all(id)
    } finally {
      db.close()
    }
  }

  const isStored = (tag: TagName): Promise<boolean> => {
    const hex = imageOf(tag).own.layers[1]?.digest.slice('sha256:'.length) ?? ''
    return access(path.join(entrepot.dataFolder, 'blobs', 'sha256', hex.slice(0, 2), hex)).then(
      () => true,
      () => false,
    )
  }

  /** Asked again and again: what the server does beside the requests. */
  const until = async (what: string, isSo: () => Promise<boolean> | boolean): Promise<void> => {
    const deadline = performance.now() + 30_000
    while (!(await isSo())) {
      if (performance.now() > deadline) assert.fail(`in vain waited for: ${what}\n${entrepot.output().slice(-2000)}`)
      await delay(50)
    }
  }

  /** So much time passes; the collector sees that the clock jumped, and waits for an hour of it. */
  const passDays = async (days: number): Promise<void> => {
    for (const ms of [days * DAY_MS, 40 * MINUTE_MS, 40 * MINUTE_MS]) {
      await clock.advance(ms)
      await until('a look at the clock', () => {
        const [row] = rowsOf("select value from instance where key = 'clock_tick_at' and ? is not null", 'cache-quayio')
        return JSON.parse(String(row?.['value'] ?? '{}')).tickAtMs === clock.nowMs
      })
    }
  }

  test('2: an organization with a quota of 150 MB', () => makeOrganization('cache-quayio'))

  test('4: podman pulls two images, and both are listed', async () => {
    for (const tag of ['3.7.9', '3.6.2'] as const) await pull(podman, 'cache-quayio', tag)
    assert.deepEqual(await listTags('cache-quayio'), ['3.6.2', '3.7.9'])
  })

  test('5: the third does not fit: the least recently used is pruned, and the log says what and why', async () => {
    await pull(podman, 'cache-quayio', '3.5.1')
    assert.deepEqual(await listTags('cache-quayio'), ['3.5.1', '3.6.2'])
    assert.equal(await isStored('3.7.9'), false)
    const logged = rowsOf(
      "select metadata from log_entry where organization_id = ? and kind = 'evict_image'",
      'cache-quayio',
    )
    const [entry] = logged.map(({ metadata }) => JSON.parse(String(metadata)))
    assert.deepEqual(entry.images, [{ repository: REPOSITORY, digest: imageOf('3.7.9').top.digest, tags: ['3.7.9'] }])
    assert.deepEqual(entry.reason, { kind: 'admission', repository: REPOSITORY, reference: '3.5.1' })
    const [charged] = rowsOf('select charge_bytes from usage where organization_id = ?', 'cache-quayio')
    assert.ok(Number(charged?.['charge_bytes']) <= 150 * MB)
  })

  test('6: an image larger than the quota is refused, and podman says why', async () => {
    await assert.rejects(pull(podman, 'cache-quayio', 'huge'), /Quota has been exceeded on namespace/)
    assert.deepEqual(await listTags('cache-quayio'), ['3.5.1', '3.6.2'])
  })

  for (const { name, packages, start } of OTHERS) {
    test(`5 and 6: the same with ${name}`, { skip: skipUnless(packages) }, async () => {
      const client = await start()
      try {
        await makeOrganization(`cache-${name}`)
        for (const tag of ['3.7.9', '3.6.2', '3.5.1'] as const) await pull(client, `cache-${name}`, tag)
        assert.deepEqual(await listTags(`cache-${name}`), ['3.5.1', '3.6.2'])
        await assert.rejects(pull(client, `cache-${name}`, 'huge'), /403 Forbidden|Quota has been exceeded/)
        assert.deepEqual(await listTags(`cache-${name}`), ['3.5.1', '3.6.2'])
      } finally {
        await client.stop()
      }
      await entrepot.api('DELETE', `/organization/cache-${name}`)
    })
  }

  test('8: with the upstream stopped, everything cached still pulls', async () => {
    await registry.stop()
    for (const tag of ['3.6.2', '3.5.1'] as const) await pull(podman, 'cache-quayio', tag)
    await assert.rejects(pull(podman, 'cache-quayio', '3.7.9'))
  })

  test('7: not pulled for the expiration time, the tags are gone from the list, and still stored', async () => {
    await passDays(2)
    assert.deepEqual(await listTags('cache-quayio'), [])
    assert.deepEqual([await isStored('3.6.2'), await isStored('3.5.1')], [true, true])
  })

  test('7: one is restored, listed, and pulls though the upstream is stopped', async () => {
    const place = `/repository/cache-quayio/${REPOSITORY}/tag/3.6.2/restore`
    await entrepot.api('POST', place, { manifest_digest: imageOf('3.6.2').top.digest })
    assert.deepEqual(await listTags('cache-quayio'), ['3.6.2'])
    await pull(podman, 'cache-quayio', '3.6.2')
  })

  test('7: after the Time Machine window each is collected: rows and bytes are gone', async () => {
    await passDays(13.5)
    await until('the other is collected', async () => !(await isStored('3.5.1')))
    assert.equal(await isStored('3.6.2'), true)
    await passDays(3)
    await until('the restored one is collected', async () => !(await isStored('3.6.2')))
    for (const table of ['manifest', 'manifest_blob', 'tag', 'ledger', 'root', 'reservation']) {
      const sql = `select 1 from ${table} where organization_id = ?`
      await until(`${table} has no rows`, () => rowsOf(sql, 'cache-quayio').length === 0)
    }
    const [charged] = rowsOf('select charge_bytes from usage where organization_id = ?', 'cache-quayio')
    assert.equal(charged?.['charge_bytes'], 0)
  })
})
